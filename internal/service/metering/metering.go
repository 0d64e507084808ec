// Package metering holds the rules of metering labels, under which traffic of routers is counted, and of the rules that
// say which packets belong to a label.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and
// return a *fault.Error, after which the transaction is dropped.
package metering

import (
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Labels are the rules of labels. The zero value is ready.
type Labels struct{}

// Create stores the label.
func (Labels) Create(tx *state.Tx, _ *auth.Caller, l *model.MeteringLabel, _ schema.Given) error {
	state.MeteringLabels.Put(tx, l)
	return nil
}

// Update is never asked for: the API cannot change labels. It stores the label.
func (Labels) Update(tx *state.Tx, _ *auth.Caller, _, l *model.MeteringLabel, _ schema.Given) error {
	state.MeteringLabels.Put(tx, l)
	return nil
}

// Delete deletes the label and its rules.
func (Labels) Delete(tx *state.Tx, _ *auth.Caller, l *model.MeteringLabel) error {
	for _, r := range slices.Collect(state.MeteringRulesByLabel.List(tx, l.ID)) {
		state.MeteringRules.Delete(tx, r.ID)
	}
	state.MeteringLabels.Delete(tx, l.ID)
	return nil
}

// Rules are the rules of what belongs to a label. The zero value is ready.
type Rules struct{}

// Create stores the rule, which belongs to the project of its label. A label that is none of the caller's does not
// exist for it: the fault is MeteringLabelNotFound (404).
func (Rules) Create(tx *state.Tx, c *auth.Caller, m *model.MeteringRule, _ schema.Given) error {
	label, ok := state.MeteringLabels.Get(tx, m.LabelID)
	if !ok || !c.Admin() && label.ProjectID != c.ProjectID {
		return fault.New(fault.NotFound, "MeteringLabelNotFound", "Metering label '%s' does not exist.", m.LabelID)
	}
	m.ProjectID = label.ProjectID
	if err := checkPrefixes(m); err != nil {
		return err
	}
	for other := range state.MeteringRulesByLabel.List(tx, m.LabelID) {
		if other.Direction == m.Direction && other.Excluded == m.Excluded && overlap(other.RemoteIP, m.RemoteIP) {
			return fault.New(fault.Conflict, "MeteringLabelRuleOverlaps",
				"Metering label rule with remote_ip_prefix '%s' overlaps another.", m.RemoteIP)
		}
	}
	state.MeteringRules.Put(tx, m)
	return nil
}

// Update is never asked for: the API cannot change rules. It stores the rule.
func (Rules) Update(tx *state.Tx, _ *auth.Caller, _, m *model.MeteringRule, _ schema.Given) error {
	state.MeteringRules.Put(tx, m)
	return nil
}

// Delete deletes the rule.
func (Rules) Delete(tx *state.Tx, _ *auth.Caller, m *model.MeteringRule) error {
	state.MeteringRules.Delete(tx, m.ID)
	return nil
}

// checkPrefixes refuses a rule that says nothing of addresses, or says it in the old and the new way together.
func checkPrefixes(m *model.MeteringRule) error {
	byDirection := m.SourceIP.IsValid() || m.DestinationIP.IsValid()
	switch {
	case m.RemoteIP.IsValid() && byDirection:
		return fault.New(fault.Invalid, "Invalid", "Cannot use 'remote-ip-prefix' in conjunction with 'source-ip-prefix' "+
			"or 'destination-ip-prefix'.")
	case !m.RemoteIP.IsValid() && !byDirection:
		return fault.New(fault.Invalid, "Invalid", "You must define at least one of the following parameters "+
			"'remote_ip_prefix', or 'source_ip_prefix' or 'destination_ip_prefix'.")
	}
	return nil
}

func overlap(a, b netip.Prefix) bool { return a.IsValid() && b.IsValid() && a.Overlaps(b) }
