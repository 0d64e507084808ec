package filter

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// Logs. Which ports a log concerns is an element of a map for each of them: device → limit. What is recorded does not
// grow with the number of logs; which of them ask for it is found when the record is written (records.go), from the device.
// So a packet costs the same however many logs there are, and the kernel hands over no more of it than one limit allows.
// Ports with the same logs share a limit.
//
// Dropped packets are recorded by one rule in each of the chains that drop. Of accepted ones the first packet of a
// connection is recorded: packets of a connection that is known do not get as far as the rules of groups. Where a log
// concerns a group, its rules do not accept at once, but go to a chain that records. On the ways of all other packets
// nothing is added.

// Maps and sets of logs; besides, there is a map for each group whose accepted packets are recorded.
const (
	setDropLogs = "logs-drop"
	setRecent4  = "recent4" // what was recorded as the beginning of a conversation, and goes on without answers
	setRecent6  = "recent6"
)

const (
	// recordGroup is the group of NFLOG that the agent reads.
	recordGroup = 9696
	// recordSize is how much of a packet is recorded at most, in bytes.
	recordSize = 256
	// recentTime is how long a conversation without answers may pause and not be recorded anew; the kernel remembers UDP
	// for as long.
	recentTime = 30 * time.Second
	maxRecent  = 65536
)

func acceptLogs(group string) string { return "logs-accept." + group }

func acceptedChain(group string, egress bool) string {
	return "accepted." + reason{egress: egress}.direction() + "." + group
}

func recordChain(group string, egress bool) string {
	return "record." + reason{egress: egress}.direction() + "." + group
}

// packetLog is a log document.
type packetLog struct {
	id, project  string
	accept, drop bool
	port, group  string // empty: any
	own          bool   // ports of its project only
}

// logs are the log documents, and what follows from them.
type logs struct {
	all map[string]*packetLog // by key
	// ports are the logs that concern each port, by the key of the port.
	ports map[string][]*packetLog
	limit rs.Limit
	// wants is what the tables have of it.
	wants logWants
	dirty bool
	// probe asks whether the kernel can record packets; refused is why it cannot, probed that it was asked.
	probe   func() error
	probed  bool
	refused error
}

// logWants is what the table has because of logs.
type logWants struct {
	limits   map[string]bool
	elements map[element]rs.Value
	groups   map[string]bool // whose accepted packets are recorded
	drops    bool
}

func newLogs() logs { return logs{all: map[string]*packetLog{}} }

// touch notes that a document has changed on which it depends what is recorded. Of groups that is only which there are, see
// setGroup.
func (l *logs) touch(d *sb.Document) {
	if d.GetPort() != nil || d.GetLog() != nil {
		l.dirty = true
	}
}

// accepted is what becomes of a packet that a rule of the group accepts.
func (l *logs) accepted(group string, egress bool) rs.Verdict {
	if l.wants.groups[group] {
		return rs.Goto(acceptedChain(group, egress))
	}
	return rs.Accept
}

func (s *state) putLog(key string, body *sb.Log) {
	delete(s.logs.all, key)
	if !idPattern.MatchString(body.GetLogId()) || "log/"+body.LogId != key {
		s.problems[key] = fmt.Errorf("the id %.80q is none, or not that of the key", body.GetLogId())
		return
	}
	s.logs.all[key] = &packetLog{
		id: body.LogId, project: body.ProjectId, accept: body.Accept, drop: body.Drop, port: body.PortId,
		group: body.SecurityGroup, own: body.OwnPorts,
	}
}

// concerns says whether packets of the port are to be recorded.
func (l *packetLog) concerns(p *wiredPort) bool {
	return p.err == nil && p.filtered && (l.port == "" || l.port == p.id) &&
		(l.group == "" || slices.Contains(p.groups, l.group)) && (!l.own || l.project == p.project)
}

// wantLogs brings the table up to what the logs want, if anything has changed that they depend on.
func (s *state) wantLogs() {
	l := &s.logs
	if !l.dirty {
		return
	}
	l.dirty = false
	l.ports = map[string][]*packetLog{}
	if len(l.all) > 0 && !l.probed {
		l.refused = l.probe()
		l.probed = l.refused == nil
	}
	if l.refused == nil {
		l.choose(s.ports)
	}
	s.changeLogs(s.logWants())
}

// choose finds the logs of each port.
func (l *logs) choose(ports map[string]*wiredPort) {
	if len(l.all) == 0 {
		return
	}
	byPort, others := map[string][]*packetLog{}, []*packetLog{}
	for _, key := range slices.Sorted(maps.Keys(l.all)) {
		if one := l.all[key]; one.port != "" {
			byPort[one.port] = append(byPort[one.port], one)
		} else {
			others = append(others, one)
		}
	}
	for key, p := range ports {
		for _, candidates := range [][]*packetLog{byPort[p.id], others} {
			for _, one := range candidates {
				if one.concerns(p) {
					l.ports[key] = append(l.ports[key], one)
				}
			}
		}
	}
}

// logWants is what the table needs for the logs as they are.
func (s *state) logWants() logWants {
	w := logWants{limits: map[string]bool{}, elements: map[element]rs.Value{}, groups: map[string]bool{}}
	names := map[string]string{} // many ports have the same logs
	want := func(set string, p *wiredPort, chosen []string) {
		key := strings.Join(chosen, " ")
		limit := names[key]
		if limit == "" {
			limit = s.logs.limitName(key)
			names[key] = limit
		}
		w.limits[limit] = true
		w.elements[element{set, rs.Element{First: rs.Key(rs.Device(p.device))}}] = rs.Value{Limit: limit}
	}
	for key, concerned := range s.logs.ports {
		p := s.ports[key]
		if chosen := chosenLogs("drop", concerned, func(l *packetLog) bool { return l.drop }); chosen != nil {
			w.drops = true
			want(setDropLogs, p, chosen)
		}
		for _, group := range p.groups {
			chosen := chosenLogs("accept", concerned, func(l *packetLog) bool { return l.accepts(group) })
			if chosen != nil && s.groups[group] != nil {
				w.groups[group] = true
				want(acceptLogs(group), p, chosen)
			}
		}
	}
	return w
}

// accepts says whether what the group's rules accept is to be recorded.
func (l *packetLog) accepts(group string) bool {
	return l.accept && (l.group == "" || l.group == group)
}

// chosenLogs returns the ids of those logs, behind what they are for; nil if there are none.
func chosenLogs(event string, from []*packetLog, which func(*packetLog) bool) []string {
	var ids []string
	for _, l := range from {
		if which(l) {
			ids = append(ids, l.id)
		}
	}
	if ids == nil {
		return nil
	}
	return append([]string{event}, ids...)
}

// limitName is the name of the limit of what the chosen logs record; another limit has another name.
func (l *logs) limitName(chosen string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %s", l.limit.PerSecond, l.limit.Burst, chosen))
	return "log." + hex.EncodeToString(sum[:8])
}

// changeLogs has the table follow from what it has because of logs to what it is to have.
func (s *state) changeLogs(now logWants) {
	was := s.logs.wants
	s.logs.wants = now
	device := []rs.Field{rs.DeviceName}
	if now.drops && !was.drops {
		s.filter.WantSet(setDropLogs, rs.Set{Key: device, Holds: rs.Limits})
	}
	if len(now.groups) > 0 && len(was.groups) == 0 {
		for name, address := range map[string]rs.Field{setRecent4: rs.IPv4, setRecent6: rs.IPv6} {
			s.filter.WantSet(name, rs.Set{
				Key: append(device, address, address, rs.Upper, rs.Ports), Holds: rs.Visits, Timeout: recentTime, Size: maxRecent,
			})
		}
	}
	for limit := range now.limits {
		s.filter.WantLimit(limit, s.logs.limit)
	}
	for group := range now.groups {
		if !was.groups[group] {
			s.filter.WantSet(acceptLogs(group), rs.Set{Key: device, Holds: rs.Limits})
			s.recordGroup(group)
		}
	}
	for e, v := range now.elements {
		s.filter.Put(e.set, e.Element, v)
	}
	if now.drops != was.drops {
		for name, chain := range dropChains() {
			if now.drops {
				chain.Rules = slices.Insert(chain.Rules, len(chain.Rules)-1, recordDrop(name))
			}
			s.filter.WantChain(name, chain)
		}
	}
	s.forgetLogs(was, now)
}

// forgetLogs takes out what is not wanted any more.
func (s *state) forgetLogs(was, now logWants) {
	for e := range was.elements {
		if _, kept := now.elements[e]; !kept {
			s.filter.Remove(e.set, e.Element)
		}
	}
	for group := range was.groups {
		if now.groups[group] {
			continue
		}
		for _, egress := range []bool{true, false} {
			if g := s.groups[group]; g != nil {
				s.filter.WantChain(groupChain(group, egress), g.chain(egress, rs.Accept))
			}
			s.filter.DropChain(acceptedChain(group, egress))
			s.filter.DropChain(recordChain(group, egress))
		}
		s.filter.DropSet(acceptLogs(group))
	}
	if was.drops && !now.drops {
		s.filter.DropSet(setDropLogs)
	}
	if len(was.groups) > 0 && len(now.groups) == 0 {
		s.filter.DropSet(setRecent4)
		s.filter.DropSet(setRecent6)
	}
	for limit := range was.limits {
		if !now.limits[limit] {
			s.filter.DropLimit(limit)
		}
	}
}

// recordGroup has what the rules of the group accept recorded.
func (s *state) recordGroup(group string) {
	for _, egress := range []bool{true, false} {
		for name, rules := range acceptedRules(group, egress) {
			s.filter.WantChain(name, rs.Chain{Rules: rules})
		}
		s.filter.WantChain(groupChain(group, egress), s.groups[group].chain(egress, s.logs.accepted(group, egress)))
	}
}

// recordDrop records what the chain drops, before it does.
func recordDrop(chain string) rs.Rule {
	device := outKey
	if strings.HasPrefix(chain, reason{egress: true}.chain()) {
		device = inKey
	}
	prefix := strings.Replace(strings.TrimPrefix(chain, "drop."), ".", " ", 1)
	return rs.NewRule("record", device, rs.Within(setDropLogs, first), rs.Log(recordGroup, "drop "+prefix, recordSize))
}

// acceptedRules are the chains that accept what a rule of the group lets pass, and record the beginnings. That the kernel
// has seen no answer yet does not make a packet the first of its connection: what sends and is not answered would fill
// the log. So what was recorded is remembered for a while, but a SYN always begins something, and so does a ping, which is
// not remembered. (Whoever adds rules here should know that the kernel goes through them once for each rule of the group.)
func acceptedRules(group string, egress bool) map[string][]rs.Rule {
	device := outKey
	if egress {
		device = inKey
	}
	record := rs.Then(rs.Goto(recordChain(group, egress)))
	// Behind the device, which takes 4 registers: the addresses, the protocol, and the ports.
	recent := func(is rs.Expr, offset, length int) rs.Expr {
		next := 4 + 2*length/4
		return join(is, device, rs.Read(rs.R(4), rs.Network, offset, 2*length), rs.Load(rs.R(next), rs.Protocol),
			rs.Read(rs.R(next+1), rs.Transport, 0, 4))
	}
	recent4, recent6 := recent(isIPv4, 12, 4), recent(isIPv6, 8, 16)
	const flags, finSynRstAck, syn = 13, 0x17, 0x02
	prefix := "accept " + reason{egress: egress}.direction() + " " + group
	return map[string][]rs.Rule{
		acceptedChain(group, egress): {
			rs.NewRule("of a connection", hasMark, rs.Then(rs.Accept)), // where groups are stateless
			rs.NewRule("a connection begins", isProtocol(protocolTCP), rs.Read(first, rs.Transport, flags, 1),
				rs.And(first, []byte{finSynRstAck}), rs.Equal(first, syn), record),
			rs.NewRule("it goes on", recent4, rs.In(setRecent4, first), rs.Remember(setRecent4, first), rs.Then(rs.Accept)),
			rs.NewRule("it goes on", recent6, rs.In(setRecent6, first), rs.Remember(setRecent6, first), rs.Then(rs.Accept)),
			rs.NewRule("it begins", record),
		},
		recordChain(group, egress): {
			rs.NewRule("remember", rs.Load(first, rs.Protocol), rs.Differs(first, protocolICMP), recent4,
				rs.Remember(setRecent4, first)),
			rs.NewRule("remember", rs.Load(first, rs.Protocol), rs.Differs(first, protocolICMPv6), recent6,
				rs.Remember(setRecent6, first)),
			rs.NewRule("record", device, rs.Within(acceptLogs(group), first), rs.Log(recordGroup, prefix, recordSize)),
			rs.NewRule("accept", rs.Then(rs.Accept)),
		},
	}
}

// probeLogs asks the kernel whether it can record packets.
func probeLogs(conn *rs.Conn) error {
	probe := rs.NewTable(conn, rs.Bridge, "neutrino-probe")
	probe.WantLimit("limit", rs.Limit{PerSecond: 1, Burst: 1})
	probe.WantSet("limits", rs.Set{Key: []rs.Field{rs.DeviceName}, Holds: rs.Limits})
	probe.WantChain("record", rs.Chain{Rules: []rs.Rule{
		rs.NewRule("record", inKey, rs.Within("limits", first), rs.Log(recordGroup, "probe", recordSize)),
	}})
	if _, err := probe.Apply(); err != nil {
		return fmt.Errorf("find out whether packets can be recorded: %w", err)
	}
	for _, name := range []string{"limit", "limits", "record"} {
		if err := probe.Err(name); err != nil {
			_ = probe.Delete() // what is told is why there are no logs
			return fmt.Errorf("the kernel cannot record packets (nft_log, nft_limit, nft_objref, nfnetlink_log): %w", err)
		}
	}
	return probe.Delete()
}
