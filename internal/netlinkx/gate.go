package netlinkx

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A gate lets a device send only packets that have one of the bits of a mark, and drops the others: a filter at the end of
// their way, in the traffic control of the device, which nobody removes who flushes the ruleset of nftables.

// Of linux/pkt_sched.h, linux/pkt_cls.h.
const (
	classAct   = 0xffff0000 // the handle of the qdisc clsact
	classActAt = 0xfffffff1 // TC_H_CLSACT: its place
	egress     = 0xfffffff3 // TC_H_MIN_EGRESS in it: what the device sends
	bpfLength  = 4          // TCA_BPF_OPS_LEN
	bpfProgram = 5          // TCA_BPF_OPS
	bpfFlags   = 8          // TCA_BPF_FLAGS
	bpfActs    = 1          // TCA_BPF_FLAG_ACT_DIRECT: what the program returns is what becomes of the packet
	actGoOn    = 0xffffffff // TC_ACT_UNSPEC
	actShot    = 2          // TC_ACT_SHOT
	// gatePlace is the handle of the filter of a gate, and gateOrder its priority: it is the first.
	gatePlace = 0x6e65
	gateOrder = 1
)

// gateProgram is the gate for a mark, in the classic language of packet filters.
func gateProgram(mark uint32) ([]byte, error) {
	code, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtMark},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: mark, SkipFalse: 1},
		bpf.RetConstant{Val: actGoOn},
		bpf.RetConstant{Val: actShot},
	})
	var b []byte
	for _, i := range code {
		b = binary.NativeEndian.AppendUint16(b, i.Op)
		b = append(b, i.Jt, i.Jf)
		b = binary.NativeEndian.AppendUint32(b, i.K)
	}
	return b, err
}

func (h *Handle) trafficControl(kind, flags int, m nl.TcMsg) *nl.NetlinkRequest {
	req := h.request(kind, flags)
	req.AddData(&m)
	return req
}

func gateMessage(index int) nl.TcMsg {
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	return nl.TcMsg{Ifindex: int32(index), Handle: gatePlace, Parent: egress, Info: gateOrder<<16 | uint32(all)}
}

// HasGate says whether the device has the gate for the mark.
func (h *Handle) HasGate(index int, mark uint32) (bool, error) {
	want, err := gateProgram(mark)
	if err != nil {
		return false, err
	}
	found := false
	build := func() *nl.NetlinkRequest {
		return h.trafficControl(unix.RTM_GETTFILTER, unix.NLM_F_DUMP, nl.TcMsg{Ifindex: int32(index), Parent: egress})
	}
	err = h.dump("filters of a device", build, func() { found = false }, func(m []byte) error {
		if len(m) < nl.SizeofTcMsg || nl.DeserializeTcMsg(m).Handle != gatePlace {
			return nil
		}
		eachAttr(m[nl.SizeofTcMsg:], func(kind int, options []byte) {
			if kind == nl.TCA_OPTIONS {
				eachAttr(options, func(kind int, program []byte) {
					found = found || kind == bpfProgram && string(program) == string(want)
				})
			}
		})
		return nil
	})
	if Gone(err) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil // it has no such qdisc, or the kernel has none at all
	}
	return found, err
}

// SetGate gives the device the gate for the mark.
func (h *Handle) SetGate(index int, mark uint32) error {
	qdisc := h.trafficControl(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK,
		nl.TcMsg{Ifindex: int32(index), Handle: classAct, Parent: classActAt})
	qdisc.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("clsact")))
	if err := h.do(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add the qdisc clsact: %w", err)
	}
	program, err := gateProgram(mark)
	if err != nil {
		return err
	}
	filter := h.trafficControl(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_ACK, gateMessage(index))
	filter.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("bpf")))
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(bpfLength, nl.Uint16Attr(uint16(len(program)/8)))
	options.AddRtAttr(bpfProgram, program)
	options.AddRtAttr(bpfFlags, nl.Uint32Attr(bpfActs))
	filter.AddData(options)
	if err := h.do(filter); err != nil {
		return fmt.Errorf("add a filter of traffic control: %w", err)
	}
	return nil
}

// DeleteGate takes the gate away. The qdisc stays, it may serve others.
func (h *Handle) DeleteGate(index int) error {
	return h.do(h.trafficControl(unix.RTM_DELTFILTER, unix.NLM_F_ACK, gateMessage(index)))
}
