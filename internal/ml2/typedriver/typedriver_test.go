package typedriver_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ml2/typedriver"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

func TestSegmentsThatAreAskedFor(t *testing.T) {
	opts := typedriver.Options{
		VLANRanges:   map[string][]typedriver.Range{"physnet1": {{Min: 100, Max: 101}}, "physnet2": nil},
		FlatNetworks: []string{"physnet1"},
		VNIRanges:    []typedriver.Range{{Min: 7, Max: 7}},
	}
	seg := func(typ model.NetworkType, physical string, id int) model.Segment {
		return model.Segment{NetworkType: typ, PhysicalNetwork: physical, SegmentationID: id}
	}
	for _, c := range []struct {
		name   string
		booked []model.Segment
		want   model.Segment
		kind   fault.Kind
		fault  string
		get    model.Segment
	}{
		{name: "local", want: seg("local", "", 0), get: seg("local", "", 0)},
		{name: "a second local", booked: []model.Segment{seg("local", "", 0)}, want: seg("local", "", 0), get: seg("local", "", 0)},
		{name: "local with an id", want: seg("local", "", 5), fault: "InvalidInput"},
		{name: "local with a physical network", want: seg("local", "physnet1", 0), fault: "InvalidInput"},
		{name: "flat", want: seg("flat", "physnet1", 0), get: seg("flat", "physnet1", 0)},
		{name: "a second flat", booked: []model.Segment{seg("flat", "physnet1", 0)}, want: seg("flat", "physnet1", 0),
			kind: fault.Conflict, fault: "FlatNetworkInUse"},
		{name: "flat without a physical network", want: seg("flat", "", 0), fault: "InvalidInput"},
		{name: "flat on an unknown one", want: seg("flat", "physnet9", 0), fault: "InvalidInput"},
		{name: "flat with an id", want: seg("flat", "physnet1", 4), fault: "InvalidInput"},
		{name: "vlan", want: seg("vlan", "physnet1", 7), get: seg("vlan", "physnet1", 7)},
		{name: "vlan in use", booked: []model.Segment{seg("vlan", "physnet1", 7)}, want: seg("vlan", "physnet1", 7),
			kind: fault.Conflict, fault: "VlanIdInUse"},
		{name: "same vlan elsewhere", booked: []model.Segment{seg("vlan", "physnet1", 7)}, want: seg("vlan", "physnet2", 7),
			get: seg("vlan", "physnet2", 7)},
		{name: "vlan of any id", booked: []model.Segment{seg("vlan", "physnet1", 100)}, want: seg("vlan", "physnet1", 0),
			get: seg("vlan", "physnet1", 101)},
		{name: "vlan anywhere", booked: []model.Segment{seg("vlan", "physnet1", 101)}, want: seg("vlan", "", 0),
			get: seg("vlan", "physnet1", 100)},
		{name: "no vlan is left", want: seg("vlan", "physnet2", 0), kind: fault.Unavailable, fault: "NoNetworkAvailable"},
		{name: "vlan of an id without a physical network", want: seg("vlan", "", 7), fault: "InvalidInput"},
		{name: "vlan on an unknown one", want: seg("vlan", "physnet9", 7), fault: "InvalidInput"},
		{name: "vlan 4095", want: seg("vlan", "physnet1", 4095), fault: "InvalidInput"},
		{name: "vxlan outside of the ranges", want: seg("vxlan", "", 900), get: seg("vxlan", "", 900)},
		{name: "vxlan in use", booked: []model.Segment{seg("vxlan", "", 900)}, want: seg("vxlan", "", 900),
			kind: fault.Conflict, fault: "TunnelIdInUse"},
		{name: "any vxlan", want: seg("vxlan", "", 0), get: seg("vxlan", "", 7)},
		{name: "no vxlan is left", booked: []model.Segment{seg("vxlan", "", 7)}, want: seg("vxlan", "", 0),
			kind: fault.Unavailable, fault: "NoNetworkAvailable"},
		{name: "vxlan on a physical network", want: seg("vxlan", "physnet1", 0), fault: "InvalidInput"},
		{name: "vxlan too high", want: seg("vxlan", "", 1<<24), fault: "InvalidInput"},
		{name: "no type", want: seg("", "physnet1", 0), fault: "InvalidInput"},
		{name: "unknown type", want: seg("token-ring", "", 0), fault: "InvalidInput"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := must(typedriver.New(opts))
			w := servicetest.New(t, servicetest.Options{})
			err := w.Update(func(tx *state.Tx) error {
				for i, s := range c.booked {
					state.Networks.Put(tx, &model.Network{Meta: model.Meta{ID: fmt.Sprint(i)}, Segments: []model.Segment{s}})
				}
				got, err := m.Provider(tx, c.want, "p1")
				if err == nil && got != c.get {
					t.Errorf("got %+v, want %+v", got, c.get)
				}
				return err
			})
			if c.fault == "" {
				servicetest.Must(0, err)(t)
			} else {
				servicetest.WantFault(t, err, c.kind, c.fault)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTenantTypesAreTriedInOrder(t *testing.T) {
	m := must(typedriver.New(typedriver.Options{
		TenantNetworkTypes: []model.NetworkType{"vlan", "vxlan"},
		VLANRanges:         map[string][]typedriver.Range{"p": {{Min: 5, Max: 5}}},
		VNIRanges:          []typedriver.Range{{Min: 9, Max: 9}},
	}))
	w := servicetest.New(t, servicetest.Options{})
	for i, want := range []string{"vlan 5", "vxlan 9", ""} {
		err := w.Update(func(tx *state.Tx) error {
			s, err := m.Tenant(tx, "p1")
			if err != nil {
				return err
			}
			if got := fmt.Sprint(s.NetworkType, " ", s.SegmentationID); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			state.Networks.Put(tx, &model.Network{Meta: model.Meta{ID: fmt.Sprint(i)}, Segments: []model.Segment{s}})
			return nil
		})
		if want == "" {
			servicetest.WantFault(t, err, fault.Unavailable, "NoNetworkAvailable")
		} else {
			servicetest.Must(0, err)(t)
		}
	}
}

func TestMaxMTULeavesRoomForTheHeaders(t *testing.T) {
	for _, c := range []struct {
		opts typedriver.Options
		typ  model.NetworkType
		want int
	}{
		{typedriver.Options{}, "vxlan", 1450},
		{typedriver.Options{}, "geneve", 1450},
		{typedriver.Options{}, "gre", 1458},
		{typedriver.Options{}, "vlan", 1500},
		{typedriver.Options{}, "flat", 1500},
		{typedriver.Options{}, "local", 1500},
		{typedriver.Options{UnderlayMTU: 9000}, "vxlan", 8950},
		{typedriver.Options{OverlayIPVersion: 6}, "vxlan", 1430},
	} {
		if got := must(typedriver.New(c.opts)).MaxMTU(c.typ); got != c.want {
			t.Errorf("%s with %+v: %d, want %d", c.typ, c.opts, got, c.want)
		}
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	for name, opts := range map[string]typedriver.Options{
		"a VNI of 0":           {VNIRanges: []typedriver.Range{{Min: 0, Max: 5}}},
		"a VNI too high":       {VNIRanges: []typedriver.Range{{Min: 1, Max: 1 << 24}}},
		"a range upside down":  {VNIRanges: []typedriver.Range{{Min: 5, Max: 4}}},
		"a VLAN of 4095":       {VLANRanges: map[string][]typedriver.Range{"p": {{Min: 1, Max: 4095}}}},
		"no name":              {VLANRanges: map[string][]typedriver.Range{"": nil}},
		"flat for tenants":     {TenantNetworkTypes: []model.NetworkType{"flat"}},
		"an IP version of 5":   {OverlayIPVersion: 5},
		"an unknown type":      {TenantNetworkTypes: []model.NetworkType{"x"}},
		"a VLAN range of none": {VLANRanges: map[string][]typedriver.Range{"p": {{Min: 9, Max: 8}}}},
	} {
		if _, err := typedriver.New(opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestConcurrentNetworksGetDifferentVNIs(t *testing.T) {
	w := servicetest.New(t, servicetest.Options{
		Types: typedriver.Options{VNIRanges: []typedriver.Range{{Min: 1, Max: 40}, {Min: 50, Max: 69}}},
	})
	const callers = 64
	var wg sync.WaitGroup
	vnis, errs := make([]int, callers), make([]error, callers)
	for i := range callers {
		wg.Go(func() {
			n, err := w.CreateNetwork(servicetest.Member, servicetest.Body{})
			if errs[i] = err; err == nil {
				vnis[i] = n.Segments[0].SegmentationID
			}
		})
	}
	wg.Wait()
	seen, refused := map[int]bool{}, 0
	for i, err := range errs {
		switch f := fault.As(err); {
		case f != nil && f.Type == "NoNetworkAvailable":
			refused++
		case err != nil:
			t.Error(err)
		case seen[vnis[i]] || vnis[i] < 1 || vnis[i] > 69 || vnis[i] > 40 && vnis[i] < 50:
			t.Errorf("VNI %d is wrong or given twice", vnis[i])
		default:
			seen[vnis[i]] = true
		}
	}
	if len(seen) != 60 || refused != 4 {
		t.Errorf("%d VNIs were given and %d refused, want 60 and 4", len(seen), refused)
	}
}
