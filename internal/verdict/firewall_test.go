package verdict_test

import (
	"testing"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	. "github.com/neutrino-net/neutrino/internal/verdict"
)

// distributedRouter has its interface gw and the leg of its central part in the network of web, another router has an interface
// there, too; the group of gw lets in the port 80 and out the port 443.
func distributedRouter(tx *state.Tx) {
	example(tx)
	web, _, gw := cast()
	web.PortSecurityEnabled = false // nothing else decides
	web.NetworkID, gw.NetworkID, gw.DeviceOwner = "net", "net", model.DeviceOwnerRouterInterfaceDistributed
	central := workload("central", macCentral, "10.0.0.5")
	central.NetworkID, central.DeviceOwner = "net", model.DeviceOwnerRouterSNAT
	for _, p := range []*model.Port{web, gw, central} {
		state.Ports.Put(tx, p)
	}
	state.Routers.Put(tx, &model.Router{
		Meta: model.Meta{ID: "r"}, Distributed: true, InterfaceIDs: []string{"gw"},
		SNATPorts: []model.SNATPort{{InterfaceID: "gw", PortID: "central"}},
	})
	for _, b := range []*model.DistributedBinding{bindingOf("gw"), bindingOf("other")} {
		state.DistributedBindings.Put(tx, b)
	}
	for id, port := range map[string]int{"in": 80, "out": 443} {
		state.FirewallRules.Put(tx, &model.FirewallRule{
			Meta: model.Meta{ID: id}, Enabled: true, IPVersion: 4, Protocol: "tcp", Action: model.FirewallAllow,
			DestinationPorts: model.PortRange{First: port, Last: port},
		})
		state.FirewallPolicies.Put(tx, &model.FirewallPolicy{Meta: model.Meta{ID: id}, RuleIDs: []string{id}})
	}
	state.FirewallGroups.Put(tx, &model.FirewallGroup{
		Meta: model.Meta{ID: "group"}, AdminStateUp: true, IngressPolicyID: "in", EgressPolicyID: "out", PortIDs: []string{"gw"},
	})
}

var macCentral = MAC{0xfa, 0x16, 0x3e, 0, 0, 5}

// bindingOf ties an interface to a host.
func bindingOf(portID string) *model.DistributedBinding {
	return &model.DistributedBinding{Meta: model.Meta{ID: portID + "-there"}, PortID: portID, NetworkID: "net", Host: "there"}
}

func TestWhatADistributedRouterForwardsMeetsTheFirewallOfItsInterface(t *testing.T) {
	r := stateOf(t, distributedRouter)
	web, _ := state.Ports.Get(r, "web")
	there, _ := ParseMAC(bindingOf("gw").TunnelMAC())
	others, _ := ParseMAC(bindingOf("other").TunnelMAC())
	stranger := MAC{0x4a, 1, 2, 3, 4, 5}
	const remote = "192.0.2.7"
	to := func(mac MAC, p *Packet) *Packet { p.Destination = mac; return p }
	for _, tc := range []struct {
		name   string
		out    bool
		packet *Packet
		pass   bool
	}{
		{"in, by a rule", false, tcp(macGW, remote, web4, 80), true},
		{"in, by none", false, tcp(macGW, remote, web4, 81), false},
		{"in, from another host", false, tcp(there, remote, web4, 81), false},
		{"in, from a host that nobody knows yet", false, tcp(stranger, remote, web4, 81), false},
		{"in, from the central part", false, tcp(macCentral, remote, web4, 81), false},
		{"in, from another router", false, tcp(others, remote, web4, 81), true},
		{"in, from a neighbour", false, tcp(macDB, db4, web4, 81), true},
		{"in, from the router itself", false, tcp(macGW, "10.0.0.1", web4, 81), true},
		{"in, from the central part itself", false, tcp(macCentral, "10.0.0.5", web4, 81), true},
		{"in, of the service of metadata", false, tcp(macGW, "169.254.169.254", web4, 81), true},
		{"in, a router advertisement", false, icmpv6(macGW, "fe80::1", "ff02::1", RouterAdvert, ""), true},
		{"out, by a rule", true, to(macGW, tcp(macWeb, web4, remote, 443)), true},
		{"out, by none", true, to(macGW, tcp(macWeb, web4, remote, 80)), false},
		{"out, past the local part", true, to(there, tcp(macWeb, web4, remote, 80)), false},
		{"out, to the central part", true, to(macCentral, tcp(macWeb, web4, remote, 80)), false},
		{"out, to another router", true, to(others, tcp(macWeb, web4, remote, 80)), true},
		{"out, to the router itself", true, to(macGW, tcp(macWeb, web4, "10.0.0.1", 80)), true},
		{"out, with a tag", true, to(macGW, tagged(tcp(macWeb, web4, "10.0.0.1", 80))), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			decide := Ingress
			if tc.out {
				decide = Egress
			}
			if v := decide(r, web, tc.packet, false); v.Pass != tc.pass || !v.Pass && v.Reason != ReasonFirewall {
				t.Errorf("%+v, want pass %v", v, tc.pass)
			}
			if v := decide(r, web, tc.packet, true); !v.Pass && !tc.packet.Tagged {
				t.Errorf("of a connection: %+v", v)
			}
		})
	}
}
