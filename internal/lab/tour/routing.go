package tour

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/neutrino-net/neutrino/internal/lab"
	"github.com/neutrino-net/neutrino/internal/lab/cloud"
)

// The blocks of the second network and of the external one, and the part of that from which addresses are given.
const (
	secondRange   = "10.20.0.0/24"
	externalRange = "203.0.113.0/24"
	firstExternal = "203.0.113.100"
	lastExternal  = "203.0.113.199"
	externalName  = "public"
	forwardedPort = 8080
)

// routing is what the steps about routers share.
type routing struct {
	subnets []string // of the project's networks, in order
	second  cloud.Network
	// far is a workload on the second network.
	far      *workload
	router   cloud.Router
	host     string // that serves the router
	external cloud.Network
}

func createSecondNetwork(ctx context.Context, t *tour) error {
	name := "green" + t.suffix
	t.typed("openstack network create %s", name)
	var err error
	if t.routing.second, err = t.demo.CreateNetwork(ctx, cloud.Network{Name: name}); err != nil {
		return err
	}
	t.typed("openstack subnet create --network %s --subnet-range %s %[1]s-subnet", name, secondRange)
	s, err := t.demo.CreateSubnet(ctx, cloud.Subnet{
		NetworkID: t.routing.second.ID, Name: name + "-subnet", IPVersion: 4, CIDR: secondRange,
	})
	if err != nil {
		return err
	}
	t.routing.subnets = append(t.routing.subnets, s.ID)
	w := &workload{name: "web" + t.suffix, host: "compute2"}
	t.typed("openstack --os-cloud admin port create --project demo --network %s --host %s %s", name, w.host, w.name)
	w.port, err = t.admin.CreatePort(ctx, cloud.Port{
		NetworkID: t.routing.second.ID, ProjectID: t.demo.ProjectID(), Name: w.name, Host: w.host,
	})
	if err != nil {
		return err
	}
	t.typed("neutrino lab exec%s %s -- neutrino plug %s --netns %s --dhcp", t.nameFlag(), w.host, w.port.ID, w.name)
	if err := t.plug(ctx, w); err != nil {
		return err
	}
	t.say("%s on %s has %s", w.name, w.host, w.port.Address())
	t.routing.far = w
	return nil
}

func createRouter(ctx context.Context, t *tour) error {
	name := "router" + t.suffix
	t.typed("openstack router create %s", name)
	var err error
	if t.routing.router, err = t.demo.CreateRouter(ctx, cloud.Router{Name: name}); err != nil {
		return err
	}
	for i, n := range []cloud.Network{t.network, t.routing.second} {
		t.typed("openstack router add subnet %s %s-subnet", name, n.Name)
		if err := t.demo.AttachRouter(ctx, t.routing.router.ID, t.routing.subnets[i]); err != nil {
			return err
		}
	}
	from, to := t.workloads[0], t.routing.far
	t.typed("%s", inside(from).command(t, "ping "+to.port.Address()))
	took, err := t.firstPing(ctx, from, to)
	if err != nil {
		return err
	}
	t.say("%s (%s) answers %s (%s) %s after the commands", to.name, to.port.Address(), from.name, from.port.Address(), took)
	if err := t.showLegs(ctx); err != nil {
		return err
	}
	t.say("the networks meet in the namespace qrouter-%s of the host %s", t.routing.router.ID, t.routing.host)
	return nil
}

// firstPing pings until there is an answer, and says how long that took.
func (t *tour) firstPing(ctx context.Context, from, to *workload) (took string, err error) {
	host, err := t.host(from)
	if err != nil {
		return "", err
	}
	var ends []netip.Addr
	for _, w := range []*workload{from, to} {
		ip, err := netip.ParseAddr(w.port.Address())
		if err != nil {
			return "", err
		}
		ends = append(ends, ip)
	}
	p, err := newPinger(host, from.name, ends[0], ends[1])
	if err != nil {
		return "", err
	}
	defer p.close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	const firstSeq, pingInterval = 2000, 5 * time.Millisecond // apart from the pings before
	began := time.Now()
	answered, err := p.firstReply(ctx, firstSeq, pingInterval)
	if err != nil {
		return "", &failure{
			expected: fmt.Sprintf("%s to answer %s through the router within %s", to.name, from.name, patience),
			seen:     err.Error(), host: "network",
		}
	}
	return short(answered.Sub(began)), nil
}

// showLegs shows the ports of the router.
func (t *tour) showLegs(ctx context.Context) error {
	t.typed("openstack --os-cloud admin port list --router %s", t.routing.router.Name)
	var ports []cloud.Port
	err := eventually(ctx, "network", "the ports of the router to be ACTIVE", func(ctx context.Context) (err error) {
		if ports, err = t.admin.Ports(ctx, map[string]string{"device_id": t.routing.router.ID}); err != nil {
			return err
		}
		for _, p := range ports {
			if p.Status != "ACTIVE" {
				return fmt.Errorf("%s is %s", p.ID, p.Status)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	rows := []table.Row{{"OWNER", "ADDRESS", "HOST", "STATUS"}}
	for _, p := range ports {
		t.routing.host = p.Host
		rows = append(rows, table.Row{p.DeviceOwner, p.Address(), p.Host, p.Status})
	}
	t.say("%s", render(rows))
	return nil
}

// createExternal makes the external network, of which the lab needs one only, and gives the router its gateway.
func createExternal(ctx context.Context, t *tour) error {
	gateway := lab.Internet().Address.String()
	all, err := t.admin.Networks(ctx, map[string]string{"name": externalName})
	if err != nil {
		return err
	}
	if len(all) > 0 {
		t.routing.external = all[0]
		t.say("the external network %s is there already", externalName)
	} else {
		t.typed("openstack --os-cloud admin network create %s --external --provider-network-type flat "+
			"--provider-physical-network %s", externalName, lab.PhysicalNetwork)
		t.routing.external, err = t.admin.CreateNetwork(ctx, cloud.Network{
			Name: externalName, External: true, NetworkType: "flat", PhysicalNetwork: lab.PhysicalNetwork,
		})
		if err != nil {
			return err
		}
		t.typed("openstack --os-cloud admin subnet create --network %s --subnet-range %s --gateway %s --no-dhcp "+
			"--allocation-pool start=%s,end=%s %[1]s-subnet", externalName, externalRange, gateway, firstExternal, lastExternal)
		_, err = t.admin.CreateSubnet(ctx, cloud.Subnet{
			NetworkID: t.routing.external.ID, Name: externalName + "-subnet", IPVersion: 4, CIDR: externalRange,
			GatewayIP: gateway, EnableDHCP: new(bool),
			AllocationPools: []cloud.AllocationPool{{Start: firstExternal, End: lastExternal}},
		})
		if err != nil {
			return err
		}
	}
	t.typed("openstack router set --external-gateway %s %s", externalName, t.routing.router.Name)
	if t.routing.router, err = t.demo.SetGateway(ctx, t.routing.router.ID, t.routing.external.ID); err != nil {
		return err
	}
	t.say("%s has the address %s outside; the host internet is %s, its physical network is %s of the hosts",
		t.routing.router.Name, t.routing.router.Gateway.FixedIPs[0].IPAddress, gateway, lab.ExternalDevice)
	return t.showLegs(ctx)
}

func curlOut(ctx context.Context, t *tour) error {
	internet := lab.Internet()
	stop, err := t.serveWeb(ctx, spot{host: internet.Name}, "the internet")
	if err != nil {
		return err
	}
	defer stop()
	seen := "you are " + t.routing.router.Gateway.FixedIPs[0].IPAddress
	site := internet.Others[0].String()
	for _, w := range []*workload{t.workloads[0], t.routing.far} {
		if err := t.curl(ctx, inside(w), site, seen); err != nil {
			return err
		}
	}
	t.say("both networks are seen as the router: their own addresses do not leave it")
	return nil
}

// openWeb lets the web in through the security group of the workloads.
func (t *tour) openWeb(ctx context.Context) error {
	t.typed("openstack security group rule create --protocol tcp --dst-port %s default", webPort)
	group, err := t.defaultGroup(ctx)
	if err != nil {
		return err
	}
	err = t.demo.CreateSecurityGroupRule(ctx, cloud.SecurityGroupRule{
		GroupID: group.ID, Direction: "ingress", Protocol: "tcp", MinPort: 80, MaxPort: 80,
	})
	var refused *cloud.Error
	if errors.As(err, &refused) && refused.Type == "SecurityGroupRuleExists" {
		return nil // by an earlier tour
	}
	return err
}

func floatIn(ctx context.Context, t *tour) error {
	if err := t.openWeb(ctx); err != nil {
		return err
	}
	w := t.workloads[0]
	t.typed("openstack floating ip create %s", externalName)
	f, err := t.demo.CreateFloatingIP(ctx, cloud.FloatingIP{NetworkID: t.routing.external.ID})
	if err != nil {
		return err
	}
	t.typed("openstack floating ip set --port %s %s", w.name, f.Address)
	if err := t.demo.Associate(ctx, f.ID, w.port.ID); err != nil {
		return err
	}
	if err := t.awaitFloating(ctx, f.ID); err != nil {
		return err
	}
	stop, err := t.serveWeb(ctx, inside(w), w.name)
	if err != nil {
		return err
	}
	defer stop()
	outside := lab.Internet()
	words := fmt.Sprintf("this is %s, and you are %s", w.name, outside.Address)
	if err := t.curl(ctx, spot{host: outside.Name}, f.Address, words); err != nil {
		return err
	}
	stopOutside, err := t.serveWeb(ctx, spot{host: outside.Name}, "the internet")
	if err != nil {
		return err
	}
	defer stopOutside()
	return t.curl(ctx, inside(w), outside.Others[0].String(), "you are "+f.Address)
}

// awaitFloating waits until the host of its router has said that it translates the address.
func (t *tour) awaitFloating(ctx context.Context, id string) error {
	return eventually(ctx, t.routing.host, "the floating IP to be ACTIVE", func(ctx context.Context) error {
		f, err := t.demo.FloatingIP(ctx, id)
		if err == nil && f.Status != "ACTIVE" {
			err = fmt.Errorf("%s: %s", f.Status, f.StatusReason)
		}
		return err
	})
}

func forwardIn(ctx context.Context, t *tour) error {
	w := t.routing.far
	t.typed("openstack floating ip create %s", externalName)
	f, err := t.demo.CreateFloatingIP(ctx, cloud.FloatingIP{NetworkID: t.routing.external.ID})
	if err != nil {
		return err
	}
	t.typed("openstack floating ip port forwarding create --protocol tcp --external-protocol-port %d --port %s "+
		"--internal-ip-address %s --internal-protocol-port %s %s",
		forwardedPort, w.name, w.port.Address(), webPort, f.Address)
	err = t.demo.CreatePortForwarding(ctx, f.ID, cloud.PortForwarding{
		Protocol: "tcp", ExternalPort: forwardedPort,
		InternalPort: 80, InternalPortID: w.port.ID, InternalIP: w.port.Address(),
	})
	if err != nil {
		return err
	}
	if err := t.awaitFloating(ctx, f.ID); err != nil {
		return err
	}
	stop, err := t.serveWeb(ctx, inside(w), w.name)
	if err != nil {
		return err
	}
	defer stop()
	outside := lab.Internet()
	words := fmt.Sprintf("this is %s, and you are %s", w.name, outside.Address)
	return t.curl(ctx, spot{host: outside.Name}, fmt.Sprintf("%s:%d", f.Address, forwardedPort), words)
}

// routingSteps are the stops of the tour that are about routers, in order.
func routingSteps() []step {
	return []step{
		{"second network", "the project gets another network, with a workload of its own", createSecondNetwork},
		{"router", "the two networks meet", createRouter},
		{"external network", "the physical network of the provider, behind which the internet is", createExternal},
		{"out", "source NAT: everybody reaches the outside, seen as the router", curlOut},
		{"floating IP", "an address outside for one workload, in both directions", floatIn},
		{"port forwarding", "one port of an address outside for a workload", forwardIn},
		{"takeover", "a router on two hosts: the active one loses its cables while a download runs through it", takeOver},
	}
}
