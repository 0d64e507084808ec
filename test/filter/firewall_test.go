package filter

import (
	"fmt"
	"net/netip"
	"slices"

	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// firewalls are the firewall groups of a case, with their policies and rules; in most cases there are none.
type firewalls struct {
	groups        []*model.FirewallGroup
	policies      []*model.FirewallPolicy
	firewallRules []*model.FirewallRule
}

const firewallPolicies = 3

func firewallID(kind string, i int) string { return fmt.Sprintf("firewall-%s-%d", kind, i) }

func (o *objects) drawFirewalls(t *rapid.T) {
	f := &o.firewalls
	*f = firewalls{}
	if !chance(t, 3, "firewalls") {
		return
	}
	var rules []string
	for i := range 8 {
		r := randomFirewallRule(t, i)
		f.firewallRules = append(f.firewallRules, r)
		rules = append(rules, r.ID)
	}
	var policies []string
	for i := range firewallPolicies {
		p := &model.FirewallPolicy{Meta: model.Meta{ID: firewallID("policy", i)}, RuleIDs: some(t, rules, 6, "rules")}
		f.policies = append(f.policies, p)
		policies = append(policies, p.ID, p.ID)
	}
	for i := range 2 {
		f.groups = append(f.groups, &model.FirewallGroup{
			Meta: model.Meta{ID: firewallID("group", i)}, AdminStateUp: !chance(t, 12, "switched off"),
			IngressPolicyID: choose(t, append(policies, ""), "ingress"), EgressPolicyID: choose(t, append(policies, ""), "egress"),
		})
	}
	for at, s := range slots {
		// Of a port that may use any address, it is not known which connections it has.
		if i := roll(t, 4, "group"); i < len(f.groups) && (!o.calm || o.ports[at].Filtered() || at == router) {
			f.groups[i].PortIDs = append(f.groups[i].PortIDs, s.id)
		}
	}
}

func randomFirewallRule(t *rapid.T, i int) *model.FirewallRule {
	r := &model.FirewallRule{
		Meta: model.Meta{ID: firewallID("rule", i)}, Enabled: !chance(t, 10, "off"),
		IPVersion: choose(t, []int{4, 6}, "version"),
		Protocol:  choose(t, []string{"", "", "", "tcp", "tcp", "udp", "udp", "icmp", "sctp", "ip"}, "protocol"),
		Action: choose(t, []model.FirewallAction{
			model.FirewallAllow, model.FirewallAllow, model.FirewallAllow, model.FirewallDeny, model.FirewallReject,
		}, "action"),
	}
	for _, address := range []*model.FirewallAddress{&r.Source, &r.Destination} {
		block := netip.MustParsePrefix(choose(t, blocks, "block"))
		if chance(t, 3, "bounded") && block.Addr().Is4() == (r.IPVersion == 4) {
			address.Prefix = block
		}
	}
	if r.Protocol == "tcp" || r.Protocol == "udp" {
		if chance(t, 2, "ports") {
			service := int(choose(t, services, "service"))
			r.DestinationPorts = model.PortRange{First: service, Last: service + choose(t, []int{0, 100, 20000}, "more")}
		}
		if chance(t, 4, "source ports") {
			r.SourcePorts = model.PortRange{First: choose(t, []int{1, 1024, 20010}, "first"), Last: 65535}
		}
	}
	return r
}

// put makes the state have these and no others.
func (f firewalls) put(tx *state.Tx) {
	replace(tx, state.FirewallRules, f.firewallRules)
	replace(tx, state.FirewallPolicies, f.policies)
	replace(tx, state.FirewallGroups, f.groups)
}

// replace makes the objects those of the table.
func replace[T any, P interface {
	*T
	model.Object
}](tx *state.Tx, table *state.Table[T], objects []P) {
	for _, old := range slices.Collect(table.All(tx)) {
		table.Delete(tx, P(old).GetMeta().ID)
	}
	for _, o := range objects {
		c := *o // what is stored is never stored again
		table.Put(tx, &c)
	}
}

// about lists them as a person reads them.
func (f firewalls) about(line func(kind string, object any)) {
	for _, g := range f.groups {
		line("firewall group", g)
	}
	for _, p := range f.policies {
		line("firewall policy", map[string]any{"id": p.ID, "rules": p.RuleIDs})
	}
	for _, r := range f.firewallRules {
		line("firewall rule", r)
	}
}
