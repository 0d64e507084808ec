package tour

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/lab"
	"github.com/neutrino-net/neutrino/internal/lab/cloud"
)

// subnetRange is the block of the tour's subnet. Every tour uses the same one: networks do not see each other.
const subnetRange = "10.10.0.0/24"

// steps are the stops of the tour, in order.
func steps() []step {
	return append([]step{
		{"hosts", "hosts out of namespaces, the server on one of them", showHosts},
		{"agents", "an agent on each host has joined with a one-time token", showAgents},
		{"network", "a private layer-2 network of the project demo", createNetwork},
		{"subnet", "the addresses on it, given out by DHCP", createSubnet},
		{"ports", "an attachment point for each workload, bound to a host", createPorts},
		{"plug", "a namespace on each host plays the virtual machine, and asks for its address", plugWorkloads},
		{"DHCP", "the four steps of a lease, as the DHCP server has seen them", showLease},
		{"active", "a port is ACTIVE when its host's agent has wired it, not before", awaitActive},
		{"ping", "from host to host, through the overlay", pingAcross},
		{"firewall", "security groups: what no rule allows does not arrive", firewall},
		{"wires", "what the agent of compute1 has told the kernel: which MAC is where, and who gets broadcasts", showWires},
		{"healing", "somebody deletes the tunnel device of compute1 by hand", heal},
	}, routingSteps()...)
}

func showHosts(ctx context.Context, t *tour) error {
	t.typed("neutrino lab status%s", t.nameFlag())
	status, err := t.lab.Status(ctx)
	if err != nil {
		return err
	}
	rows := []table.Row{{"HOST", "ADDRESS", "RUNS", "PID"}}
	for _, h := range status.Hosts {
		runs := "agent: " + strings.Join(h.Roles, ", ")
		switch {
		case h.Outside:
			rows = append(rows, table.Row{h.Name, h.Address, "nothing: it plays the internet"})
			continue
		case h.Server:
			runs = "server: API " + t.record.API + ", identity " + t.record.Identity
		}
		if !h.Running {
			return &failure{expected: fmt.Sprintf("the %s to run", h.Process.Name), seen: "it has ended", host: h.Name}
		}
		rows = append(rows, table.Row{h.Name, h.Address, runs, h.Process.PID})
	}
	t.say("%s", render(rows))
	clouds := t.record.CloudsFile()
	if t.admin, err = cloud.Login(ctx, clouds, "admin"); err != nil {
		return err
	}
	t.demo, err = cloud.Login(ctx, clouds, "demo")
	return err
}

func showAgents(ctx context.Context, t *tour) error {
	t.typed("openstack --os-cloud admin network agent list")
	var agents []cloud.Agent
	for _, spec := range lab.Topology() {
		expected := fmt.Sprintf("%d agents of %s to be alive", len(spec.Roles), spec.Name)
		err := eventually(ctx, spec.Name, expected, func(ctx context.Context) (err error) {
			if agents, err = t.admin.Agents(ctx); err != nil {
				return err
			}
			alive := 0
			for _, a := range agents {
				if a.Host == spec.Name && a.Alive {
					alive++
				}
			}
			if alive < len(spec.Roles) {
				return fmt.Errorf("%d alive", alive)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	rows := []table.Row{{"TYPE", "HOST", "ALIVE"}}
	for _, a := range agents {
		rows = append(rows, table.Row{a.Type, a.Host, map[bool]string{true: ":-)", false: "XXX"}[a.Alive]})
	}
	t.say("%s", render(rows))
	return nil
}

// createNetwork makes the first of blue, blue2, … that does not exist yet: a second tour leaves the first one's alone.
func createNetwork(ctx context.Context, t *tour) error {
	existing, err := t.demo.Networks(ctx, nil)
	if err != nil {
		return err
	}
	name, turn := "blue", 1
	for slices.ContainsFunc(existing, func(n cloud.Network) bool { return n.Name == name }) {
		turn++
		t.suffix = strconv.Itoa(turn)
		name = "blue" + t.suffix
	}
	for i, w := range t.workloads {
		w.name = fmt.Sprintf("vm%d", len(t.workloads)*(turn-1)+i+1)
	}
	t.typed("openstack network create %s", name)
	if t.network, err = t.demo.CreateNetwork(ctx, cloud.Network{Name: name}); err != nil {
		return err
	}
	// Which segment carries it is the administrator's to see.
	all, err := t.admin.Networks(ctx, map[string]string{"id": t.network.ID})
	if err != nil {
		return err
	}
	if len(all) != 1 {
		return &failure{expected: "the administrator to see the network", seen: fmt.Sprintf("%d networks", len(all))}
	}
	t.network = all[0]
	t.say("id %s, %s segment %d, MTU %d", t.network.ID, t.network.NetworkType, t.network.SegmentationID, t.network.MTU)
	return nil
}

func createSubnet(ctx context.Context, t *tour) error {
	t.typed("openstack subnet create --network %s --subnet-range %s --dns-nameserver 192.0.2.53 %[1]s-subnet", t.network.Name, subnetRange)
	s, err := t.demo.CreateSubnet(ctx, cloud.Subnet{
		NetworkID: t.network.ID, Name: t.network.Name + "-subnet", IPVersion: 4, CIDR: subnetRange,
		DNSNameservers: []string{"192.0.2.53"},
	})
	if err != nil {
		return err
	}
	t.routing.subnets = append(t.routing.subnets, s.ID)
	t.say("id %s, %s, gateway %s", s.ID, s.CIDR, s.GatewayIP)
	return nil
}

func createPorts(ctx context.Context, t *tour) error {
	rows := []table.Row{{"NAME", "MAC", "ADDRESS", "HOST", "ID"}}
	for _, w := range t.workloads {
		// To say on which host a port is to be bound is the administrator's (or Nova's) right.
		t.typed("openstack --os-cloud admin port create --project demo --network %s --host %s %s", t.network.Name, w.host, w.name)
		var err error
		w.port, err = t.admin.CreatePort(ctx, cloud.Port{
			NetworkID: t.network.ID, ProjectID: t.demo.ProjectID(), Name: w.name, Host: w.host,
		})
		if err != nil {
			return err
		}
		if w.port.VIFType == "binding_failed" || w.port.Address() == "" {
			return &failure{
				expected: "a port that is bound and has an address",
				seen:     fmt.Sprintf("vif_type %s, addresses %v", w.port.VIFType, w.port.FixedIPs), host: w.host,
			}
		}
		rows = append(rows, table.Row{w.name, w.port.MAC, w.port.Address(), w.host, w.port.ID})
	}
	t.say("%s", render(rows))
	return nil
}

// plugWorkloads gives each port its device, on both hosts at the same time.
func plugWorkloads(ctx context.Context, t *tour) error {
	var group errgroup.Group
	took := make([]time.Duration, len(t.workloads))
	for i, w := range t.workloads {
		t.typed("neutrino lab exec%s %s -- neutrino plug %s --netns %s --dhcp", t.nameFlag(), w.host, w.port.ID, w.name)
		group.Go(func() error {
			began := time.Now()
			err := t.plug(ctx, w)
			took[i] = time.Since(began)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, w := range t.workloads {
		t.say("%s on %s has %s from DHCP, %s after the command", w.name, w.host, w.port.Address(), short(took[i]))
	}
	return nil
}

// plug runs the command and looks into the workload for the address of its port.
func (t *tour) plug(ctx context.Context, w *workload) error {
	host, err := t.host(w)
	if err != nil {
		return err
	}
	if _, err := host.Run(ctx, t.lab.Binary(), "plug", w.port.ID, "--netns", w.name, "--dhcp"); err != nil {
		return &failure{expected: w.name + " to be plugged and to get its address", seen: err.Error(), host: w.host}
	}
	expected := fmt.Sprintf("the address %s in %s", w.port.Address(), w.name)
	return eventually(ctx, w.host, expected, func(context.Context) error {
		has, err := addressesIn(host, w.name)
		if err == nil && !slices.Contains(has, w.port.Address()) {
			err = fmt.Errorf("addresses %v", has)
		}
		return err
	})
}

// addressesIn lists the IPv4 addresses in a named network namespace of a host, lo left out.
func addressesIn(h *lab.Host, namespace string) ([]string, error) {
	var found []string
	err := h.DoIn(namespace, func() error {
		all, err := netlink.AddrList(nil, unix.AF_INET)
		for _, a := range all {
			if !a.IP.IsLoopback() {
				found = append(found, a.IP.String())
			}
		}
		return err
	})
	return found, err
}

func showLease(ctx context.Context, t *tour) error {
	w := t.workloads[0]
	server, err := t.lab.Host("network")
	if err != nil {
		return err
	}
	t.typed("neutrino lab exec%s %s -- neutrino dhcp-log %s", t.nameFlag(), server.Name, w.port.ID)
	var log string
	err = eventually(ctx, server.Name, "DISCOVER, OFFER, REQUEST and ACK in the log", func(ctx context.Context) (err error) {
		if log, err = server.Run(ctx, t.lab.Binary(), "dhcp-log", w.port.ID); err != nil {
			return err
		}
		for _, word := range []string{"DISCOVER", "OFFER", "REQUEST", "ACK"} {
			if !strings.Contains(log, word) {
				return fmt.Errorf("no %s in:\n%s", word, log)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.say("%s", log)
	return nil
}

func awaitActive(ctx context.Context, t *tour) error {
	for _, w := range t.workloads {
		err := eventually(ctx, w.host, "the port "+w.name+" to be ACTIVE", func(ctx context.Context) (err error) {
			if w.port, err = t.demo.Port(ctx, w.port.ID); err == nil && w.port.Status != "ACTIVE" {
				err = errors.New(w.port.Status)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	t.typed("openstack port list --network %s", t.network.Name)
	ports, err := t.admin.Ports(ctx, map[string]string{"network_id": t.network.ID})
	if err != nil {
		return err
	}
	rows := []table.Row{{"NAME", "ADDRESS", "HOST", "STATUS", "OWNER"}}
	for _, p := range ports {
		rows = append(rows, table.Row{p.Name, p.Address(), p.Host, p.Status, p.DeviceOwner})
	}
	t.say("%s", render(rows))
	return nil
}

// pinger makes the echo from the first workload to the second.
func (t *tour) pinger() (*pinger, error) {
	from, to := t.workloads[0], t.workloads[1]
	host, err := t.host(from)
	if err != nil {
		return nil, err
	}
	source, err := netip.ParseAddr(from.port.Address())
	if err != nil {
		return nil, err
	}
	target, err := netip.ParseAddr(to.port.Address())
	if err != nil {
		return nil, err
	}
	return newPinger(host, from.name, source, target)
}

func pingAcross(ctx context.Context, t *tour) error {
	const count, interval = 50, 10 * time.Millisecond
	from, to := t.workloads[0], t.workloads[1]
	t.typed("neutrino lab exec%s %s -- ip netns exec %s ping -c %d -i %.2f %s", t.nameFlag(), from.host, from.name,
		count, interval.Seconds(), to.port.Address())
	p, err := t.pinger()
	if err != nil {
		return err
	}
	defer p.close()
	r, err := p.series(ctx, 0, count, interval)
	if err != nil {
		return err
	}
	seen := fmt.Sprintf("%d sent, %d received, %.0f %% loss, fastest %.3f ms, median %.3f ms", r.sent, r.received, r.loss(),
		r.minRTT.Seconds()*1000, r.medianRT.Seconds()*1000)
	if r.received < r.sent {
		return &failure{expected: "an answer to each request", seen: seen, host: from.host}
	}
	t.say("%s (%s on %s) to %s (%s on %s): %s", from.port.Address(), from.name, from.host, to.port.Address(), to.name, to.host, seen)
	return nil
}

// tunnel returns the VXLAN device of the tour's network on the first workload's host, with a handle to that host.
func (t *tour) tunnel() (*netlink.Vxlan, *netlink.Handle, func(), error) {
	host, err := t.host(t.workloads[0])
	if err != nil {
		return nil, nil, nil, err
	}
	handle, done, err := host.Netlink()
	if err != nil {
		return nil, nil, nil, err
	}
	links, err := handle.LinkList()
	for _, link := range links {
		if v, ok := link.(*netlink.Vxlan); ok && v.VxlanId == t.network.SegmentationID {
			return v, handle, done, nil
		}
	}
	done()
	if err == nil {
		err = &failure{
			expected: fmt.Sprintf("a VXLAN device with VNI %d", t.network.SegmentationID), seen: "none", host: host.Name,
		}
	}
	return nil, nil, nil, err
}

func showWires(_ context.Context, t *tour) error {
	w := t.workloads[0]
	device, handle, done, err := t.tunnel()
	if err != nil {
		return err
	}
	defer done()
	t.typed("neutrino lab exec%s %s -- bridge fdb show dev %s", t.nameFlag(), w.host, device.Name)
	entries, err := handle.NeighList(device.Index, unix.AF_BRIDGE)
	if err != nil {
		return fmt.Errorf("reading the forwarding entries of %s: %w", device.Name, err)
	}
	rows := []table.Row{{"FRAMES TO", "GO TO HOST", "WHICH IS"}}
	for _, e := range entries {
		if e.IP == nil {
			continue // a copy in the bridge's own table
		}
		rows = append(rows, table.Row{t.describe(e.HardwareAddr.String()), e.IP, hostAt(e.IP.String())})
	}
	t.say("VTEP %s, VNI %d, UDP port %d", device.SrcAddr, device.VxlanId, device.Port)
	t.say("%s", render(rows))
	return nil
}

// describe names a MAC by the workload that has it.
func (t *tour) describe(mac string) string {
	if mac == "00:00:00:00:00:00" {
		return mac + " (broadcast, unknown)"
	}
	for _, w := range t.workloads {
		if w.port.MAC == mac {
			return mac + " (" + w.name + ")"
		}
	}
	return mac
}

// hostAt names the host with an underlay address.
func hostAt(address string) string {
	for _, h := range lab.Topology() {
		if h.Address.String() == address {
			return h.Name
		}
	}
	return "?"
}

func heal(ctx context.Context, t *tour) error {
	w := t.workloads[0]
	p, err := t.pinger()
	if err != nil {
		return err
	}
	defer p.close()
	device, handle, done, err := t.tunnel()
	if err != nil {
		return err
	}
	defer done()
	t.typed("neutrino lab exec%s %s -- ip link delete %s", t.nameFlag(), w.host, device.Name)
	// The kernel tells the agent before it has answered us: the clock starts before the request.
	began := time.Now()
	if err := handle.LinkDel(device); err != nil {
		return fmt.Errorf("deleting %s: %w", device.Name, err)
	}
	const firstSeq, interval = 1000, 2 * time.Millisecond // apart from the sequence numbers of the ping before
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answered, err := p.firstReply(ctx, firstSeq, interval)
	if err != nil {
		return &failure{
			expected: fmt.Sprintf("%s to be made again, and the ping to be answered within %s", device.Name, patience),
			seen:     err.Error(), host: w.host,
		}
	}
	anew, _, doneAnew, err := t.tunnel()
	if err != nil {
		return err
	}
	defer doneAnew()
	if anew.Index == device.Index {
		return &failure{expected: "a new " + device.Name, seen: "the old one", host: w.host}
	}
	t.say("the ping is answered again %s after the deletion began: the agent has seen the drift and made %s anew",
		short(answered.Sub(began)), device.Name)
	return nil
}

// render makes a plain table of rows, the first of which is the heading.
func render(rows []table.Row) string {
	t := table.NewWriter()
	t.SetStyle(plainStyle())
	t.AppendRows(rows)
	lines := strings.Split(t.Render(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n")
}
