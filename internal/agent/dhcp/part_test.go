package dhcp

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"google.golang.org/protobuf/proto"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/dnsmasq"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/plug"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

func TestAWorkloadGetsAllThatTheSubnetSays(t *testing.T) {
	h := newHost(t)
	h.start()
	if s := h.status(h.networkKey()); s.State != sb.ObjectStatus_STATE_DONE {
		t.Fatalf("the network: %+v", s)
	}
	got := h.workload(h.hosts[0].GetMac()).ask()
	want := plug.Lease{
		Address: netip.MustParsePrefix("10.77.0.3/24"), Server: netip.MustParseAddr("10.77.0.2"),
		Routes: []plug.Route{
			{Destination: netip.MustParsePrefix("10.99.0.0/16"), Via: netip.MustParseAddr("10.77.0.9")},
			{Destination: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.77.0.1")},
		},
		DNS: []netip.Addr{netip.MustParseAddr("10.77.0.2")}, Domain: "example.org", Name: "web", MTU: 1450,
		Duration: time.Hour,
	}
	if r := got.Ack.Router(); len(r) != 1 || r[0].String() != "10.77.0.1" {
		t.Errorf("the router option is %v", r)
	}
	got.Took, got.Ack = 0, nil
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("the lease (-want +got):\n%s", diff)
	}

	// A client that nobody knows gets nothing.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if lease, err := plug.Ask(ctx, h.workload("fa:16:3e:cc:00:01").ns, "eth0"); err == nil {
		t.Errorf("a stranger got %v", lease.Address)
	}
	if log := h.log(h.hosts[0].GetPortId()); len(log.Messages) < 4 || len(log.Missing) != 0 ||
		log.Messages[len(log.Messages)-1].Type != "DHCPACK" || log.Messages[0].Time.Before(time.Now().Add(-time.Minute)) {
		t.Errorf("the log of the port: %+v", log)
	}
	if log := h.log(h.hosts[1].GetPortId()); len(log.Messages) != 0 || len(log.Missing) != 4 {
		t.Errorf("the log of a port that was silent: %+v", log)
	}
}

// The whole way of "neutrino plug --dhcp", with an agent that puts the device into the bridge as the l2 part does.
func TestPlugByDHCP(t *testing.T) {
	h := newHost(t)
	h.start()
	c := h.hosts[0]
	h.workload(h.hosts[1].GetMac()) // makes the bridge
	bridge, err := netlink.LinkByName("brt" + h.network.GetPortId()[:6])
	must(t, err)
	info := agent.PortInfo{ID: c.GetPortId(), Device: "tap" + c.GetPortId()[:11], MAC: c.GetMac(), MTU: 1500, Status: "DONE"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/ports/{id}", func(w http.ResponseWriter, _ *http.Request) {
		if device, err := netlink.LinkByName(info.Device); err == nil {
			if netlink.LinkSetMaster(device, bridge) != nil || netlink.LinkSetUp(device) != nil {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}
		_ = json.NewEncoder(w).Encode(info)
	})
	socket := filepath.Join(h.data, "agent.sock")
	listener, err := net.Listen("unix", socket)
	must(t, err)
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer server.Close()
	defer func() {
		if done, err := plug.Unplug(c.GetPortId()); err != nil || done.Netns == "" {
			t.Errorf("unplug: %+v %v", done, err)
		}
	}()
	name := "dhcptest-" + c.GetPortId()[:8]
	got, err := plug.Plug(t.Context(), plug.Options{
		Port: c.GetPortId(), Netns: name, Agent: socket, Addressing: plug.DHCP, Timeout: patience,
	})
	if err != nil || got.Lease == nil || got.Took > time.Second {
		t.Fatalf("%+v %v", got, err)
	}
	out, err := exec.Command("ip", "-n", name, "route").CombinedOutput()
	must(t, err)
	for _, want := range []string{"default via 10.77.0.1 dev eth0", "10.99.0.0/16 via 10.77.0.9", "10.77.0.0/24 dev eth0"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if out, err := exec.Command("ip", "-n", name, "link", "show", "eth0").CombinedOutput(); !strings.Contains(string(out), "mtu 1450") {
		t.Errorf("the MTU was not taken: %s %v", out, err)
	}
	if out, err := exec.Command("ip", "netns", "exec", name, "ping", "-c1", "-W1", "10.77.0.2").CombinedOutput(); err != nil {
		t.Errorf("the server cannot be reached: %s", out)
	}
}

func (h *host) log(port string) Log {
	h.t.Helper()
	mux := http.NewServeMux()
	mux.Handle(LogPattern, h.part.LogHandler())
	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/v1/dhcp-log/"+port, nil))
	var log Log
	if err := json.Unmarshal(answer.Body.Bytes(), &log); err != nil || answer.Code != http.StatusOK {
		h.t.Fatalf("the log of %s: %d %s", port, answer.Code, answer.Body)
	}
	return log
}

func TestASubnetWithoutGatewayAndNameserver(t *testing.T) {
	h := newHost(t)
	s := h.network.GetSubnets()[0]
	s.GatewayIp, s.HostRoutes, s.DnsNameservers = "", nil, []string{"0.0.0.0"}
	h.start()
	got := h.workload(h.hosts[0].GetMac()).ask()
	if got.Routes != nil || got.DNS != nil || got.Ack.Options.Has(dhcpv4.OptionRouter) {
		t.Errorf("dnsmasq offers itself: routes %v, nameservers %v", got.Routes, got.DNS)
	}
}

// Each case breaks one thing by hand. It must be right again within two seconds, counted, and clients must be served.
func TestDriftHeals(t *testing.T) {
	for _, c := range []struct {
		name, kind string
		keepsPID   bool
		breakIt    func(h *host) error
	}{
		{"namespace deleted", "namespace", true, func(h *host) error {
			return exec.Command("ip", "netns", "del", h.namespace()).Run()
		}},
		{"device deleted on the host", "link", false, func(h *host) error {
			return exec.Command("ip", "link", "del", h.hostDevice()).Run()
		}},
		{"device put down inside", "link", true, func(h *host) error {
			return exec.Command("ip", "-n", h.namespace(), "link", "set", h.insideDevice(), "down").Run()
		}},
		{"address removed", "address", true, func(h *host) error {
			return exec.Command("ip", "-n", h.namespace(), "addr", "del", "10.77.0.2/24", "dev", h.insideDevice()).Run()
		}},
		{"address added", "address", true, func(h *host) error {
			return exec.Command("ip", "-n", h.namespace(), "addr", "add", "10.77.0.66/24", "dev", h.insideDevice()).Run()
		}},
		{"dnsmasq killed", "process", false, func(h *host) error { return syscall.Kill(h.pid(), syscall.SIGKILL) }},
		{"hosts file removed", "file", true, func(h *host) error {
			return os.Remove(filepath.Join(h.dir(), dnsmasq.HostsFile))
		}},
		{"hosts file changed", "file", true, func(h *host) error {
			return os.WriteFile(filepath.Join(h.dir(), dnsmasq.HostsFile), []byte("nonsense\n"), 0o644)
		}},
		{"all files removed", "file", false, func(h *host) error { return os.RemoveAll(h.dir()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.start()
			before := h.pid()
			if before == 0 || h.drift(c.kind) != 0 {
				t.Fatalf("pid %d, drift %v at the start", before, h.drift(c.kind))
			}
			begun := time.Now()
			must(t, c.breakIt(h))
			h.eventually("healed and counted", func() bool { return h.drift(c.kind) > 0 && h.sound() == "" })
			t.Logf("healed after %v", time.Since(begun))
			if now := h.pid(); c.keepsPID && now != before {
				t.Errorf("dnsmasq %d became %d: clients were without it for nothing", before, now)
			}
			if l := h.workload(h.hosts[0].GetMac()).ask(); l.Address.String() != "10.77.0.3/24" {
				t.Errorf("lease %v", l.Address)
			}
		})
	}
}

// sound says what is wrong with the server on the host, or "".
func (h *host) sound() string {
	ns, err := netns.Open(h.namespace())
	if err != nil {
		return err.Error()
	}
	defer ns.Close()
	if h.pid() == 0 {
		return "dnsmasq does not run"
	}
	if _, err := netlink.LinkByName(h.hostDevice()); err != nil {
		return err.Error()
	}
	for _, f := range []string{"conf", "hosts", "opts", "names", "leases", "log", "state"} {
		if _, err := os.Stat(filepath.Join(h.dir(), f)); err != nil {
			return err.Error()
		}
	}
	out, err := exec.Command("ip", "-n", h.namespace(), "-4", "-o", "addr", "show", "dev", h.insideDevice(), "up").Output()
	if err != nil || strings.Count(string(out), "inet ") != 1 || !strings.Contains(string(out), "10.77.0.2/24") {
		return fmt.Sprintf("addresses %q %v", out, err)
	}
	return ""
}

func TestARestartedAgentAdoptsAndTouchesNothing(t *testing.T) {
	h := newHost(t)
	h.start()
	pid, inode := h.pid(), inode(t, h.namespace())
	files := stamps(t, h.dir())
	h.stop()
	if h.pid() != pid {
		t.Fatal("dnsmasq ended with the agent")
	}
	h.start()
	if now := h.pid(); now != pid {
		t.Errorf("dnsmasq %d became %d", pid, now)
	}
	if diff := cmp.Diff(files, stamps(t, h.dir())); diff != "" {
		t.Errorf("files were written for nothing:\n%s", diff)
	}
	// What it has adopted, it watches.
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	h.eventually("a new dnsmasq", func() bool { now := h.pid(); return now != 0 && now != pid })

	// An agent that finds only the process gives the namespace its name back.
	pid = h.pid()
	h.stop()
	must(t, netns.Delete(h.namespace()))
	h.start()
	if h.pid() != pid {
		t.Error("dnsmasq was restarted although only the name of its namespace was gone")
	}
	if got := inodeOf(h.namespace()); got != inode {
		t.Errorf("namespace %d, want the one of dnsmasq, %d", got, inode)
	}

	// Documents that came while no agent ran, and a process which nobody remembers.
	h.stop()
	must(t, os.Remove(filepath.Join(h.dir(), dnsmasq.StateFile)))
	h.hosts = append(h.hosts, h.client(5, "late"))
	h.start()
	if found := dnsmasq.Find(h.dir()); len(found) != 1 || found[0].PID == pid {
		t.Errorf("running: %+v, want one new dnsmasq", found)
	}
	if l := h.workload(h.hosts[2].GetMac()).ask(); l.Name != "late" {
		t.Errorf("lease %+v", l)
	}
}

func inode(t *testing.T, name string) uint64 {
	t.Helper()
	if ino := inodeOf(name); ino != 0 {
		return ino
	}
	t.Fatalf("no namespace %s", name)
	return 0
}

func inodeOf(name string) uint64 {
	ns, err := netns.Open(name)
	if err != nil {
		return 0
	}
	defer ns.Close()
	ino, _ := ns.Inode()
	return ino
}

func stamps(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	out := map[string]string{}
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		if e.Name() != dnsmasq.LogFile {
			out[e.Name()] = info.ModTime().String()
		}
	}
	return out
}

func TestChangesOfHostsNeedNoRestart(t *testing.T) {
	h := newHost(t)
	h.start()
	pid := h.pid()
	if info, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil || info.Sys().(*syscall.Stat_t).Uid == 0 {
		t.Errorf("dnsmasq has not given up root: %v", err)
	}
	h.hosts = append(h.hosts, h.client(7, "db"))
	h.apply(h.documents()...)
	if l := h.workload(h.hosts[2].GetMac()).ask(); l.Address.String() != "10.77.0.7/24" || l.Name != "db" {
		t.Errorf("lease %+v", l)
	}
	if h.pid() != pid {
		t.Error("a new host restarted dnsmasq")
	}

	// The address gets another owner while its lease is running.
	next := h.client(7, "db2")
	next.Mac = "fa:16:3e:bb:00:77"
	h.hosts[2] = next
	h.apply(h.documents()...)
	if l := h.workload(next.GetMac()).ask(); l.Address.String() != "10.77.0.7/24" || l.Name != "db2" {
		t.Errorf("the new owner of the address: %+v", l)
	}

	h.network = proto.CloneOf(h.network)
	h.network.Mtu = 1400
	h.apply(h.documents()...)
	if l := h.workload(h.hosts[1].GetMac()).ask(); l.MTU != 1400 {
		t.Errorf("MTU %d after the change", l.MTU)
	}
	if h.drift("file")+h.drift("process")+h.drift("link")+h.drift("address")+h.drift("namespace") != 0 {
		t.Error("changes of documents were counted as drift")
	}
}

// dnsmasq 2.90 crashes when it reads a hosts file again from which a line with a set:TAG is gone, if that host has a lease.
func TestHostsThatComeAndGoDoNotEndTheServer(t *testing.T) {
	h := newHost(t)
	h.hosts = nil
	h.start()
	pid := h.pid()
	for n := 10; n < 22; n++ {
		c := h.client(n, "")
		h.hosts = []*sb.DhcpHost{c}
		h.apply(h.documents()...)
		h.workload(c.GetMac()).ask()
		h.hosts = nil
		h.apply(h.documents()...)
	}
	if h.pid() != pid || h.drift("process") != 0 {
		t.Errorf("dnsmasq ended while hosts came and went: process %d became %d, %v repaired", pid, h.pid(), h.drift("process"))
	}
}

func TestAServerThatWasMovedRefusesNobody(t *testing.T) {
	h := newHost(t)
	h.start()
	w := h.workload(h.hosts[0].GetMac())
	first := w.ask()
	h.apply()
	h.eventually("removed", func() bool { return inodeOf(h.namespace()) == 0 })

	// The same network on another host: no lease is known, and the server has another address.
	moved := newHost(t)
	moved.network = proto.CloneOf(h.network)
	moved.network.PortId, moved.network.Mac, moved.network.Subnets[0].ServerIp = uuid.NewString(), "fa:16:3e:aa:00:05", "10.77.0.5"
	moved.hosts = h.hosts
	moved.start()
	again := moved.workload(h.hosts[0].GetMac())
	ack := again.reboot(first.Address.Addr())
	if ack.MessageType() != dhcpv4.MessageTypeAck || ack.YourIPAddr.String() != "10.77.0.3" {
		t.Errorf("a client that asks for its address is answered %v", ack)
	}
}

func TestOnePoisonedHostHarmsNobody(t *testing.T) {
	h := newHost(t)
	h.network.Subnets[0].Cidr = "10.77.0.0/16"
	h.hosts = nil
	for n := 10; n < 510; n++ {
		h.hosts = append(h.hosts, h.client(n, ""))
	}
	poison := map[string]func(*sb.DhcpHost){
		"mac":                         func(d *sb.DhcpHost) { d.Mac = "fa:16:3e\n" },
		"CVE-2021-40085":              func(d *sb.DhcpHost) { d.Hostname = "x\ndhcp-option=6,6.6.6.6" },
		"address outside":             func(d *sb.DhcpHost) { d.Addresses[0].Ip = "10.78.0.1" },
		"address with a newline":      func(d *sb.DhcpHost) { d.Addresses[0].Ip = "10.77.0.9\n" },
		"address of the server":       func(d *sb.DhcpHost) { d.Addresses[0].Ip = "10.77.0.2" },
		"address of another":          func(d *sb.DhcpHost) { d.PortId, d.Addresses[0].Ip = "zzz", "10.77.0.10" },
		"mac of another":              func(d *sb.DhcpHost) { d.PortId, d.Mac = "zzz2", h.hosts[0].GetMac() },
		"port id that is not an id":   func(d *sb.DhcpHost) { d.PortId = "a,b\n" },
		"subnet that nobody has":      func(d *sb.DhcpHost) { d.Addresses[0].SubnetId = "s9" },
		"network that is not served":  func(d *sb.DhcpHost) { d.NetworkId = uuid.NewString() },
		"network that is not a UUID":  func(d *sb.DhcpHost) { d.NetworkId = "../../etc" },
		"multicast mac":               func(d *sb.DhcpHost) { d.Mac = "01:00:5e:00:00:01" },
		"a hostname of another world": func(d *sb.DhcpHost) { d.Hostname = "wéb" },
	}
	var bad []*sb.DhcpHost
	for _, spoil := range poison {
		d := h.client(600+len(bad), "")
		spoil(d)
		bad = append(bad, d)
	}
	good := slices.Clone(h.hosts)
	h.hosts = append(h.hosts, bad...)
	h.start()
	for _, d := range good {
		if s := h.status("dhcp-host/" + d.GetPortId()); s.State != sb.ObjectStatus_STATE_DONE {
			t.Fatalf("a sound host: %+v", s)
		}
	}
	for _, d := range bad {
		if s := h.status("dhcp-host/" + d.GetPortId()); s.State != sb.ObjectStatus_STATE_ERROR || s.Reason == "" {
			t.Errorf("%+v: %+v", d, s)
		}
	}
	if s := h.status(h.networkKey()); s.State != sb.ObjectStatus_STATE_DONE {
		t.Errorf("the network: %+v", s)
	}
	l := h.workload(good[499].GetMac()).ask()
	if want := good[499].GetAddresses()[0].GetIp(); l.Address.Addr().String() != want {
		t.Errorf("lease %v, want %s", l.Address, want)
	}
	if slices.Contains(l.DNS, netip.MustParseAddr("6.6.6.6")) {
		t.Error("CVE-2021-40085: the injected option was served")
	}
}

func TestPoisonInTheNetworkDocument(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(*sb.DhcpNetwork)
		served bool
	}{
		"domain with a newline": {func(n *sb.DhcpNetwork) { n.DnsDomain = "a\nserver=6.6.6.6" }, true},
		"a second subnet that is broken": {func(n *sb.DhcpNetwork) {
			n.Subnets = append(n.Subnets, &sb.DhcpSubnet{SubnetId: "s2\n", Cidr: "10.78.0.0/24", EnableDhcp: true})
		}, true},
		"nameserver with a newline": {func(n *sb.DhcpNetwork) { n.Subnets[0].DnsNameservers = []string{"9.9.9.9\nx"} }, false},
		"mac":                       {func(n *sb.DhcpNetwork) { n.Mac = "zz" }, false},
		"port id":                   {func(n *sb.DhcpNetwork) { n.PortId = "../../../../../../../../../../../../etc" }, false},
	} {
		h := newHost(t)
		c.spoil(h.network)
		conversion := convert(group(agentView(h.documents()...))[h.network.GetNetworkId()], dnsmasq.Config{Dir: "/x", User: "nobody"})
		if conversion.reasons[h.networkKey()] == "" {
			t.Errorf("%s: no reason", name)
		}
		if got := conversion.server != nil; got != c.served {
			t.Errorf("%s: served %v", name, got)
		}
		if conversion.server != nil && len(conversion.server.config.Hosts) != 2 {
			t.Errorf("%s: the hosts suffer: %v", name, conversion.reasons)
		}
	}
}

func TestRemovalLeavesNothing(t *testing.T) {
	h := newHost(t)
	h.start()
	pid := h.pid()
	h.apply()
	h.eventually("all gone", func() bool {
		_, dirErr := os.Stat(h.dir())
		_, linkErr := netlink.LinkByName(h.hostDevice())
		return inodeOf(h.namespace()) == 0 && os.IsNotExist(dirErr) && linkErr != nil && syscall.Kill(pid, 0) != nil
	})
	// What an earlier agent made is removed by the next one, too.
	h.apply(h.documents()...)
	h.eventually("served again", func() bool { return h.sound() == "" })
	h.stop()
	documents := h.network
	h.network = &sb.DhcpNetwork{NetworkId: uuid.NewString(), PortId: uuid.NewString()}
	h.start()
	h.network = documents
	h.eventually("the old network is gone", func() bool { return inodeOf(h.namespace()) == 0 })
}

func TestAForeignNamespaceIsNotTouched(t *testing.T) {
	h := newHost(t)
	must(t, exec.Command("ip", "netns", "add", h.namespace()).Run())
	must(t, exec.Command("ip", "-n", h.namespace(), "link", "add", "foreign", "type", "bridge").Run())
	h.start()
	if s := h.status(h.networkKey()); s.State != sb.ObjectStatus_STATE_ERROR || !strings.Contains(s.Reason, "not ours") {
		t.Errorf("status %+v", s)
	}
	if out, err := exec.Command("ip", "-n", h.namespace(), "-o", "link").Output(); err != nil || strings.Count(string(out), "\n") != 2 {
		t.Errorf("in the namespace: %s %v", out, err)
	}
}

func TestMissingDnsmasqIsSaid(t *testing.T) {
	h := newHost(t)
	h.start()
	h.stop()
	part, err := New(Options{DataDir: h.data, Logger: discard(), Dnsmasq: "no-such-dnsmasq"})
	must(t, err)
	defer part.Close()
	must(t, syscall.Kill(h.pid(), syscall.SIGKILL))
	h.eventually("dead", func() bool { return h.pid() == 0 })
	statuses, err := part.Reconcile(t.Context(), agentView(h.documents()...))
	must(t, err)
	// It is said once, and not on each of what may be thousands of hosts, with whose documents nothing is wrong.
	for _, s := range statuses {
		switch {
		case s.Key == h.networkKey() && (s.State != sb.ObjectStatus_STATE_ERROR || s.Reason != dnsmasq.ErrNotInstalled.Error()),
			s.Key != h.networkKey() && s.State != sb.ObjectStatus_STATE_DONE:
			t.Errorf("%+v", s)
		}
	}
}

// IPv6 is served by DHCPv6 (stateful) beside IPv4; a subnet for which dnsmasq cannot do it says why, and harms no other.
func TestIPv6BesideIPv4(t *testing.T) {
	h := newHost(t)
	h.network.Subnets = append(h.network.Subnets,
		&sb.DhcpSubnet{SubnetId: "s6", Cidr: "2001:db8:77::/64", ServerIp: "2001:db8:77::2", EnableDhcp: true},
		&sb.DhcpSubnet{SubnetId: "wide", Cidr: "2001:db8:8000::/48", ServerIp: "2001:db8:8000::2", EnableDhcp: true})
	h.hosts[0].Addresses = append(h.hosts[0].Addresses, &sb.DhcpAddress{SubnetId: "s6", Ip: "2001:db8:77::3"})
	h.start()
	if s := h.status(h.networkKey()); s.State != sb.ObjectStatus_STATE_ERROR || !strings.Contains(s.Reason, `"wide"`) {
		t.Errorf("the network: %+v", s)
	}
	if s := h.status("dhcp-host/" + h.hosts[0].GetPortId()); s.State != sb.ObjectStatus_STATE_DONE {
		t.Errorf("the host: %+v", s)
	}
	if l := h.workload(h.hosts[0].GetMac()).ask(); l.Address.String() != "10.77.0.3/24" {
		t.Errorf("lease %v", l.Address)
	}
	sockets, err := exec.Command("ip", "netns", "exec", h.namespace(), "cat", "/proc/net/udp6").Output()
	if err != nil || !strings.Contains(string(sockets), ":0223 ") { // 547, the port of DHCPv6 servers
		t.Errorf("nobody listens for DHCPv6: %s %v", sockets, err)
	}
	out, err := exec.Command("ip", "-n", h.namespace(), "-6", "addr", "show", "dev", h.insideDevice()).Output()
	if err != nil || !strings.Contains(string(out), "2001:db8:77::2/64") || strings.Contains(string(out), "8000::2") {
		t.Errorf("addresses: %s %v", out, err)
	}
}
