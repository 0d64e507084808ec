package scheduler

import (
	"errors"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/dhcp"
	"github.com/neutrino-net/neutrino/internal/state"
)

// networks is the Work of giving networks their DHCP servers.
type networks struct{ dhcp *dhcp.Service }

// Networks has networks served with DHCP.
func Networks(service *dhcp.Service) Work { return networks{service} }

func (networks) Subject() string { return "network" }

func (networks) Waits(problem error) bool { return errors.Is(problem, dhcp.ErrNoHost) }

func (n networks) Ensure(tx *state.Tx, ids []string) map[string]error {
	pass, problems := n.dhcp.Pass(tx), map[string]error{}
	for _, id := range ids {
		problems[id] = pass.Ensure(id)
	}
	return problems
}

// All makes every network due, and those that bindings are left of.
func (networks) All(r state.Reader, book *Book) {
	for n := range state.Networks.All(r) {
		book.Due(n.ID)
	}
	for b := range state.DHCPBindings.All(r) {
		book.Due(b.NetworkID)
	}
}

func (n networks) Tick(r state.Reader, book *Book) {
	if book.Waiting() && n.dhcp.Available(r) {
		book.DueAgain()
	}
}

func (networks) Follow(c state.Change, _ state.Reader, book *Book) {
	switch c.Kind {
	case state.Networks.Kind():
		if c.New == nil {
			book.Forget(c.ID)
		}
	case state.Subnets.Kind():
		each(c, func(o *model.Subnet) { book.Due(o.NetworkID) })
	case state.DHCPBindings.Kind():
		each(c, func(o *model.DHCPBinding) { book.Due(o.NetworkID) })
	case state.Ports.Kind():
		each(c, func(o *model.Port) {
			// A port of a network with a problem counts whatever it is: it may have freed an address.
			if o.DeviceOwner == model.DeviceOwnerDHCP || book.Troubled(o.NetworkID) {
				book.Due(o.NetworkID)
			}
		})
	case state.Agents.Kind():
		each(c, func(o *model.Agent) {
			if o.Role == model.RoleDHCP {
				book.DueAgain()
			}
		})
	}
}
