package filter

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
)

// The names of our tables.
const (
	filterTable = "neutrino-filter" // bridge: who may send what to whom
	trackTable  = "neutrino-track"  // inet: whose connections are known
)

// connected is the mark of packets that belong to a connection, on their way through the bridge.
const connected = 1 << 24

// What an honest sender says is marked with the zone of its network until its connection is looked for: the lookup that
// finds it honest tells that, too, and saves one by the name of the bridge. The zone is what a register begins with into
// which the mark is loaded; what follows says that it is one.
var isZone = []byte{0, 0, 0x4e, 0x54}

func zoneMark(zone uint16) uint32 {
	if zone == 0 {
		return 0
	}
	mark := append(binary.NativeEndian.AppendUint16(nil, zone), isZone[2:]...)
	return binary.NativeEndian.Uint32(mark)
}

// Sets and maps of the filter table. A key always begins with the device of the port.
const (
	setFiltered  = "filtered"    // devices of filtered ports
	setTrusted   = "trusted"     // devices of ports that send and get everything
	setClosed    = "closed"      // devices of ports whose documents cannot be understood
	setEgress    = "egress"      // the rules of what a device sends
	setEgressAny = "egress-any"  // the same of those whose groups are stateless: connections mean nothing to them
	setReceivers = "receivers"   // the rules of what a device gets
	setMACs      = "macs"        // source MACs
	setTwins     = "twins"       // a source MAC twice: what names it again further inside
	setIDs4      = "identities4" // single addresses, each with the mark of the network's zone
	setIDs6      = "identities6"
	setBlocks4   = "identities4-blocks"
	setBlocks6   = "identities6-blocks"
	setOwn4      = "addresses4" // fixed addresses
	setOwn6      = "addresses6"
	setHas6      = "has-ipv6"
	setZones     = "zones" // of the table that tracks
	setGone4     = "gone4" // likewise: a network's bridge and an address of which connections are to be forgotten
	setGone6     = "gone6"
)

// sets are the declarations of those that are always there.
func filterSets() map[string]rs.Set {
	of := func(fields ...rs.Field) rs.Set { return rs.Set{Key: fields} }
	blocks := func(last rs.Field) rs.Set {
		return rs.Set{Key: []rs.Field{rs.DeviceName, rs.MAC, last}, Intervals: true}
	}
	verdicts := rs.Set{Key: []rs.Field{rs.DeviceName}, Holds: rs.Verdicts}
	all := map[string]rs.Set{
		setEgress: verdicts, setEgressAny: verdicts, setReceivers: verdicts,
		setFirewallEgress: verdicts, setFirewallIngress: verdicts, setRoutedEgress: verdicts, setRoutedIngress: verdicts,
		setFiltered: of(rs.DeviceName), setTrusted: of(rs.DeviceName), setClosed: of(rs.DeviceName), setHas6: of(rs.DeviceName),
		setMACs: of(rs.DeviceName, rs.MAC), setTwins: of(rs.DeviceName, rs.MAC, rs.MAC),
		setIDs4:    {Key: []rs.Field{rs.DeviceName, rs.MAC, rs.IPv4}, Holds: rs.Marks},
		setIDs6:    {Key: []rs.Field{rs.DeviceName, rs.MAC, rs.IPv6}, Holds: rs.Marks},
		setBlocks4: blocks(rs.IPv4), setBlocks6: blocks(rs.IPv6),
		setOwn4: of(rs.DeviceName, rs.IPv4), setOwn6: of(rs.DeviceName, rs.IPv6),
	}
	maps.Copy(all, presentSets())
	for _, r := range reasons {
		all[r.counters()] = rs.Set{
			Key: []rs.Field{rs.DeviceName}, Holds: rs.Counters, Timeout: dropMemory, Size: maxDropCounters,
		}
	}
	return all
}

// Counters of drops are forgotten after a day without any, so that those of former devices do not stay forever.
const (
	dropMemory      = 24 * time.Hour
	maxDropCounters = 65536
)

// reason is why a frame is dropped, and at which end of its way.
type reason struct {
	name   string
	egress bool
}

// reasons are all that there are; package verdict defines them.
var reasons = []reason{
	{"unknown-device", true}, {"vlan-tag", true}, {"source-mac", true}, {"ethertype", true}, {"arp-sender", true},
	{"source-address", true}, {"dhcp-server", true}, {"dhcp-client", true}, {"router-advertisement", true},
	{"nd-target", true}, {"no-rule", true}, {"firewall", true},
	{"unknown-device", false}, {"vlan-tag", false}, {"ethertype", false}, {"no-rule", false}, {"firewall", false},
}

func (r reason) direction() string {
	if r.egress {
		return "egress"
	}
	return "ingress"
}

func (r reason) chain() string    { return "drop." + r.direction() + "." + r.name }
func (r reason) counters() string { return "dropped." + r.direction() + "." + r.name }

// dropOut and dropIn are the ends of the way of a frame that is not to go out of a workload, or into one.
func dropOut(name string) rs.Expr { return rs.Then(rs.Goto(reason{name, true}.chain())) }
func dropIn(name string) rs.Expr  { return rs.Then(rs.Goto(reason{name, false}.chain())) }

// dropChains count a frame for its device and drop it. A counter that there is no room for keeps nobody from being
// dropped, which is why these are two rules.
func dropChains() map[string]rs.Chain {
	all := map[string]rs.Chain{}
	for _, r := range reasons {
		device := rs.OutDevice
		if r.egress {
			device = rs.InDevice
		}
		all[r.chain()] = rs.Chain{Rules: []rs.Rule{
			rs.NewRule("count", rs.Load(rs.R(0), device), rs.CountIn(r.counters(), rs.R(0))),
			rs.NewRule("drop", rs.Then(rs.Drop)),
		}}
	}
	return all
}

// Registers. A key of device, MAC and address is loaded side by side.
var (
	first   = rs.R(0)
	keyMAC  = rs.R(4)
	keyNext = rs.R(6) // behind device and MAC
	keyIP   = rs.R(4) // behind the device
)

// Expressions that many rules begin with.
var (
	isIPv4  = join(rs.Load(first, rs.EtherType), rs.Equal(first, 0x08, 0x00))
	isIPv6  = join(rs.Load(first, rs.EtherType), rs.Equal(first, 0x86, 0xdd))
	inKey   = rs.Load(first, rs.InDevice)
	outKey  = rs.Load(first, rs.OutDevice)
	inMAC   = join(inKey, rs.Read(keyMAC, rs.Link, 6, 6))
	frameIs = func(hi, lo byte) rs.Expr { return join(rs.Read(first, rs.Link, 12, 2), rs.Equal(first, hi, lo)) }
)

func join(exprs ...rs.Expr) rs.Expr { return slices.Concat(exprs...) }

func isProtocol(n byte) rs.Expr { return join(rs.Load(first, rs.Protocol), rs.Equal(first, n)) }

// ports matches a source and a destination port.
func ports(source, destination uint16) rs.Expr {
	return join(rs.Read(first, rs.Transport, 0, 4),
		rs.Equal(first, byte(source>>8), byte(source), byte(destination>>8), byte(destination)))
}

func icmpType(n byte) rs.Expr { return join(rs.Read(first, rs.Transport, 0, 1), rs.Equal(first, n)) }

var (
	hasMark = join(rs.Load(first, rs.Mark), rs.Equal(first, rs.Native(connected)...))
	hasZone = join(rs.Load(first, rs.Mark), rs.And(first, []byte{0, 0, 0xff, 0xff}), rs.Equal(first, isZone...))
)

func setMark(mark uint32) rs.Expr { return join(rs.Put(first, rs.Native(mark)...), rs.SetMark(first)) }

// named matches names of the form that devices of ports have: tap, 8 characters, a dash, 2 characters.
func named(key rs.Expr) rs.Expr {
	mask, value := make([]byte, 16), make([]byte, 16)
	copy(mask, "\xff\xff\xff")
	copy(value, "tap")
	const dash, end = len("tap01234567"), len("tap01234567-89")
	mask[dash], value[dash] = 0xff, '-'
	mask[end], mask[end+1] = 0xff, 0xff
	return join(key, rs.And(first, mask), rs.Equal(first, value...))
}

// notOfPort matches names that no device of a port has.
func notOfPort(key rs.Expr) rs.Expr { return join(key, rs.Differs(first, []byte("tap")...)) }

// The chains that are always there. The kernel goes through everything that a chain leads to whenever a rule is added, as
// often as ways lead there: so what a sender may send and what a receiver may get are looked at by base chains of their
// own, and not one from within the other.
// Frames of bridges that are none of ours pass through the base chains without finding
// their devices, and are accepted.
func filterChains(f form) map[string]rs.Chain {
	all := dropChains()
	base := func(hook uint32, priority int32, rules ...rs.Rule) rs.Chain {
		return rs.Chain{Base: &rs.Base{Hook: hook, Priority: priority}, Rules: rules}
	}
	// Before connections are tracked: a frame that lies about its sender is not even remembered. What an honest sender says
	// needs one lookup.
	all["prerouting"] = base(rs.Prerouting, -300,
		presentSender(),
		rs.NewRule("6: its own address", frameIs(0x08, 0x00), sender4, rs.Map(setIDs4, first, first), rs.SetMark(first),
			rs.Then(rs.Accept)),
		rs.NewRule("6: its own address", frameIs(0x86, 0xdd), sender6, rs.Map(setIDs6, first, first), rs.SetMark(first),
			rs.Then(rs.Accept)),
		rs.NewRule("such marks are ours", hasZone, setMark(0)),
		rs.NewRule("tunnels and the like", notOfPort(inKey), rs.Then(rs.Accept)),
		rs.NewRule("filtered ports", inKey, rs.In(setFiltered, first), rs.Then(rs.Goto("sender"))),
		rs.NewRule("ports that are not filtered", inKey, rs.In(setTrusted, first), rs.Then(rs.Accept)),
		rs.NewRule("ports that are closed", inKey, rs.In(setClosed, first), dropOut("unknown-device")),
		rs.NewRule("a port that is not known", named(inKey), dropOut("unknown-device")),
	)
	all["arrive"] = base(rs.Forward, 20,
		presentReceiver(),
		rs.NewRule("by device", outKey, rs.Go(setReceivers, first)),
		rs.NewRule("the mark is for the way through the bridge only", hasMark, setMark(0)),
		rs.NewRule("tunnels and the like", notOfPort(outKey), rs.Then(rs.Accept)),
		rs.NewRule("ports that are not filtered", outKey, rs.In(setTrusted, first), rs.Then(rs.Accept)),
		rs.NewRule("ports that are closed", outKey, rs.In(setClosed, first), dropIn("unknown-device")),
		rs.NewRule("a port that is not known", named(outKey), dropIn("unknown-device")),
	)
	for name, rules := range senderChains() {
		all[name] = rs.Chain{Rules: rules}
	}
	for name, rules := range screenChains() {
		all[name] = rs.Chain{Rules: rules}
	}
	for name, rules := range alwaysChains() {
		all[name] = rs.Chain{Rules: rules}
	}
	if f == formBridge {
		for name, chain := range trackChains(f) {
			all[name] = chain
		}
	}
	return all
}

// identity matches if device, MAC and address, which are in the registers, belong together; single addresses and blocks
// are in two sets.
func identities(label string, v6 bool, load rs.Expr, then rs.Expr) []rs.Rule {
	single, blocks := setIDs4, setBlocks4
	if v6 {
		single, blocks = setIDs6, setBlocks6
	}
	return []rs.Rule{
		rs.NewRule(label, load, rs.Map(single, first, first), then),
		rs.NewRule(label+", of a block", load, rs.In(blocks, first), then),
	}
}

// trackChains tell the kernel which connections belong together, and packets whether they are of one. In the inet family,
// where br_netfilter takes bridged packets, the device that they come from is their bridge; in the bridge family it is
// the port of the bridge.
func trackChains(f form) map[string]rs.Chain {
	zone, state := int32(-450), int32(300) // before fragments are put together; after everybody who tracks
	of := join(inKey, rs.Equal(first, []byte("brq")...))
	if f == formBridge {
		zone, state = -290, -190
		of = join(inKey, rs.Map(setZones, first, keyIP))
	}
	known := join(rs.LoadState(first), rs.And(first, rs.Native(rs.StateEstablished|rs.StateRelated)),
		rs.Differs(first, 0, 0, 0, 0), rs.LoadConnMark(first), rs.Differs(first, rs.Native(cutMark)...),
		setMark(connected), rs.Then(rs.Accept))
	return map[string]rs.Chain{
		"zone": {Base: &rs.Base{Hook: rs.Prerouting, Priority: zone}, Rules: []rs.Rule{
			rs.NewRule("the zone that is known already", hasZone, rs.Load(first, rs.Mark), rs.SetZone(first),
				rs.Then(rs.Accept)),
			rs.NewRule("the zone of the network", inKey, rs.Map(setZones, first, first), rs.SetZone(first)),
		}},
		"state": {Base: &rs.Base{Hook: rs.Prerouting, Priority: state}, Rules: []rs.Rule{
			rs.NewRule("of a connection, or about one", hasZone, known),
			rs.NewRule("of none", hasZone, setMark(0), rs.Then(rs.Accept)),
			rs.NewRule("of a connection, or about one", of, known),
			rs.NewRule("of none", of, setMark(0)),
		}},
	}
}

// leaveChain comes when the parts of a datagram have been put together and its connection is known. It lets out what the
// rules of the sender's groups allow. Connections mean nothing to ports whose groups are stateless: those are asked for only
// where there are some.
func leaveChain(anyStateless bool) rs.Chain {
	var rules []rs.Rule
	if !anyStateless {
		// The screens would find nothing: there is no answer to who has no address, which is what makes a connection.
		rules = append(rules, rs.NewRule("TCP of a connection", hasMark, isProtocol(protocolTCP), rs.Then(rs.Accept)))
	}
	rules = append(rules, screenRules()...)
	if anyStateless {
		rules = append(rules, rs.NewRule("stateless groups", hasMark, inKey, rs.Go(setEgressAny, first)))
	}
	return rs.Chain{Base: &rs.Base{Hook: rs.Prerouting, Priority: 10}, Rules: append(rules,
		rs.NewRule("of a connection", hasMark, rs.Then(rs.Accept)),
		rs.NewRule("ARP", rs.Load(first, rs.EtherType), rs.Equal(first, 0x08, 0x06), rs.Then(rs.Accept)),
		rs.NewRule("by device", inKey, rs.Go(setEgress, first)),
	)}
}

// unmarkChain takes off the mark, which is for the way through the bridge only, from what stateless ports get. The others
// accept by it, and take it off themselves.
func unmarkChain() rs.Chain {
	return rs.Chain{Base: &rs.Base{Hook: rs.Postrouting}, Rules: []rs.Rule{rs.NewRule("take the mark off", hasMark, setMark(0))}}
}

func zoneSet() rs.Set { return rs.Set{Key: []rs.Field{rs.DeviceName}, Holds: rs.Zones} }

// mac is the form of a MAC in a key.
func mac(m netlinkx.MAC) []byte { return m[:] }
