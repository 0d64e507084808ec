package router

import (
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// helperProtocols are the conntrack helpers that may be used, each with the protocols that it understands.
var helperProtocols = map[string][]string{
	"amanda": {"tcp"}, "ftp": {"tcp"}, "h323": {"udp", "tcp"}, "irc": {"tcp"}, "netbios-ns": {"udp"}, "pptp": {"tcp"},
	"sane": {"tcp"}, "sip": {"udp", "tcp"}, "snmp": {"udp"}, "tftp": {"udp"},
}

// maxHelpers is how many conntrack helpers a router may have.
const maxHelpers = 64

// Helpers are the rules of conntrack helpers. The zero value is ready.
type Helpers struct{}

// Create stores the helper.
func (Helpers) Create(tx *state.Tx, _ *auth.Caller, h *model.ConntrackHelper, _ schema.Given) error {
	if r, ok := state.Routers.Get(tx, h.RouterID); ok {
		h.ProjectID = r.ProjectID
	}
	if state.ConntrackHelpersByRouter.Count(tx, h.RouterID) >= maxHelpers {
		return fault.New(fault.Conflict, "OverQuota", "Router %s has %d conntrack helpers, which is the most it may have.",
			h.RouterID, maxHelpers)
	}
	return putHelper(tx, h)
}

// Update stores the helper.
func (Helpers) Update(tx *state.Tx, _ *auth.Caller, _, h *model.ConntrackHelper, _ schema.Given) error {
	return putHelper(tx, h)
}

// Delete deletes the helper.
func (Helpers) Delete(tx *state.Tx, _ *auth.Caller, h *model.ConntrackHelper) error {
	state.ConntrackHelpers.Delete(tx, h.ID)
	return nil
}

func putHelper(tx *state.Tx, h *model.ConntrackHelper) error {
	protocols, ok := helperProtocols[h.Helper]
	if !ok {
		return fault.New(fault.Invalid, "ConntrackHelperNotAllowed", "Conntrack Helper %s is not allowed.", h.Helper)
	}
	if !slices.Contains(protocols, h.Protocol) {
		return fault.New(fault.Invalid, "InvalidProtocolForHelper", "Conntrack Helper %s does not support: %s. "+
			"Supported protocols are: %s", h.Helper, h.Protocol, strings.Join(protocols, ", "))
	}
	for o := range state.ConntrackHelpersByRouter.List(tx, h.RouterID) {
		if o.ID != h.ID && o.Protocol == h.Protocol && o.Port == h.Port && o.Helper == h.Helper {
			return fault.New(fault.Invalid, "BadRequest", "Bad conntrack_helper request: A duplicate conntrack helper entry "+
				"with same attributes already exists: %s.", o.ID)
		}
	}
	state.ConntrackHelpers.Put(tx, h)
	return nil
}
