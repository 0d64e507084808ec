// Package filter holds the filters of a host against their definition: what the kernel lets pass between workloads in
// real namespaces, with the tables that the agent makes of the documents that the server compiles, is what package
// verdict says of the same objects and packets.
//
// Read in this order: differential_test.go is the test; cast_test.go draws the objects, traffic_test.go the packets;
// frame_test.go puts a packet on the wire; host_test.go sends and sees them.
package filter

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/compile"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	"github.com/neutrino-net/neutrino/internal/testkit"
	"github.com/neutrino-net/neutrino/internal/verdict"
)

// cases is how many random sets of objects the test goes through in each of its halves, unless -rapid.checks says another
// number.
const (
	cases     = 30
	soakCases = 2500
)

func numberOfCases() int {
	asked := flag.Lookup("rapid.checks")
	if n, err := strconv.Atoi(asked.Value.String()); err == nil && asked.Value.String() != asked.DefValue {
		return n
	}
	if os.Getenv("NEUTRINO_SOAK") != "" {
		return soakCases
	}
	return cases
}

// TestKernelDecidesLikeTheDefinition draws objects, programs a host with them, draws packets, and compares where each of
// them has arrived with where it should have. Half of the cases are the same in each run, half are new. A case that fails
// is made smaller and printed, with the flag that repeats it. The host goes from case to case by changes, so one that
// fails in a run but not alone tells of a change that went wrong.
func TestKernelDecidesLikeTheDefinition(t *testing.T) {
	checks := numberOfCases()
	d := &differential{host: newHost(t), store: openStore(t), reasons: map[verdict.Reason]int{}}
	d.run(t, "the same", "20150408", checks)
	d.run(t, "new", "0", checks)
	t.Logf("%d packets, %d lost as they may be; what decided: %v", d.packets, d.lost, d.reasons)
	for _, why := range everyReason {
		if d.reasons[why] == 0 && checks >= cases && !t.Failed() {
			t.Errorf("no packet was decided by %s: such packets prove little", why)
		}
	}
}

// TestKernelDecidesBehindGates does the same, with fewer cases, on a host whose tables belong to nobody, as on kernels before
// 6.9: there is a second line behind the filters, which has to let pass what these do.
func TestKernelDecidesBehindGates(t *testing.T) {
	h := newHost(t)
	h.Run("nft", "add table bridge neutrino-filter; add table inet neutrino-track; add table arp neutrino-answers")
	d := &differential{host: h, store: openStore(t), reasons: map[verdict.Reason]int{}, gated: true}
	d.run(t, "new", "0", max(1, numberOfCases()/5))
}

func (d *differential) run(t *testing.T, name, seed string, checks int) {
	if asked := flag.Lookup("rapid.seed"); asked.Value.String() != asked.DefValue {
		seed = asked.Value.String() // a case is repeated
	}
	t.Run(name, func(t *testing.T) {
		setFlag(t, "rapid.checks", strconv.Itoa(checks))
		setFlag(t, "rapid.seed", seed)
		setFlag(t, "rapid.nofailfile", "true")
		rapid.Check(t, d.check)
	})
}

// everyReason is what has to have decided at least once.
var everyReason = []verdict.Reason{
	verdict.ReasonUnfiltered, verdict.ReasonVLANTag, verdict.ReasonSourceMAC, verdict.ReasonEtherType, verdict.ReasonARP,
	verdict.ReasonARPSender, verdict.ReasonSourceAddress, verdict.ReasonNDTarget, verdict.ReasonDHCPServer,
	verdict.ReasonDHCPClient, verdict.ReasonRouterAdvert, verdict.ReasonNeighbour, verdict.ReasonEstablished,
	verdict.ReasonRule, verdict.ReasonNoRule, verdict.ReasonFirewall,
}

// setFlag sets a flag of rapid, which has no other way to be told, until the test ends.
func setFlag(t *testing.T, name, value string) {
	t.Helper()
	before := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := flag.Set(name, before); err != nil {
			t.Error(err)
		}
	})
}

type differential struct {
	host     *host
	store    *state.Store
	revision int64
	view     *agent.View
	ports    []*model.Port // as last programmed, by slot
	packets  int
	reasons  map[verdict.Reason]int
	gated    bool
	// inBridges says that the kernel tracks connections in bridges; lost counts what it may lose, and has.
	inBridges bool
	lost      int
}

func (d *differential) check(t *rapid.T) {
	o := randomObjects(t)
	packets := randomTraffic(t, o.ports)
	d.host.forget()
	d.program(t, o)
	var connections verdict.Connections
	d.compare(t, o, packets.packets, &connections)
	if !o.calm {
		return
	}
	// What is allowed changes in the midst of the conversations.
	o = o.changed(t)
	more := packets.more()
	senders := map[*verdict.Packet]sent{}
	for _, p := range packets.packets {
		senders[p.packet] = p
	}
	d.program(t, o)
	connections.Review(func(_ string, first *verdict.Packet) bool {
		p := senders[first]
		return verdict.Decide(d.store.Read(), o.ports[p.from], o.ports[p.to[0]], first, false).Pass
	})
	d.compare(t, o, more, &connections)
}

// program makes the host filter as the objects say.
func (d *differential) program(t *rapid.T, o objects) {
	if _, err := d.store.Update(context.Background(), func(tx *state.Tx) error { o.put(tx); return nil }); err != nil {
		t.Fatal(err)
	}
	d.revision, d.ports = d.revision+1, o.ports
	documents := slices.Collect(compile.New(compile.Options{}).Documents(d.store.Read(), hostName))
	d.view = agent.NewView(d.revision, documents...)
	if err := d.host.program(d.view); err != nil {
		t.Fatal(err)
	}
	if d.revision == 1 {
		d.host.settle()
		d.inBridges = d.host.family() == "bridge"
	}
	if d.gated {
		d.awaitGates(t)
	}
}

// awaitGates waits until each filtered port has its gate: the filters hear of a device a moment after it has come.
func (d *differential) awaitGates(t *rapid.T) {
	for i, p := range d.ports {
		if !p.Filtered() {
			continue // where no port of a network is filtered, its devices have no gates
		}
		device := model.DeviceName(slots[i].id)
		testkit.Eventually(d.host.t, 5*time.Second, "a gate at "+p.Name, func() bool {
			if strings.Contains(d.host.Run("tc", "filter", "show", "dev", device, "egress"), "bpf") {
				return true
			}
			if err := d.host.program(d.view); err != nil {
				t.Fatal(err)
			}
			return false
		})
	}
}

// compare sends the packets, and holds where each of them has been seen against where it should have been.
func (d *differential) compare(t *rapid.T, o objects, packets []sent, connections *verdict.Connections) {
	seen, err := d.host.run(packets)
	if err != nil {
		t.Fatal(err)
	}
	r := d.store.Read()
	for i, p := range packets {
		d.packets++
		network := slots[p.from].network
		established := connections.Established(network, p.packet)
		d.reasons[verdict.Egress(r, o.ports[p.from], p.packet, established).Reason]++
		for _, to := range p.to {
			v := verdict.Decide(r, o.ports[p.from], o.ports[to], p.packet, established)
			if v.Direction == model.Ingress {
				d.reasons[v.Reason]++
			}
			pass := v.Pass && !p.form.lost
			if pass {
				connections.Passed(network, p.packet)
			}
			if pass && !seen[i][to] && d.inBridges && mayBeLost(p.packet, p.form) {
				d.lost++
				continue
			}
			if pass != seen[i][to] {
				t.Fatalf("%s\nhas arrived at %s: %v, but the definition says %+v (established: %v)\n%s\n%s", p, slots[to].name,
					seen[i][to], v, established, before(packets[:i], seen, p), o.about(p.from, to))
			}
		}
		for at := range seen[i] {
			if !slices.Contains(p.to, at) {
				t.Fatalf("%s\nhas arrived at %s\n%s", p, slots[at].name, o.about(p.from, at))
			}
		}
	}
}

// before lists the packets that were sent before between the same addresses.
func before(packets []sent, seen arrivals, p sent) string {
	var b strings.Builder
	for i, other := range packets {
		q := other.packet
		same := q.SourceIP == p.packet.SourceIP && q.DestinationIP == p.packet.DestinationIP
		back := q.SourceIP == p.packet.DestinationIP && q.DestinationIP == p.packet.SourceIP
		if slots[other.from].network == slots[p.from].network && (same || back) {
			fmt.Fprintf(&b, "before: %s; arrived at %d places\n", other, len(seen[i]))
		}
	}
	return b.String()
}

// about lists, of the objects, those that two ports depend on, as a person reads them.
func (o objects) about(ports ...int) string {
	var b strings.Builder
	line := func(kind string, object any) {
		text, err := json.Marshal(object)
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(&b, "%s %s\n", kind, text)
	}
	groups := map[string]bool{}
	for _, i := range ports {
		p := o.ports[i]
		line("port", map[string]any{
			"name": p.Name, "mac": p.MAC, "ips": addresses(p), "security": p.PortSecurityEnabled, "owner": p.DeviceOwner,
			"groups": p.SecurityGroupIDs, "pairs": p.AllowedAddressPairs,
		})
		for _, id := range p.SecurityGroupIDs {
			groups[id] = true
		}
	}
	for _, r := range o.rules {
		if groups[r.GroupID] {
			line("rule", r)
		}
	}
	o.firewalls.about(line)
	for _, g := range o.lists {
		line("list", map[string]any{"id": g.ID, "addresses": g.Addresses})
	}
	return b.String()
}

func addresses(p *model.Port) (ips []netip.Addr) {
	for _, f := range p.FixedIPs {
		ips = append(ips, f.IP)
	}
	return ips
}

// linkLocal is the address that IPv6 makes of a MAC (RFC 4291, appendix A).
func linkLocal(m verdict.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{
		0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5],
	})
}

// memoryLog is a state.Log that keeps nothing: a store in memory.
type memoryLog struct{ revision int64 }

func (l *memoryLog) Load(context.Context, func(state.Entry) error) (int64, error) { return 0, nil }

func (l *memoryLog) Append(context.Context, []state.Entry) (int64, error) {
	l.revision++
	return l.revision, nil
}

func openStore(t *testing.T) *state.Store {
	t.Helper()
	store, err := state.Open(t.Context(), state.Options{Log: &memoryLog{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}
