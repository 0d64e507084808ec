// Package e2e looks at the whole: the real server and the real agents on the hosts of a lab, workloads that talk to each
// other, and what they notice when things are killed, broken by hand, or wrong from the start.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/lab"
	api "github.com/neutrino-net/neutrino/internal/lab/cloud"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/test/cloud"
)

func TestMain(m *testing.M) {
	code := m.Run()
	cloud.Clean()
	os.Exit(code)
}

// world is a lab with a cloud in it, of its own for each test.
type world struct {
	t      testing.TB
	lab    *lab.Lab
	record *lab.Record
	client *api.Client
}

// start makes a lab, which is removed when the test ends. Its server gets the arguments.
func start(t testing.TB, serverArgs ...string) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a lab needs root")
	}
	dir := t.TempDir()
	l, err := lab.New(lab.Options{
		Name: fmt.Sprintf("t%d", os.Getpid()), Dir: filepath.Join(dir, "var"), RunDir: filepath.Join(dir, "run"), Binary: cloud.Binary(t),
		// A server that is killed and started again needs its ports back; those of other tests' labs are elsewhere.
		APIPort: 29696, IdentityPort: 25000, ServerArgs: serverArgs,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w := &world{t: t, lab: l}
		if t.Failed() {
			w.showLogs()
		}
		if _, err := l.Down(context.Background()); err != nil {
			t.Errorf("removing the lab: %v", err)
		}
	})
	w := &world{t: t, lab: l}
	w.up()
	return w
}

// up builds the lab, or starts again what was killed.
func (w *world) up() {
	w.t.Helper()
	if _, err := w.lab.Up(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	var err error
	if w.record, err = w.lab.Load(); err != nil {
		w.t.Fatal(err)
	}
	if w.client, err = api.Login(w.t.Context(), w.record.CloudsFile(), "admin"); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) showLogs() {
	record, err := w.lab.Load()
	if err != nil || record == nil {
		return
	}
	for _, p := range record.Processes {
		w.t.Logf("--- %s on %s:\n%s", p.Name, p.Host, lab.Tail(p.Log, 25))
	}
}

func (w *world) host(name string) *lab.Host {
	w.t.Helper()
	h, err := w.lab.Host(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// run runs a command on a host.
func (w *world) run(host string, argv ...string) string {
	w.t.Helper()
	out, err := w.host(host).Run(w.t.Context(), argv...)
	if err != nil {
		w.t.Fatalf("%s: %s: %v", host, strings.Join(argv, " "), err)
	}
	return out
}

// kill ends a daemon with SIGKILL, and waits until it has ended.
func (w *world) kill(host, name string) {
	w.t.Helper()
	p, ok := w.record.Process(host, name)
	if !ok || !p.Alive() {
		w.t.Fatalf("there is no %s on %s", name, host)
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		w.t.Fatal(err)
	}
	w.eventually(5*time.Second, "the "+name+" has ended", func() error {
		if p.Alive() {
			return fmt.Errorf("process %d lives", p.PID)
		}
		return nil
	})
}

// network makes a network with a subnet.
func (w *world) network(name, cidr string) api.Network {
	w.t.Helper()
	n, err := w.client.CreateNetwork(w.t.Context(), api.Network{Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.client.CreateSubnet(w.t.Context(), api.Subnet{NetworkID: n.ID, Name: name, IPVersion: 4, CIDR: cidr})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// port makes a port that is bound to a host.
func (w *world) port(n api.Network, name, host string) api.Port {
	w.t.Helper()
	p, err := w.client.CreatePort(w.t.Context(), api.Port{NetworkID: n.ID, Name: name, Host: host})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// plug puts a namespace of the port's name on its host and plugs it.
func (w *world) plug(p api.Port, more ...string) {
	w.t.Helper()
	w.run(p.Host, append([]string{w.lab.Binary(), "plug", p.ID, "--netns", p.Name}, more...)...)
}

// workload is port and plug in one.
func (w *world) workload(n api.Network, name, host string) api.Port {
	w.t.Helper()
	p := w.port(n, name, host)
	w.plug(p)
	return p
}

// ping sends count echoes, one every 10 ms, and returns how many were not answered.
func (w *world) ping(from, to api.Port, count int) (lost int) {
	out, err := w.host(from.Host).Run(w.t.Context(), "ip", "netns", "exec", from.Name,
		"ping", "-q", "-i", "0.01", "-W", "1", "-c", strconv.Itoa(count), to.Address())
	for line := range strings.SplitSeq(out, "\n") {
		var sent, received int
		if n, _ := fmt.Sscanf(line, "%d packets transmitted, %d received", &sent, &received); n == 2 {
			return count - received
		}
	}
	w.t.Errorf("ping %s → %s: %v %s", from.Name, to.Name, err, out)
	return count
}

// background pings until stop is called, which returns how many were lost.
func (w *world) background(from, to api.Port, count int) (wait func() int) {
	lost := make(chan int, 1)
	go func() { lost <- w.ping(from, to, count) }()
	return func() int { return <-lost }
}

// reach waits until from has reached to, and returns how long that took.
func (w *world) reach(from, to api.Port) time.Duration {
	w.t.Helper()
	begin := time.Now()
	for time.Since(begin) < 10*time.Second {
		if _, err := w.host(from.Host).Run(w.t.Context(), "ip", "netns", "exec", from.Name,
			"ping", "-q", "-i", "0.01", "-W", "0.2", "-c", "1", to.Address()); err == nil {
			return time.Since(begin)
		}
	}
	w.t.Fatalf("%s does not reach %s", from.Name, to.Name)
	return 0
}

// eventually waits until check returns nil.
func (w *world) eventually(limit time.Duration, what string, check func() error) time.Duration {
	w.t.Helper()
	begin := time.Now()
	for {
		err := check()
		if err == nil {
			return time.Since(begin)
		}
		if time.Since(begin) > limit {
			w.t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // between two looks
	}
}

// ask asks the agent of a host over its local socket.
func (w *world) ask(host, path string, into any) string {
	w.t.Helper()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (conn net.Conn, err error) {
			doErr := w.host(host).Do(func() error {
				conn, err = net.Dial("unix", agent.DefaultSocket)
				return err
			})
			return conn, doErr
		},
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://agent" + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if into != nil {
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			w.t.Fatal(err)
		}
		return ""
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// drift is how much drift the agent of a host has repaired.
func (w *world) drift(host string) (total int) {
	w.t.Helper()
	for line := range strings.SplitSeq(w.ask(host, "/metrics", nil), "\n") {
		if !strings.HasPrefix(line, "neutrino_drift_repaired_total{") {
			continue
		}
		_, value, _ := strings.Cut(line, "} ")
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			w.t.Fatalf("%s: %v", line, err)
		}
		total += int(n)
	}
	return total
}

func bridge(n api.Network) string { return model.BridgeName(n.ID) }

func tap(p api.Port) string { return model.DeviceName(p.ID) }
