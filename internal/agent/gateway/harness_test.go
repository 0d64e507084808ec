package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/netlinkx"
	"github.com/neutrino-net/neutrino/internal/pki"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

const (
	// patience is how long anything may take to be right.
	patience = 20 * time.Second
	// defaultInterval is what the server gives if nobody says otherwise, fastInterval what can be had.
	defaultInterval = 500 * time.Millisecond
	fastInterval    = 100 * time.Millisecond
)

// hostOf is the host at the other end of a call.
func hostOf(ctx context.Context) (string, error) {
	p, _ := peer.FromContext(ctx)
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return "", errors.New("there is no certificate")
	}
	return pki.HostOf(info.State.PeerCertificates[0])
}

// gatewayHost is a host with an agent: a network namespace, and a mount namespace with names of its own for the namespaces
// that the agent makes, since all hosts have the same routers.
type gatewayHost struct {
	*testkit.Host
	w     *world
	index int
	dir   string
	// holder keeps the mount namespace.
	holder *exec.Cmd
	mu     sync.Mutex
	agent  *exec.Cmd // nil: it does not run
	log    *os.File
	path   string // PATH of the agent
	up     bool   // its links
	alone  bool   // it is cut off
}

func newGatewayHost(w *world, h *testkit.Host, index int) *gatewayHost {
	g := &gatewayHost{Host: h, w: w, index: index, dir: w.t.TempDir(), up: true, path: os.Getenv("PATH") + ":/usr/sbin:/sbin"}
	g.identify()
	g.holder = exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c",
		"mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && echo ready && exec sleep infinity")
	ready, err := g.holder.StdoutPipe()
	g.Check(err)
	g.Check(g.holder.Start())
	w.t.Cleanup(func() {
		g.killAll()
		_ = g.holder.Process.Kill()
		_ = g.holder.Wait()
		if w.t.Failed() {
			text, _ := os.ReadFile(filepath.Join(g.dir, "log"))
			lines := bytes.Split(text, []byte("\n"))
			w.t.Logf("the last of the log of %s:\n%s", g.name(), bytes.Join(lines[max(0, len(lines)-60):], []byte("\n")))
		}
		if g.log != nil {
			g.log.Close()
		}
	})
	_, err = ready.Read(make([]byte, 8))
	g.Check(err)
	return g
}

// name is that of the host in documents.
func (g *gatewayHost) name() string { return fmt.Sprintf("gw%d", g.index+1) }

// identify gives the host the files that joining leaves.
func (g *gatewayHost) identify() {
	key, err := pki.NewKey()
	g.Check(err)
	certificate, err := g.w.server.ca.SignHost(g.name(), key.Public())
	g.Check(err)
	secret, err := pki.EncodeKey(key)
	g.Check(err)
	for name, text := range map[string][]byte{
		"host.key": secret, "host.crt": certificate, "ca.crt": g.w.server.ca.CertificatePEM(),
	} {
		g.Check(os.WriteFile(filepath.Join(g.dir, name), text, 0o600))
	}
}

// inside is a command in both namespaces of the host.
func (g *gatewayHost) inside(command string, arguments ...string) *exec.Cmd {
	mounts := fmt.Sprintf("--mount=/proc/%d/ns/mnt", g.holder.Process.Pid)
	return exec.Command("nsenter", append([]string{mounts, "--", command}, arguments...)...)
}

// router runs a command in the namespace that a router has on this host.
func (g *gatewayHost) router(id string, command string, arguments ...string) (string, error) {
	cmd := g.inside("ip", append([]string{"netns", "exec", "qrouter-" + id, command}, arguments...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// start runs the agent.
func (g *gatewayHost) start() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.agent != nil {
		return
	}
	g.w.server.forget(g.name())
	own, err := os.Executable()
	g.Check(err)
	c := child{Host: g.name(), Server: g.w.server.address, Dir: g.dir, TunnelIP: testkit.UnderlayIP(g.index), Quiet: g.w.quiet}
	if g.index < g.w.gateways {
		c.Mappings = map[string]string{"physnet1": "eth1"}
	}
	text, err := json.Marshal(c)
	g.Check(err)
	if g.log == nil {
		g.log, err = os.Create(filepath.Join(g.dir, "log"))
		g.Check(err)
	}
	cmd := g.inside(own, "-test.run=^$")
	cmd.Env = []string{childEnv + "=" + string(text), "PATH=" + g.path, "GOMAXPROCS=2"}
	cmd.Stdout, cmd.Stderr = g.log, g.log
	g.Check(netns.Do(g.NS, cmd.Start))
	g.agent = cmd
}

// cpuTime is what the agent has used of the processors.
func (g *gatewayHost) cpuTime() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.agent == nil {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.agent.Process.Pid))
	g.Check(err)
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	ticks := 0
	for _, field := range fields[11:13] { // in user and in kernel mode
		n, err := strconv.Atoi(field)
		g.Check(err)
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}

var resident = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

// memory is what the agent and keepalived have in memory, in MiB.
func (g *gatewayHost) memory() (all float64) {
	g.mu.Lock()
	pids := []int{g.agent.Process.Pid}
	g.mu.Unlock()
	for _, pid := range append(pids, g.keepalived()...) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		g.Check(err)
		found := resident.FindSubmatch(text)
		if found == nil {
			g.w.t.Fatalf("process %d has no memory", pid)
		}
		kilobytes, err := strconv.Atoi(string(found[1]))
		g.Check(err)
		all += float64(kilobytes) / 1024
	}
	return all
}

// kill ends the agent with SIGKILL.
func (g *gatewayHost) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.agent != nil {
		_ = g.agent.Process.Kill()
		_ = g.agent.Wait()
		g.agent = nil
	}
}

// keepalived are the processes of the host's keepalived: the parent, and its child.
func (g *gatewayHost) keepalived() (pids []int) {
	entries, err := os.ReadDir("/proc")
	g.Check(err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		command, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if bytes.Contains(command, []byte("\x00--use-file="+filepath.Join(g.dir, "gateway", "conf")+"\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killKeepalived ends both its processes with SIGKILL, as if at once: the child would tell the others that its parent is gone,
// and the parent would start another child.
func (g *gatewayHost) killKeepalived() {
	all := g.keepalived()
	for _, signal := range []unix.Signal{unix.SIGSTOP, unix.SIGKILL} {
		for _, pid := range all {
			_ = unix.Kill(pid, signal)
		}
	}
}

func (g *gatewayHost) killAll() {
	g.kill()
	testkit.Eventually(g.w.t, patience, "no keepalived left", func() bool {
		g.killKeepalived()
		return len(g.keepalived()) == 0
	})
}

// links plugs the host in or out: at the underlay, and at the external network.
func (g *gatewayHost) links(up bool) {
	g.up = up
	state := map[bool]string{true: "up", false: "down"}[up]
	g.w.sw.Run("ip", "link", "set", fmt.Sprintf("p%d", g.index+1), state)
	if g.index < g.w.gateways {
		g.w.outside.Run("ip", "link", "set", fmt.Sprintf("o%d", g.index+1), state)
	}
}

// die is the death of the host: all processes, and all links.
func (g *gatewayHost) die() {
	g.links(false)
	g.killAll()
}

// boot starts a host that has died: its kernel remembers nothing.
func (g *gatewayHost) boot() {
	g.killAll()
	out, err := g.inside("sh", "-c", "for n in $(ip netns list | cut -d' ' -f1); do ip netns delete $n; done").CombinedOutput()
	if err != nil {
		g.w.t.Fatalf("%s: %v: %s", g.name(), err, out)
	}
	links, err := g.NL.Links()
	g.Check(err)
	for device, l := range links {
		if strings.HasPrefix(device, "brq") || strings.HasPrefix(device, "vxlan-") ||
			strings.HasPrefix(device, "tap") && strings.HasPrefix(l.Alias, "neutrino:") {
			if err := g.NL.DeleteLink(l.Index); err != nil && !netlinkx.Gone(err) {
				g.w.t.Fatal(err)
			}
		}
	}
	g.Run("ip", "address", "flush", "dev", "lo", "scope", "host")
	g.Run("ip", "link", "set", "lo", "up")
	g.links(true)
	g.start()
}

// status is what the agent says of itself.
func (g *gatewayHost) status() string {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(g.dir, "s"))
		},
	}}
	response, err := client.Get("http://agent/v1/status")
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return string(text)
}

var elements = regexp.MustCompile(`elements = \{([^}]*)\}`)

// speaks says whether legs of the router speak on this host, as the kernel has it.
func (g *gatewayHost) speaks(router string) bool {
	out, err := g.router(router, "nft", "list", "set", "netdev", "neutrino-standby", "active")
	return err == nil && elements.MatchString(out)
}

// addr is an address that is known to be right.
func addr(text string) netip.Addr { return netip.MustParseAddr(text) }
