package tour

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/neutrino-net/neutrino/internal/lab"
	"github.com/neutrino-net/neutrino/internal/lab/cloud"
)

const (
	thirdRange = "10.30.0.0/24"
	// streamPort is where the host internet serves the download.
	streamPort = "81"
	// streamPause is the time between two pieces of the download: the resolution with which a gap is seen.
	streamPause = 5 * time.Millisecond
	// established is after how many pieces the cables are pulled. The other host hears of a new connection within tens of
	// milliseconds; one that is younger may have to begin again.
	established = 100
)

// takeOver pulls the cables of the host that forwards for a highly available router while a download runs through it.
func takeOver(ctx context.Context, t *tour) error {
	router, w, err := t.createReliable(ctx)
	if err != nil {
		return err
	}
	active, err := t.showRoles(ctx, router, "")
	if err != nil {
		return err
	}
	internet := lab.Internet()
	server, err := t.serveStream(ctx, spot{host: internet.Name})
	if err != nil {
		return err
	}
	defer server.stop()
	site := net.JoinHostPort(internet.Others[0].String(), streamPort)
	t.typed("%s", inside(w).command(t, "nc "+strings.Replace(site, ":", " ", 1)))
	download, err := t.download(ctx, inside(w), site)
	if err != nil {
		return err
	}
	defer download.stop()

	t.typed("neutrino lab exec%s %s -- ip link set eth0 down    # and %s", t.nameFlag(), active, lab.ExternalDevice)
	if err := t.cables(ctx, active, "down"); err != nil {
		return err
	}
	sent := server.sent()
	err = eventually(ctx, "", "the download to go on by another host", func(context.Context) error { return download.beyond(sent) })
	if err = errors.Join(err, t.cables(ctx, active, "up")); err != nil {
		return err
	}
	t.say("the connection goes on by another host; the longest gap in it was %s", short(download.gap()))
	next, err := t.showRoles(ctx, router, active)
	if err != nil {
		return err
	}
	t.say("%s has its cables again and is on standby: nobody takes a router from %s, which is well", active, next)
	return nil
}

// createReliable makes a network with a workload behind a highly available router.
func (t *tour) createReliable(ctx context.Context) (router cloud.Router, w *workload, err error) {
	name := "red" + t.suffix
	t.typed("openstack network create %s", name)
	network, err := t.demo.CreateNetwork(ctx, cloud.Network{Name: name})
	if err != nil {
		return router, nil, err
	}
	t.typed("openstack subnet create --network %s --subnet-range %s %[1]s-subnet", name, thirdRange)
	subnet, err := t.demo.CreateSubnet(ctx, cloud.Subnet{NetworkID: network.ID, Name: name + "-subnet", IPVersion: 4, CIDR: thirdRange})
	if err != nil {
		return router, nil, err
	}
	// Whether a router is on several hosts is the administrator's to say.
	t.typed("openstack --os-cloud admin router create --project demo --ha --external-gateway %s reliable%s", externalName, t.suffix)
	router, err = t.admin.CreateRouter(ctx, cloud.Router{
		Name: "reliable" + t.suffix, ProjectID: t.demo.ProjectID(), HA: true,
		Gateway: &cloud.Gateway{NetworkID: t.routing.external.ID},
	})
	if err != nil {
		return router, nil, err
	}
	t.typed("openstack router add subnet %s %s-subnet", router.Name, name)
	if err := t.demo.AttachRouter(ctx, router.ID, subnet.ID); err != nil {
		return router, nil, err
	}
	w = &workload{name: "app" + t.suffix, host: "compute1"}
	t.typed("openstack --os-cloud admin port create --project demo --network %s --host %s %s", name, w.host, w.name)
	w.port, err = t.admin.CreatePort(ctx, cloud.Port{
		NetworkID: network.ID, ProjectID: t.demo.ProjectID(), Name: w.name, Host: w.host,
	})
	if err != nil {
		return router, nil, err
	}
	t.typed("neutrino lab exec%s %s -- neutrino plug %s --netns %s --dhcp", t.nameFlag(), w.host, w.port.ID, w.name)
	return router, w, t.plug(ctx, w)
}

// showRoles shows which host is what for the router, and returns the one that is active: another one than not.
func (t *tour) showRoles(ctx context.Context, router cloud.Router, not string) (active string, err error) {
	t.typed("openstack --os-cloud admin network agent list --router %s --long", router.Name)
	var agents []cloud.Agent
	err = eventually(ctx, "network", "one host to be active and another one on standby", func(ctx context.Context) (err error) {
		if agents, err = t.admin.RouterAgents(ctx, router.ID); err != nil {
			return err
		}
		hosts := map[string][]string{}
		for _, a := range agents {
			hosts[a.HAState] = append(hosts[a.HAState], a.Host)
		}
		if len(hosts["active"]) != 1 || len(hosts["standby"]) != len(agents)-1 || len(agents) < 2 || hosts["active"][0] == not {
			return fmt.Errorf("active: %v, standby: %v", hosts["active"], hosts["standby"])
		}
		active = hosts["active"][0]
		return nil
	})
	if err != nil {
		return "", err
	}
	rows := []table.Row{{"HOST", "ALIVE", "HA STATE"}}
	for _, a := range agents {
		rows = append(rows, table.Row{a.Host, map[bool]string{true: ":-)", false: "XXX"}[a.Alive], a.HAState})
	}
	t.say("%s", render(rows))
	return active, nil
}

// cables puts both interfaces of the host up, or down as a host that has lost its power.
func (t *tour) cables(ctx context.Context, host, to string) error {
	h, err := t.lab.Host(host)
	if err != nil {
		return err
	}
	for _, device := range []string{"eth0", lab.ExternalDevice} {
		if _, err := h.Run(ctx, "ip", "link", "set", device, to); err != nil {
			return err
		}
	}
	return nil
}

// stream is a server that sends lines without end, each with its number.
type stream struct {
	listener net.Listener
	all      sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	last  int
}

func (t *tour) serveStream(ctx context.Context, s spot) (*stream, error) {
	server := &stream{}
	err := s.do(t.lab, func() (err error) {
		server.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("", streamPort))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("serving a download on %s: %w", s.host, err)
	}
	server.all.Go(func() {
		for {
			conn, err := server.listener.Accept()
			if err != nil {
				return // stop has closed it
			}
			server.mu.Lock()
			server.conns = append(server.conns, conn)
			server.mu.Unlock()
			server.all.Go(func() { server.send(conn) })
		}
	})
	return server, nil
}

// send sends until the connection ends.
func (s *stream) send(conn net.Conn) {
	defer conn.Close()
	ticker := time.NewTicker(streamPause)
	defer ticker.Stop()
	for n := 1; ; n++ {
		if _, err := fmt.Fprintln(conn, n); err != nil {
			return
		}
		s.mu.Lock()
		s.last = n
		s.mu.Unlock()
		<-ticker.C
	}
}

// sent is the number of the last line.
func (s *stream) sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func (s *stream) stop() {
	_ = s.listener.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.all.Wait()
}

// download is a client of the stream, with what it has got.
type download struct {
	conn net.Conn
	done chan struct{}

	mu      sync.Mutex
	last    int
	longest time.Duration
	err     error
}

// download connects to the stream, as soon as that is possible, and returns when it is established.
func (t *tour) download(ctx context.Context, s spot, address string) (*download, error) {
	d := &download{done: make(chan struct{})}
	err := eventually(ctx, s.host, "a connection to "+address, func(ctx context.Context) error {
		return s.do(t.lab, func() (err error) {
			d.conn, err = (&net.Dialer{Timeout: 250 * time.Millisecond}).DialContext(ctx, "tcp", address)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	go d.read()
	err = eventually(ctx, s.host, "the download to be under way", func(context.Context) error { return d.beyond(established) })
	if err != nil {
		d.stop()
		return nil, err
	}
	return d, nil
}

func (d *download) read() {
	defer close(d.done)
	lines, before := bufio.NewScanner(d.conn), time.Now()
	for lines.Scan() {
		now := time.Now()
		d.mu.Lock()
		if d.last > 0 {
			d.longest = max(d.longest, now.Sub(before))
		}
		_, d.err = fmt.Sscan(lines.Text(), &d.last)
		d.mu.Unlock()
		before = now
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = errors.Join(errors.New("the connection has ended"), lines.Err())
}

// beyond says why the client has got nothing that was sent after line n; nil: it has.
func (d *download) beyond(n int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil && d.last <= n {
		return fmt.Errorf("nothing since line %d", d.last)
	}
	return d.err
}

// gap is the longest time without a line.
func (d *download) gap() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.longest
}

func (d *download) stop() {
	_ = d.conn.Close()
	<-d.done
}
