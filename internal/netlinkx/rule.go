package netlinkx

import (
	"encoding/binary"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Rule says which table of routes is looked into for what: a rule of policy routing.
type Rule struct {
	Family   int // unix.AF_INET or AF_INET6
	Priority int // the lowest comes first
	Table    int
	// Input is the device by which a packet came in, Mark the mark that it has; empty and 0: any.
	Input string
	Mark  uint32
	// SkipDefault has routes to everywhere passed over.
	SkipDefault bool
	Protocol    int
}

// Attributes of fib_rules.h.
const (
	fraInput      = 3
	fraPriority   = 6
	fraMark       = 10
	fraSuppress   = 14 // FRA_SUPPRESS_PREFIXLEN
	fraTable      = 15
	fraProtocol   = 21
	fraActToTable = 1
)

// Rules returns the rules of both IP versions that carry the protocol number.
func (h *Handle) Rules(protocol int) ([]Rule, error) {
	var all []Rule
	build := func() *nl.NetlinkRequest {
		req := h.request(unix.RTM_GETRULE, unix.NLM_F_DUMP)
		req.AddData(&nl.RtMsg{})
		return req
	}
	err := h.dump("rules", build, func() { all = all[:0] }, func(m []byte) error {
		if len(m) < unix.SizeofRtMsg {
			return unix.EBADMSG
		}
		r := Rule{Family: int(m[0]), Table: int(m[4])}
		eachAttr(m[unix.SizeofRtMsg:], func(kind int, v []byte) {
			switch kind {
			case fraInput:
				r.Input = nl.BytesToString(v)
			case fraPriority:
				r.Priority = u32(v)
			case fraMark:
				r.Mark = uint32(u32(v))
			case fraSuppress:
				r.SkipDefault = len(v) == 4 && binary.NativeEndian.Uint32(v) == 0
			case fraTable:
				r.Table = u32(v)
			case fraProtocol:
				if len(v) > 0 {
					r.Protocol = int(v[0])
				}
			}
		})
		if r.Protocol == protocol {
			all = append(all, r)
		}
		return nil
	})
	return all, err
}

// AddRule adds a rule.
func (h *Handle) AddRule(r Rule) error {
	return h.do(h.ruleRequest(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, r))
}

// DeleteRule removes a rule.
func (h *Handle) DeleteRule(r Rule) error { return h.do(h.ruleRequest(unix.RTM_DELRULE, 0, r)) }

func (h *Handle) ruleRequest(kind, flags int, r Rule) *nl.NetlinkRequest {
	req := h.request(kind, flags|unix.NLM_F_ACK)
	message := &nl.RtMsg{}
	message.Family, message.Type = uint8(r.Family), fraActToTable
	req.AddData(message)
	req.AddData(nl.NewRtAttr(fraPriority, nl.Uint32Attr(uint32(r.Priority))))
	req.AddData(nl.NewRtAttr(fraTable, nl.Uint32Attr(uint32(r.Table))))
	if r.Input != "" {
		req.AddData(nl.NewRtAttr(fraInput, nl.ZeroTerminated(r.Input)))
	}
	if r.Mark != 0 {
		req.AddData(nl.NewRtAttr(fraMark, nl.Uint32Attr(r.Mark)))
	}
	if r.SkipDefault {
		req.AddData(nl.NewRtAttr(fraSuppress, nl.Uint32Attr(0)))
	}
	if r.Protocol != 0 {
		req.AddData(nl.NewRtAttr(fraProtocol, []byte{byte(r.Protocol)}))
	}
	return req
}
