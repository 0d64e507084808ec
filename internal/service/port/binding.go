package port

import (
	"strings"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ml2/mech"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// bind ties the port to the host that it asks for. A port that was wired on another host, or otherwise, no longer is.
func (s *Rules) bind(r state.Reader, p *model.Port, live mech.Liveness) {
	p.Binding, p.WiringReason = mech.Bind(r, p, live)
	p.Unwire()
}

// vnicNormal is the kind of device that the Linux bridge can wire, and the default.
const vnicNormal = "normal"

// bindAgain binds a changed port where it is to appear on another host or as another device, and tries once more where
// that failed before. A binding to its new host that has waited there for a migration is not needed any more.
func (s *Rules) bindAgain(r state.Reader, old, p *model.Port, given schema.Given) {
	if p.Binding.Host != old.Binding.Host && p.Binding.Host != "" {
		p.Binding.GatewayGroup = ""
	}
	moved := p.Binding.Host != old.Binding.Host || p.Binding.GatewayGroup != old.Binding.GatewayGroup ||
		p.Binding.VNICType != old.Binding.VNICType
	if moved || !p.Binding.Bound() && given.Any("binding:host_id", "binding:profile") {
		p.DropInactive(p.Binding.Host)
		s.bind(r, p, s.opts.Liveness)
	}
}

// rebindStep is how many ports are bound again in one transaction.
const rebindStep = 1000

// Rebind tries again to bind the ports whose binding to the host has failed. The host counts as alive: it is called
// when its agent has just said what it can do. It looks at the ports with ids after the given one, as many as fit a
// commit, and returns the last; "" when there are no more.
func (s *Rules) Rebind(tx *state.Tx, host, after string) (last string) {
	var failed []*model.Port
	for p := range state.PortsByWantedHost.List(tx, host) {
		if p.Binding.VIFType != model.VIFBindingFailed || p.ID <= after {
			continue
		}
		if failed = append(failed, p); len(failed) == rebindStep {
			last = p.ID
			break
		}
	}
	for _, p := range failed {
		again := p.Clone()
		s.bind(tx, again, nil)
		if again.Binding.VIFType == p.Binding.VIFType && again.WiringReason == p.WiringReason {
			continue
		}
		settle(again)
		state.Ports.Put(tx, again)
	}
	return last
}

// checkHost refuses what cannot be the name of a host: labels of letters, digits and inner hyphens, separated by dots
// (RFC 1123, section 2.1). The empty name is allowed: no host.
func checkHost(host string) error {
	if host == "" {
		return nil
	}
	bad := len(host) > 253
	for label := range strings.SplitSeq(host, ".") {
		bad = bad || !validLabel(label)
	}
	if bad {
		return fault.Input("binding:host_id", "It is not a valid host name")
	}
	return nil
}

func validLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for _, c := range []byte(label) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}
