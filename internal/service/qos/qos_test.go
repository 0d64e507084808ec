package qos_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/qos"
	"github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

// policy stores a policy with rules; the ids of the rules follow from their place.
func policy(t *testing.T, w *servicetest.World, q model.QoSPolicy, rules ...model.QoSRule) string {
	t.Helper()
	err := w.Update(func(tx *state.Tx) error {
		state.QoSPolicies.Put(tx, &q)
		for i, rule := range rules {
			rule.ID = q.ID + string(rune('a'+i))
			rule.PolicyID = q.ID
			if err := (rulesOf(rule.Type)).Create(tx, servicetest.Admin, &rule, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return q.ID
}

func rulesOf(t model.QoSRuleType) qos.Rules {
	tables := map[model.QoSRuleType]state.QoSRules{
		model.QoSBandwidthLimit: state.QoSBandwidthLimitRules, model.QoSDSCPMarking: state.QoSDSCPMarkingRules,
		model.QoSMinimumBandwidth: state.QoSMinimumBandwidthRules, model.QoSPacketRateLimit: state.QoSPacketRateLimitRules,
		model.QoSMinimumPacketRate: state.QoSMinimumPacketRateRules,
	}
	return qos.Rules{Type: t, Table: tables[t]}
}

func owned(id, project string) model.QoSPolicy {
	return model.QoSPolicy{Meta: model.Meta{ID: id, ProjectID: project}}
}

func TestWhatPortsAskOfTheirHost(t *testing.T) {
	w := servicetest.New(t, servicetest.Options{})
	policy(t, w, owned("both", "p1"),
		model.QoSRule{Type: model.QoSMinimumBandwidth, Direction: model.Egress, Rate: 1000},
		model.QoSRule{Type: model.QoSMinimumBandwidth, Direction: model.Ingress, Rate: 2000},
		model.QoSRule{Type: model.QoSMinimumPacketRate, Direction: model.AnyDirection, Rate: 3},
		model.QoSRule{Type: model.QoSBandwidthLimit, Direction: model.Egress, Rate: 5000})
	policy(t, w, owned("limit", "p1"), model.QoSRule{Type: model.QoSBandwidthLimit, Direction: model.Egress, Rate: 1})
	store := func(n *model.Network) {
		t.Helper()
		if err := w.Update(func(tx *state.Tx) error { state.Networks.Put(tx, n); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	store(&model.Network{Meta: model.Meta{ID: "vlan"}, Segments: []model.Segment{{PhysicalNetwork: "rack-1"}}, QoSPolicyID: "both"})
	store(&model.Network{Meta: model.Meta{ID: "vxlan"}, Segments: []model.Segment{{NetworkType: model.TypeVXLAN}}})
	port := func(network, own string) *model.Port {
		return &model.Port{
			Meta: model.Meta{ID: "b5a1f1a4-4b66-4a45-8d27-96a4b2a0c52e"}, NetworkID: network, QoSPolicyID: own,
			Binding: model.Binding{VNICType: "direct-physical"},
		}
	}
	// What uuid.uuid5(port, "botha:bothb") and uuid.uuid5(port, "bothc") of Python give.
	const (
		bandwidth   = "6cc9bac3-868e-57a8-af6e-38866430927a"
		packetRates = "012a5699-1d4f-5bc6-944a-bc1381680c70"
	)
	group := func(way string) string {
		return `{"request_groups":[{"id":"` + bandwidth + `","required":["` + way + `","CUSTOM_VNIC_TYPE_DIRECT_PHYSICAL"],` +
			`"resources":{"NET_BW_EGR_KILOBIT_PER_SEC":1000,"NET_BW_IGR_KILOBIT_PER_SEC":2000}},` +
			`{"id":"` + packetRates + `","required":["CUSTOM_VNIC_TYPE_DIRECT_PHYSICAL"],` +
			`"resources":{"NET_PACKET_RATE_KILOPACKET_PER_SEC":3}}],"same_subtree":["` + bandwidth + `","` + packetRates + `"]}`
	}
	for _, c := range []struct{ name, network, own, way string }{
		{"its network's policy", "vlan", "", "CUSTOM_PHYSNET_RACK_1"},
		{"its own policy", "vxlan", "both", "CUSTOM_NETWORK_TUNNEL_PROVIDER"},
		{"its own policy, which guarantees nothing", "vlan", "limit", ""},
		{"no policy", "vxlan", "", ""},
		{"a policy that is gone", "vxlan", "gone", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := qos.ResourceRequest(w.Store.Read(), port(c.network, c.own))
			if c.way == "" {
				if got != nil {
					t.Errorf("it asks for %v", got)
				}
				return
			}
			text, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(group(c.way), string(text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhoMayUseAndRemoveAPolicy(t *testing.T) {
	w := servicetest.New(t, servicetest.Options{})
	policy(t, w, owned("mine", "p1"))
	policy(t, w, owned("theirs", "p2"))
	shared := owned("shared", "p2")
	shared.Shared = true
	policy(t, w, shared)
	for _, c := range []struct {
		name, old, wanted string
		caller            *auth.Caller
		fault             string
	}{
		{"own", "", "mine", servicetest.Member, ""},
		{"shared", "", "shared", servicetest.Member, ""},
		{"of others", "", "theirs", servicetest.Member, "QosPolicyNotFound"},
		{"of others, by an administrator", "", "theirs", servicetest.Admin, ""},
		{"missing", "", "nothing", servicetest.Admin, "QosPolicyNotFound"},
		{"none", "", "", servicetest.Member, ""},
		{"removing one's own", "mine", "", servicetest.Member, ""},
		{"removing an administrator's", "theirs", "", servicetest.Member, "PolicyRemoveAuthorizationError"},
		{"replacing an administrator's", "theirs", "mine", servicetest.Member, "PolicyRemoveAuthorizationError"},
		{"keeping an administrator's", "theirs", "theirs", servicetest.Member, ""},
		{"removing as administrator", "theirs", "", servicetest.Admin, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := qos.CheckChange(w.Store.Read(), c.caller, c.old, c.wanted)
			f := fault.As(err)
			if (f == nil) != (c.fault == "") || f != nil && f.Type != c.fault {
				t.Errorf("got %v, want %q", err, c.fault)
			}
		})
	}
}

func TestNewNetworksGetTheDefaultPolicy(t *testing.T) {
	w := servicetest.New(t, servicetest.Options{})
	q := owned("4f1f5a0e-0000-4000-8000-000000000001", "p1")
	q.IsDefault = true
	policy(t, w, q)
	if n := servicetest.Must(w.CreateNetwork(servicetest.Member, servicetest.Body{"name": "n"}))(t); n.QoSPolicyID != q.ID {
		t.Errorf("the network's policy is %q, want the default", n.QoSPolicyID)
	}
	if n := servicetest.Must(w.CreateNetwork(servicetest.Admin, servicetest.Body{"name": "n"}))(t); n.QoSPolicyID != "" {
		t.Errorf("the network of another project has the policy %q", n.QoSPolicyID)
	}
}

func TestGuaranteesOfServersThatRunStay(t *testing.T) {
	w := servicetest.New(t, servicetest.Options{})
	minimum := model.QoSRule{Type: model.QoSMinimumBandwidth, Direction: model.Egress, Rate: 1000}
	policy(t, w, owned("q", "p1"), minimum)
	rules := rulesOf(model.QoSMinimumBandwidth)
	change := func(remove bool) error {
		return w.Update(func(tx *state.Tx) error {
			old, _ := rules.Table.Get(tx, "qa")
			if remove {
				return rules.Delete(tx, servicetest.Member, old)
			}
			rule := old.Clone()
			rule.Rate++
			return rules.Update(tx, servicetest.Member, old, rule, nil)
		})
	}
	put := func(n *model.Network, p *model.Port) {
		t.Helper()
		if err := w.Update(func(tx *state.Tx) error {
			state.Networks.Put(tx, n)
			state.Ports.Put(tx, p)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	network := func(policy string) *model.Network {
		return &model.Network{Meta: model.Meta{ID: "n"}, QoSPolicyID: policy}
	}
	port := func(owner, policy string) *model.Port {
		return &model.Port{Meta: model.Meta{ID: "p"}, NetworkID: "n", DeviceOwner: owner, QoSPolicyID: policy}
	}
	for _, c := range []struct {
		name    string
		network string
		port    *model.Port
		refused bool
	}{
		{"a port without a server", "q", port("", "q"), false},
		{"a port of a server", "", port("compute:nova", "q"), true},
		{"a port of a server on a network with the policy", "q", port("compute:nova", ""), true},
		{"a port of a server with another policy", "q", port("compute:nova", "other"), false},
	} {
		put(network(c.network), c.port)
		if err := change(false); (err != nil) != c.refused {
			t.Errorf("%s: changing the rule: %v", c.name, err)
		} else if err != nil {
			servicetest.WantFault(t, err, fault.Unimplemented, "NotImplementedError")
		}
	}
	put(network(""), port("compute:nova", "q"))
	servicetest.WantFault(t, change(true), fault.Unimplemented, "NotImplementedError")
	put(network(""), port("", ""))
	if err := change(true); err != nil {
		t.Errorf("removing the rule from an unused policy: %v", err)
	}
}
