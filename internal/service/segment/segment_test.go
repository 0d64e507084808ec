package segment_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ml2/typedriver"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/segment"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

var physnets = typedriver.Options{
	VNIRanges:  []typedriver.Range{{Min: 1, Max: 5}},
	VLANRanges: map[string][]typedriver.Range{"physnet1": {{Min: 100, Max: 109}}},
}

// follow checks that the objects of the network's segments are like the network's list.
func follow(t *testing.T, w *st.World, networkID string) {
	t.Helper()
	r := w.Store.Read()
	want := map[string]model.Segment{}
	if n, ok := state.Networks.Get(r, networkID); ok {
		for _, g := range n.Segments {
			want[g.ID] = g
		}
	}
	for g := range state.SegmentsByNetwork.List(r, networkID) {
		if want[g.ID] != g.Segment {
			t.Errorf("segment %s is %+v, the network says %+v", g.ID, g.Segment, want[g.ID])
		}
		delete(want, g.ID)
	}
	if len(want) > 0 {
		t.Errorf("there are no objects of the segments %v", want)
	}
}

func TestSegmentsFollowTheNetwork(t *testing.T) {
	w := st.New(t, st.Options{Types: physnets})
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	follow(t, w, n.ID)
	g := st.Must(w.CreateSegment(st.Admin, st.Body{
		"network_id": n.ID, "network_type": "vlan", "physical_network": "physnet1", "segmentation_id": 200, "name": "rack1",
	}))(t)
	follow(t, w, n.ID)
	if got := w.Network(t, n.ID).Segments; len(got) != 2 || got[1].SegmentationID != 200 || got[1].ID != g.ID {
		t.Errorf("the network has the segments %+v", got)
	}
	_, err := w.CreateSegment(st.Admin, st.Body{
		"network_id": n.ID, "network_type": "vlan", "physical_network": "physnet1", "segmentation_id": 200,
	})
	st.WantFault(t, err, fault.Conflict, "VlanIdInUse")
	sub := st.Must(w.CreateSubnet(st.Admin, st.Body{"network_id": n.ID, "cidr": "10.0.0.0/24", "segment_id": g.ID}))(t)
	st.WantFault(t, w.DeleteSegment(st.Admin, g.ID), fault.Conflict, "SegmentInUse")
	if err := w.DeleteSubnet(st.Admin, sub.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteSegment(st.Admin, g.ID); err != nil {
		t.Fatal(err)
	}
	follow(t, w, n.ID)
	if err := w.DeleteNetwork(st.Member, n.ID); err != nil {
		t.Fatal(err)
	}
	if left := state.Segments.Len(w.Store.Read()); left != 0 {
		t.Errorf("%d segments are left of a network that is gone", left)
	}
}

func TestRangesDecideWhoGetsWhichID(t *testing.T) {
	w := st.New(t, st.Options{Types: physnets}) // VNIs 1 to 5 are for all
	mine := st.Must(w.CreateSegmentRange(st.Admin, st.Body{
		"network_type": "vxlan", "minimum": 5, "maximum": 6, "shared": false, "project_id": "p1",
	}))(t)
	other := &auth.Caller{ProjectID: "p2"}
	take := func(c *auth.Caller, n int) (ids []int) {
		for range n {
			made := st.Must(w.CreateNetwork(c, st.Body{}))(t)
			ids = append(ids, made.Segments[0].SegmentationID)
		}
		slices.Sort(ids)
		return ids
	}
	if got := take(st.Member, 2); !slices.Equal(got, []int{5, 6}) {
		t.Errorf("the project of the range got %v", got)
	}
	if got := take(other, 4); !slices.Equal(got, []int{1, 2, 3, 4}) {
		t.Errorf("the other project got %v", got)
	}
	_, err := w.CreateNetwork(other, st.Body{})
	st.WantFault(t, err, fault.Unavailable, "NoNetworkAvailable")

	seen := segment.ViewRanges(w.Store.Read(), st.Admin)(mine)
	if fmt.Sprint(seen.Available, seen.Used) != "[] map[5:p1 6:p1]" {
		t.Errorf("the range shows %v and %v", seen.Available, seen.Used)
	}
	st.WantFault(t, w.DeleteSegmentRange(st.Admin, mine.ID), fault.Conflict, "NetworkSegmentRangeReferencedByProject")
	_, err = w.UpdateSegmentRange(st.Admin, mine.ID, st.Body{"minimum": 6})
	st.WantFault(t, err, fault.Conflict, "NetworkSegmentRangeReferencedByProject")
	st.Must(w.UpdateSegmentRange(st.Admin, mine.ID, st.Body{"maximum": 7}))(t)
	if got := take(st.Member, 1); !slices.Equal(got, []int{7}) {
		t.Errorf("the larger range gave %v", got)
	}
}

func TestBadRangesAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		body st.Body
		kind fault.Kind
		want string
	}{
		{"an end before the beginning", st.Body{"network_type": "vxlan", "minimum": 9, "maximum": 8}, fault.Invalid, "NetworkTunnelRangeError"},
		{"a VLAN of 4095", st.Body{"network_type": "vlan", "physical_network": "p", "minimum": 1, "maximum": 4095}, fault.Invalid, "NetworkVlanRangeError"},
		{"VLANs of nothing", st.Body{"network_type": "vlan", "minimum": 1, "maximum": 5}, fault.Invalid, "InvalidInput"},
		{"an overlap", st.Body{"network_type": "vxlan", "minimum": 105, "maximum": 120}, fault.Conflict, "NetworkSegmentRangeOverlaps"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := st.New(t, st.Options{})
			st.Must(w.CreateSegmentRange(st.Admin, st.Body{"network_type": "vxlan", "minimum": 100, "maximum": 110}))(t)
			_, err := w.CreateSegmentRange(st.Admin, c.body)
			st.WantFault(t, err, c.kind, c.want)
		})
	}
}

func TestDefaultRangesAreThoseOfTheOptions(t *testing.T) {
	w := st.New(t, st.Options{})
	list := func(o typedriver.Options) (all []string) {
		types, err := typedriver.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Update(func(tx *state.Tx) error { segment.SyncDefaults(tx, types); return nil }); err != nil {
			t.Fatal(err)
		}
		for x := range state.SegmentRanges.All(w.Store.Read()) {
			all = append(all, fmt.Sprint(x.NetworkType, " ", x.Minimum, "-", x.Maximum))
			st.WantFault(t, w.DeleteSegmentRange(st.Admin, x.ID), fault.Invalid, "NetworkSegmentRangeDefaultReadOnly")
		}
		slices.Sort(all)
		return all
	}
	if got := list(physnets); !slices.Equal(got, []string{"geneve 1-5", "gre 1-5", "vlan 100-109", "vxlan 1-5"}) {
		t.Errorf("%v", got)
	}
	revision := w.Store.Read().Revision
	list(physnets)
	if now := w.Store.Read().Revision; now != revision {
		t.Error("a start without news has changed the state")
	}
	changed := typedriver.Options{VNIRanges: []typedriver.Range{{Min: 1, Max: 9}}}
	if got := list(changed); !slices.Equal(got, []string{"geneve 1-9", "gre 1-9", "vxlan 1-9"}) {
		t.Errorf("%v", got)
	}
}
