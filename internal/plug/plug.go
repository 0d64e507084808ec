// Package plug puts a port into a network namespace: what Nova and libvirt do for a virtual machine, for a process or a
// container. It makes the device of the port (tap and 11 characters of the port's id, by which the agent recognises
// it), puts its other end into the namespace with the port's MAC and MTU, gives it the addresses, and waits until the
// agent says that the port is wired.
//
// plug.go has the two operations, agent.go asks the agent, lease.go speaks DHCP.
package plug

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/veth"
	"github.com/neutrino-net/neutrino/internal/model"
)

// Defaults of Options.
const (
	DefaultAgent   = agent.DefaultSocket
	DefaultDevice  = "eth0"
	DefaultTimeout = 10 * time.Second
)

// madeMark is the ifalias of lo in a namespace that Plug has made; Unplug removes only such namespaces.
const madeMark = "neutrino:plug"

// Addressing is how the device gets its addresses.
type Addressing int

const (
	// Static sets the port's addresses, and default routes through its gateways.
	Static Addressing = iota
	// DHCP asks for them, as a workload would.
	DHCP
	// None leaves the device without.
	None
)

// Options say what to plug where.
type Options struct {
	// Port is the id; required.
	Port string
	// Netns is the name of the namespace; required. It is made if there is none.
	Netns string
	// Device is the name of the device inside; empty: DefaultDevice.
	Device string
	// Agent is the path of the agent's socket; empty: DefaultAgent.
	Agent      string
	Addressing Addressing
	// Timeout bounds the whole; 0: DefaultTimeout.
	Timeout time.Duration
}

func (o *Options) fill() error {
	if o.Port == "" {
		return errors.New("a port is required")
	}
	if o.Netns == "" {
		return errors.New("the name of a network namespace is required")
	}
	if o.Device == "" {
		o.Device = DefaultDevice
	}
	if o.Agent == "" {
		o.Agent = DefaultAgent
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	return nil
}

// Result is what a port was given.
type Result struct {
	Port, Netns string
	// HostDevice is the end of the pair on the host, Device the one in the namespace.
	HostDevice, Device string
	MAC                net.HardwareAddr
	MTU                int
	// Addresses that the device has now.
	Addresses []netip.Prefix
	// Lease is what DHCP gave, or nil.
	Lease *Lease
	// Already says that the port was plugged in this way before; Repaired that something was put right.
	Already, Repaired bool
	// Took is the time of the whole, Wired that until the agent had wired the port.
	Took, Wired time.Duration
}

// mark is the ifalias of both ends.
func mark(port string) string { return "neutrino:port:" + port }

// Plug puts the port into the namespace and waits until it is wired. Called again, it repairs what is not as it should
// be. A port that is plugged into another namespace is an error. What was made is left there on an error: the agent may
// only be late, and Plug can be called again.
func Plug(ctx context.Context, o Options) (Result, error) {
	if err := o.fill(); err != nil {
		return Result{}, err
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()

	asked := newClient(o.Agent)
	defer asked.close()
	port, err := asked.known(ctx, o.Port)
	if err != nil {
		return Result{}, err
	}
	r := Result{Port: o.Port, Netns: o.Netns, HostDevice: port.Device, Device: o.Device, MTU: port.MTU, MAC: port.mac}
	if err := notElsewhere(port.Device, mark(o.Port), o.Netns); err != nil {
		return r, err
	}
	ns, err := openOrMake(o.Netns)
	if err != nil {
		return r, err
	}
	defer ns.Close()
	pair, err := veth.Ensure(ns, veth.Pair{
		Host: port.Device, Inside: o.Device, MAC: port.mac, MTU: port.MTU, Mark: mark(o.Port),
	})
	if err != nil {
		return r, err
	}
	r.Already, r.Repaired = !pair.Made, pair.Changed
	if o.Addressing == Static {
		if err := r.setStatic(ns, pair.Index, port); err != nil {
			return r, err
		}
	}
	if err := asked.wired(ctx, o.Port); err != nil {
		return r, err
	}
	r.Wired = time.Since(begun)
	if o.Addressing == DHCP {
		if err := r.setByDHCP(ctx, ns, pair.Index); err != nil {
			return r, err
		}
	}
	r.Took = time.Since(begun)
	return r, nil
}

// openOrMake opens the namespace; one that it makes is marked as ours.
func openOrMake(name string) (*netns.Handle, error) {
	ns, err := netns.Open(name)
	if err == nil || !errors.Is(err, netns.ErrNotExist) {
		return ns, err
	}
	if ns, err = netns.Create(name); err != nil {
		return nil, err
	}
	if err := veth.LoopbackUp(ns); err != nil {
		ns.Close()
		return nil, err
	}
	h, err := veth.Handle(ns)
	if err != nil {
		ns.Close()
		return nil, err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err == nil {
		err = h.LinkSetAlias(lo, madeMark)
	}
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("mark the namespace %s: %w", name, err)
	}
	return ns, nil
}

// setStatic gives the device the addresses of the port and its default routes.
func (r *Result) setStatic(ns *netns.Handle, index int, port knownPort) error {
	added, removed, err := veth.SetAddresses(ns, index, port.ips)
	if err != nil {
		return err
	}
	r.Addresses = port.ips
	r.Repaired = r.Repaired || r.Already && len(added)+len(removed) > 0
	var routes []Route
	for _, gateway := range port.gateways {
		any4or6 := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if gateway.Is6() {
			any4or6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		routes = append(routes, Route{Destination: any4or6, Via: gateway})
	}
	return setRoutes(ns, index, routes)
}

// setByDHCP asks for the addresses, and sets what the answer says.
func (r *Result) setByDHCP(ctx context.Context, ns *netns.Handle, index int) error {
	lease, err := Ask(ctx, ns, r.Device)
	if err != nil {
		return err
	}
	r.Lease = &lease
	r.Addresses = []netip.Prefix{lease.Address}
	if _, _, err := veth.SetAddresses(ns, index, r.Addresses); err != nil {
		return err
	}
	if err := setMTU(ns, index, lease.MTU); err != nil {
		return err
	}
	return setRoutes(ns, index, lease.Routes)
}

func setMTU(ns *netns.Handle, index, mtu int) error {
	if mtu == 0 {
		return nil
	}
	h, err := veth.Handle(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.LinkSetMTU(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}, mtu); err != nil {
		return fmt.Errorf("set the MTU: %w", err)
	}
	return nil
}

// setRoutes adds the routes, or replaces those of the same destination.
func setRoutes(ns *netns.Handle, index int, routes []Route) error {
	h, err := veth.Handle(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	for _, r := range routes {
		route := &netlink.Route{
			LinkIndex: index,
			Dst: &net.IPNet{
				IP: r.Destination.Addr().AsSlice(), Mask: net.CIDRMask(r.Destination.Bits(), r.Destination.Addr().BitLen()),
			},
		}
		if r.Via.IsValid() && !r.Via.IsUnspecified() {
			// The gateway is on the link by definition, even if it is in no subnet of the device.
			route.Gw, route.Flags = r.Via.AsSlice(), int(netlink.FLAG_ONLINK)
		} else {
			route.Scope = netlink.SCOPE_LINK
		}
		if err := h.RouteReplace(route); err != nil {
			return fmt.Errorf("set the route to %v via %v: %w", r.Destination, r.Via, err)
		}
	}
	return nil
}

// notElsewhere refuses a port whose device has its other end in another namespace.
func notElsewhere(device, mark, name string) error {
	peer, found, err := peerNamespace(device, mark)
	if err != nil || !found || peer == name {
		return err
	}
	if peer == "" {
		return nil // the namespace has lost its name: nobody can use it, the device is made anew
	}
	return fmt.Errorf("the port is plugged into the namespace %s: unplug it first", peer)
}

// peerNamespace returns the name of the namespace in which the other end of our device is; "" if it has none.
func peerNamespace(device, mark string) (name string, found bool, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return "", false, fmt.Errorf("open a netlink socket: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(device)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("look for the device %s: %w", device, err)
	}
	if link.Attrs().Alias != mark {
		return "", false, nil
	}
	names, err := netns.List("")
	if err != nil {
		return "", true, err
	}
	for _, name := range names {
		ns, err := netns.Open(name)
		if err != nil {
			continue // removed meanwhile, or no namespace
		}
		// The number by which our namespace knows that one; -1 if it does not.
		id, err := h.GetNetNsIdByFd(ns.Fd())
		ns.Close()
		if err == nil && id >= 0 && id == link.Attrs().NetNsID {
			return name, true, nil
		}
	}
	return "", true, nil
}

// Unplugged is what Unplug did.
type Unplugged struct {
	// Device was removed, or is empty if there was none.
	Device string
	// Netns was removed with it, or is empty.
	Netns string
}

// Unplug removes the device of the port and, if Plug has made it and nothing else is in it, the namespace. It needs no
// agent. A port that is not plugged is no error.
func Unplug(port string) (Unplugged, error) {
	device := model.DeviceName(port)
	peer, found, err := peerNamespace(device, mark(port))
	if err != nil {
		return Unplugged{}, err
	}
	if !found {
		// Either there is no device, or Remove says that it is not ours.
		_, err := veth.Remove(device, mark(port))
		return Unplugged{}, err
	}
	if _, err := veth.Remove(device, mark(port)); err != nil {
		return Unplugged{}, err
	}
	done := Unplugged{Device: device}
	if peer == "" {
		return done, nil
	}
	removable, err := madeAndEmpty(peer)
	if err == nil && removable {
		err = netns.Delete(peer)
		done.Netns = peer
	}
	return done, err
}

func madeAndEmpty(name string) (bool, error) {
	ns, err := netns.Open(name)
	if err != nil {
		return false, err
	}
	defer ns.Close()
	h, err := veth.Handle(ns)
	if err != nil {
		return false, err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return false, fmt.Errorf("look into the namespace %s: %w", name, err)
	}
	return len(links) == 1 && links[0].Attrs().Name == "lo" && links[0].Attrs().Alias == madeMark, nil
}
