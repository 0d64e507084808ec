package port

import (
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ml2/mech"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// A live migration goes like this: Nova binds the port to the target host as well (AddBinding), which says whether that
// host can wire it; when the workload moves, Nova makes that binding the one in force (ActivateBinding); and afterwards
// it takes the source host's away (RemoveBinding). If the migration fails, the target's goes instead.

// maxBindings bounds the bindings of a port that are not in force. Nova makes one.
const maxBindings = 8

// migratable are how the owners of ports begin that may have several bindings.
var migratable = []string{"compute:", "manila:"}

func checkMigratable(p *model.Port) error {
	if slices.ContainsFunc(migratable, func(owner string) bool { return strings.HasPrefix(p.DeviceOwner, owner) }) {
		return nil
	}
	return fault.New(fault.Invalid, "BadRequest", "Bad port request: Invalid port %s. Operation only valid on compute "+
		"and shared filesystem ports.", p.ID)
}

// shownBinding is the binding with what the API shows beside it.
func shownBinding(p *model.Port, b model.Binding, active bool) *model.PortBinding {
	return &model.PortBinding{Binding: b, NetworkID: p.NetworkID, ProjectID: p.ProjectID, Active: active}
}

// Bindings returns all bindings of the port, the one in force first. The fault, for a port that cannot have several, is
// BadRequest (400).
func (s *Rules) Bindings(p *model.Port) ([]*model.PortBinding, error) {
	if err := checkMigratable(p); err != nil {
		return nil, err
	}
	all := []*model.PortBinding{shownBinding(p, p.Binding, true)}
	for _, b := range p.InactiveBindings {
		all = append(all, shownBinding(p, b, false))
	}
	return all, nil
}

// Binding returns the port's binding to the host. The faults are PortBindingNotFound (404) and that of Bindings.
func (s *Rules) Binding(p *model.Port, host string) (*model.PortBinding, error) {
	if err := checkMigratable(p); err != nil {
		return nil, err
	}
	b, active, ok := p.BindingOn(host)
	if !ok {
		return nil, noBinding(p, host)
	}
	return shownBinding(p, b, active), nil
}

// AddBinding binds the port to a further host, without putting the binding in force. The faults are those of Bindings,
// PortBindingAlreadyExists and, where the host cannot wire the port, PortBindingError, both 409.
func (s *Rules) AddBinding(tx *state.Tx, p *model.Port, b model.Binding) (*model.PortBinding, error) {
	if err := checkMigratable(p); err != nil {
		return nil, err
	}
	if b.Host == "" {
		return nil, fault.Input("host", "It must not be empty")
	}
	if err := checkHost(b.Host); err != nil {
		return nil, err
	}
	if _, _, ok := p.BindingOn(b.Host); ok {
		return nil, bindingExists(p, b.Host)
	}
	if len(p.InactiveBindings) >= maxBindings {
		return nil, fault.New(fault.Conflict, "PortBindingError",
			"Port %s has %d bindings already, and at most %d are allowed.", p.ID, len(p.InactiveBindings)+1, maxBindings+1)
	}
	b, err := s.tryBinding(tx, p, b)
	if err != nil {
		return nil, err
	}
	now := p.Clone()
	now.SetInactive(b)
	state.Ports.Put(tx, now)
	return shownBinding(now, b, false), nil
}

// UpdateBinding makes b of the port's binding to the host. The faults are those of Binding and AddBinding.
func (s *Rules) UpdateBinding(tx *state.Tx, p *model.Port, host string, b model.Binding) (*model.PortBinding, error) {
	old, err := s.Binding(p, host)
	if err != nil {
		return nil, err
	}
	if b.Host != host {
		if err := checkHost(b.Host); err != nil {
			return nil, err
		}
		if _, _, ok := p.BindingOn(b.Host); ok || b.Host == "" {
			return nil, bindingExists(p, b.Host)
		}
	}
	if b, err = s.tryBinding(tx, p, b); err != nil {
		return nil, err
	}
	now := p.Clone()
	if old.Active {
		now.Binding, now.WiringReason = b, ""
		now.Unwire()
	} else {
		now.DropInactive(host)
		now.SetInactive(b)
	}
	settle(now)
	state.Ports.Put(tx, now)
	return shownBinding(now, b, old.Active), nil
}

// ActivateBinding puts the port's binding to the host in force. The one that was is kept, unplugged. The port is not
// ACTIVE until its new host has said that it is wired there. The faults are those of Binding and PortBindingAlreadyActive
// (409).
func (s *Rules) ActivateBinding(tx *state.Tx, p *model.Port, host string) (*model.PortBinding, error) {
	b, err := s.Binding(p, host)
	if err != nil {
		return nil, err
	}
	if b.Active {
		return nil, fault.New(fault.Conflict, "PortBindingAlreadyActive",
			"Binding for port %s on host %s is already active.", p.ID, host)
	}
	now := p.Clone()
	now.DropInactive(host)
	if former := p.Binding; former.Host != "" {
		former.VIFType, former.SegmentID = model.VIFUnbound, ""
		now.SetInactive(former)
	}
	now.Binding, now.WiringReason = b.Binding, ""
	now.Unwire()
	settle(now)
	state.Ports.Put(tx, now)
	return shownBinding(now, now.Binding, true), nil
}

// RemoveBinding takes the port's binding to the host away. When it was the one in force, the port is bound to no host.
func (s *Rules) RemoveBinding(tx *state.Tx, p *model.Port, host string) error {
	b, err := s.Binding(p, host)
	if err != nil {
		return err
	}
	now := p.Clone()
	if b.Active {
		now.Binding = model.Binding{VNICType: p.Binding.VNICType, VIFType: model.VIFUnbound}
		now.WiringReason = ""
		now.Unwire()
	} else {
		now.DropInactive(host)
	}
	settle(now)
	state.Ports.Put(tx, now)
	return nil
}

// tryBinding binds the port as b asks, or says why that is not possible.
func (s *Rules) tryBinding(r state.Reader, p *model.Port, b model.Binding) (model.Binding, error) {
	if b.VNICType == "" {
		b.VNICType = vnicNormal
	}
	trial := *p
	trial.Binding = b
	b, reason := mech.Bind(r, &trial, s.opts.Liveness)
	if reason != "" {
		return b, fault.New(fault.Conflict, "PortBindingError",
			"Binding for port %s on host %s could not be created or updated: %s.", p.ID, b.Host, reason)
	}
	return b, nil
}

func noBinding(p *model.Port, host string) error {
	const most = 253 // the longest name of a host
	if len(host) > most {
		host = strings.ToValidUTF8(host[:most], "") + "…"
	}
	return fault.New(fault.NotFound, "PortBindingNotFound",
		"Binding for port %s for host %s could not be found.", p.ID, host)
}

func bindingExists(p *model.Port, host string) error {
	return fault.New(fault.Conflict, "PortBindingAlreadyExists",
		"Binding for port %s on host %s already exists.", p.ID, host)
}
