package subnet_test

import (
	"fmt"
	"testing"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ml2/typedriver"
	"github.com/neutrino-net/neutrino/internal/model"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

// routed is a world with a network of two segments.
func routed(t *testing.T) (*st.World, *model.Network) {
	w := st.New(t, st.Options{Types: typedriver.Options{VLANRanges: map[string][]typedriver.Range{"rack1": nil, "rack2": nil}}})
	vlan := func(rack string) map[string]any {
		return map[string]any{
			"provider:network_type": "vlan", "provider:physical_network": rack, "provider:segmentation_id": 10,
		}
	}
	return w, st.Must(w.CreateNetwork(st.Admin, st.Body{"segments": []any{vlan("rack1"), vlan("rack2")}}))(t)
}

func routes(t *testing.T, w *st.World, id string) string {
	t.Helper()
	s, ok := state.Subnets.Get(w.Store.Read(), id)
	if !ok {
		t.Fatal("the subnet is gone")
	}
	out := []string{}
	for _, h := range s.HostRoutes {
		out = append(out, fmt.Sprint(h.Destination, " via ", h.NextHop))
	}
	return fmt.Sprint(out)
}

func TestSubnetsOfRoutedNetworksHaveRoutesToEachOther(t *testing.T) {
	w, n := routed(t)
	subnet := func(segment int, cidr string, more st.Body) *model.Subnet {
		b := st.Body{"network_id": n.ID, "cidr": cidr, "segment_id": n.Segments[segment].ID}
		for k, v := range more {
			b[k] = v
		}
		return st.Must(w.CreateSubnet(st.Admin, b))(t)
	}
	check := func(when string, want map[string]string) {
		t.Helper()
		for id, routesWanted := range want {
			if got := routes(t, w, id); got != routesWanted {
				t.Errorf("%s: got %s, want %s", when, got, routesWanted)
			}
		}
	}
	a := subnet(0, "10.0.1.0/24", nil)
	b := subnet(1, "10.0.2.0/24", nil)
	c := subnet(1, "10.0.3.0/24", st.Body{"host_routes": []any{map[string]any{"destination": "10.0.0.0/16", "nexthop": "10.0.3.9"}}})
	check("made", map[string]string{
		a.ID: "[10.0.2.0/24 via 10.0.1.1 10.0.3.0/24 via 10.0.1.1]",
		b.ID: "[10.0.1.0/24 via 10.0.2.1]",
		c.ID: "[10.0.0.0/16 via 10.0.3.9]", // which covers 10.0.1.0/24
	})
	st.Must(w.UpdateSubnet(st.Admin, a.ID, st.Body{"gateway_ip": "10.0.1.254", "allocation_pools": []any{
		map[string]any{"start": "10.0.1.1", "end": "10.0.1.200"},
	}}))(t)
	check("another gateway", map[string]string{a.ID: "[10.0.2.0/24 via 10.0.1.254 10.0.3.0/24 via 10.0.1.254]"})
	if err := w.DeleteSubnet(st.Admin, b.ID); err != nil {
		t.Fatal(err)
	}
	check("one is gone", map[string]string{a.ID: "[10.0.3.0/24 via 10.0.1.254]"})
}

func TestSubnetsAreAllInSegmentsOrNone(t *testing.T) {
	w, n := routed(t)
	st.Must(w.CreateSubnet(st.Admin, st.Body{"network_id": n.ID, "cidr": "10.0.1.0/24", "segment_id": n.Segments[0].ID}))(t)
	_, err := w.CreateSubnet(st.Admin, st.Body{"network_id": n.ID, "cidr": "10.0.2.0/24"})
	st.WantFault(t, err, fault.Invalid, "SubnetsNotAllAssociatedWithSegments")
	_, err = w.CreateSubnet(st.Admin, st.Body{
		"network_id": n.ID, "cidr": "10.0.2.0/24", "segment_id": "7c7ac3a5-7e0e-4b0a-9d58-0ea3b0c1b9d6",
	})
	st.WantFault(t, err, fault.NotFound, "SegmentNotFound")

	plain := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	s := st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": plain.ID, "cidr": "10.0.1.0/24"}))(t)
	_, err = w.UpdateSubnet(st.Admin, s.ID, st.Body{"segment_id": n.Segments[0].ID})
	st.WantFault(t, err, fault.Invalid, "NetworkIdsDontMatch")
	st.Must(w.UpdateSubnet(st.Admin, s.ID, st.Body{"segment_id": plain.Segments[0].ID}))(t)
	_, err = w.UpdateSubnet(st.Admin, s.ID, st.Body{"segment_id": nil})
	st.WantFault(t, err, fault.Invalid, "SubnetSegmentAssociationChangeNotAllowed")
}

func TestServiceTypesAreDeviceOwners(t *testing.T) {
	w := st.New(t, st.Options{})
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	_, err := w.CreateSubnet(st.Admin, st.Body{"network_id": n.ID, "cidr": "10.0.0.0/24", "service_types": []any{"tea"}})
	st.WantFault(t, err, fault.Invalid, "InvalidSubnetServiceType")
	s := st.Must(w.CreateSubnet(st.Admin, st.Body{
		"network_id": n.ID, "cidr": "10.0.0.0/24", "service_types": []any{"compute:nova", "network:floatingip"},
	}))(t)
	if len(s.ServiceTypes) != 2 {
		t.Errorf("%v", s.ServiceTypes)
	}
}
