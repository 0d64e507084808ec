package plug_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/vishvananda/netlink"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/plug"
)

// host is a fake agent with one port, which it wires as soon as the device is there, and a namespace to plug into.
type host struct {
	socket, netns, port string
	info                agent.PortInfo
	refuse              atomic.Bool
}

func newHost(t *testing.T) *host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	id := uuid.NewString()
	h := &host{socket: filepath.Join(t.TempDir(), "agent.sock"), netns: "plugtest-" + id[:8], port: id}
	h.info = agent.PortInfo{
		ID: id, Device: model.DeviceName(id), MAC: "fa:16:3e:12:34:56", MTU: 1450, AdminStateUp: true,
		IPs: []string{"10.66.0.3/24"}, Gateways: []string{"10.66.0.1"},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/ports/{id}", h.answer)
	listener, err := net.Listen("unix", h.socket)
	must(t, err)
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(listener) }() // ends with Close
	t.Cleanup(func() {
		must(t, server.Close())
		if l, err := netlink.LinkByName(h.info.Device); err == nil {
			must(t, netlink.LinkDel(l))
		}
		must(t, netns.Delete(h.netns))
	})
	return h
}

func (h *host) answer(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("id") != h.port {
		http.Error(w, `{"error":"unknown"}`, http.StatusNotFound)
		return
	}
	info := h.info
	info.Status = "ABSENT"
	if device, err := netlink.LinkByName(info.Device); err == nil && netlink.LinkSetUp(device) == nil {
		info.Status = "DONE"
	}
	if h.refuse.Load() {
		info.Status, info.Reason = "ERROR", "no bridge for it"
	}
	_ = json.NewEncoder(w).Encode(info)
}

func (h *host) options() plug.Options {
	return plug.Options{Port: h.port, Netns: h.netns, Agent: h.socket, Timeout: 2 * time.Second}
}

func (h *host) ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", append([]string{"-n", h.netns}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %v: %v %s", args, err, out)
	}
	return string(out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPlugGivesThePortToTheNamespace(t *testing.T) {
	h := newHost(t)
	got, err := plug.Plug(t.Context(), h.options())
	must(t, err)
	if got.Already || got.HostDevice != h.info.Device || got.Wired > 100*time.Millisecond {
		t.Errorf("result %+v", got)
	}
	link := h.ip(t, "-d", "link", "show", "eth0")
	for _, want := range []string{"mtu 1450", "fa:16:3e:12:34:56", "LOWER_UP", "veth"} {
		if !strings.Contains(link, want) {
			t.Errorf("no %q in %s", want, link)
		}
	}
	if a := h.ip(t, "-4", "addr", "show", "eth0"); !strings.Contains(a, "inet 10.66.0.3/24") {
		t.Error(a)
	}
	if r := h.ip(t, "route"); !strings.Contains(r, "default via 10.66.0.1 dev eth0") {
		t.Error(r)
	}
	if lo := h.ip(t, "link", "show", "lo"); !strings.Contains(lo, "UP") {
		t.Error(lo)
	}
}

func TestPluggingAgainSaysSoAndRepairs(t *testing.T) {
	h := newHost(t)
	_, err := plug.Plug(t.Context(), h.options())
	must(t, err)
	again, err := plug.Plug(t.Context(), h.options())
	if err != nil || !again.Already || again.Repaired {
		t.Errorf("nothing was wrong: %+v %v", again, err)
	}
	h.ip(t, "addr", "flush", "dev", "eth0")
	h.ip(t, "link", "set", "eth0", "down")
	again, err = plug.Plug(t.Context(), h.options())
	if err != nil || !again.Already || !again.Repaired {
		t.Errorf("device down, address gone: %+v %v", again, err)
	}
	if r := h.ip(t, "route"); !strings.Contains(r, "default via 10.66.0.1 dev eth0") {
		t.Error(r)
	}
	other := h.options()
	other.Netns = h.netns + "-2"
	if _, err := plug.Plug(t.Context(), other); err == nil || !strings.Contains(err.Error(), h.netns) {
		t.Errorf("the port was moved, or the error does not say where it is: %v", err)
	}
	if _, err := netns.Open(other.Netns); err == nil {
		must(t, netns.Delete(other.Netns))
		t.Error("a namespace was made for nothing")
	}
}

func TestUnplugRemovesWhatPlugMade(t *testing.T) {
	h := newHost(t)
	_, err := plug.Plug(t.Context(), h.options())
	must(t, err)
	done, err := plug.Unplug(h.port)
	must(t, err)
	if done.Device != h.info.Device || done.Netns != h.netns {
		t.Errorf("%+v", done)
	}
	if _, err := netns.Open(h.netns); err == nil {
		t.Error("the namespace is still there")
	}
	if done, err := plug.Unplug(h.port); err != nil || done.Device != "" {
		t.Errorf("the second time: %+v %v", done, err)
	}

	// A namespace that was there before stays.
	ns, err := netns.Create(h.netns)
	must(t, err)
	ns.Close()
	_, err = plug.Plug(t.Context(), h.options())
	must(t, err)
	if done, err := plug.Unplug(h.port); err != nil || done.Device == "" || done.Netns != "" {
		t.Errorf("%+v %v", done, err)
	}
	h.ip(t, "link") // fails if it is gone
}

func TestAForeignDeviceIsNotTouched(t *testing.T) {
	h := newHost(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = h.info.Device
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	if _, err := plug.Plug(t.Context(), h.options()); err == nil || !strings.Contains(err.Error(), "not ours") {
		t.Errorf("plug: %v", err)
	}
	if _, err := plug.Unplug(h.port); err == nil {
		t.Error("unplug removed a device of somebody else")
	}
	if _, err := netlink.LinkByName(h.info.Device); err != nil {
		t.Error(err)
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	h := newHost(t)
	for _, c := range []struct {
		want   string
		change func(*plug.Options)
	}{
		{"is it bound to this host", func(o *plug.Options) { o.Port = uuid.NewString() }},
		{"no agent answers on /nowhere", func(o *plug.Options) { o.Agent = "/nowhere" }},
		{"no name for a network namespace", func(o *plug.Options) { o.Netns = "../x" }},
		{"no bridge for it", func(o *plug.Options) { h.refuse.Store(true) }},
		{"a port is required", func(o *plug.Options) { o.Port = "" }},
	} {
		o := h.options()
		o.Timeout = 200 * time.Millisecond
		c.change(&o)
		if _, err := plug.Plug(context.Background(), o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q in it", err, c.want)
		}
	}
}

func TestDHCPWithoutAServerEndsInTime(t *testing.T) {
	h := newHost(t)
	o := h.options()
	o.Addressing, o.Timeout = plug.DHCP, 700*time.Millisecond
	begun := time.Now()
	_, err := plug.Plug(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "DHCP") || time.Since(begun) > 2*time.Second {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
}
