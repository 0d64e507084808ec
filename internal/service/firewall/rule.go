package firewall

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Rules are the rules of firewall rules. The zero value is ready.
type Rules struct{}

// Create stores the rule.
func (Rules) Create(tx *state.Tx, _ *auth.Caller, r *model.FirewallRule, _ schema.Given) error {
	r.Default = false
	if err := check(r); err != nil {
		return err
	}
	state.FirewallRules.Put(tx, r)
	return nil
}

// Update stores the rule. Nobody has looked at the policies that it is in since.
func (Rules) Update(tx *state.Tx, _ *auth.Caller, _, r *model.FirewallRule, _ schema.Given) error {
	if err := check(r); err != nil {
		return err
	}
	state.FirewallRules.Put(tx, r)
	for _, p := range slices.Collect(state.FirewallPoliciesByRule.List(tx, r.ID)) {
		if p.Audited {
			p = p.Clone()
			p.Audited = false
			state.FirewallPolicies.Put(tx, p)
		}
	}
	return nil
}

// Delete deletes the rule. Policies that have it forbid that: the fault is FirewallRuleInUse (409).
func (Rules) Delete(tx *state.Tx, _ *auth.Caller, r *model.FirewallRule) error {
	if state.FirewallPoliciesByRule.Has(tx, r.ID) {
		return fault.New(fault.Conflict, "FirewallRuleInUse", "Firewall rule %s is being used.", r.ID)
	}
	state.FirewallRules.Delete(tx, r.ID)
	return nil
}

// The protocols whose ports a rule can be about (IANA, Protocol Numbers).
const (
	protoTCP = 6
	protoUDP = 17
)

// check refuses values that do not fit together. What passes can be handed to a packet filter without a second look.
func check(r *model.FirewallRule) error {
	none := model.PortRange{}
	if r.SourcePorts != none || r.DestinationPorts != none {
		number, known := model.ProtocolNumber(r.Protocol)
		switch {
		case !known:
			return fault.New(fault.Invalid, "FirewallRuleWithPortWithoutProtocolInvalid",
				"Source/destination port requires a protocol.")
		case number != protoTCP && number != protoUDP:
			return fault.New(fault.Invalid, "FirewallRuleInvalidICMPParameter",
				"Source, destination port are not allowed when protocol is set to ICMP.")
		}
	}
	for _, a := range []model.FirewallAddress{r.Source, r.Destination} {
		if a.Prefix.IsValid() && a.Prefix.Addr().Is4() != (r.IPVersion == 4) {
			return fault.New(fault.Invalid, "FirewallIpAddressConflict",
				"Invalid input - IP addresses do not agree with IP Version.")
		}
	}
	return nil
}
