package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/test/cloud"
)

// TestNobodyNoticesThatAnAgentIsKilled: agents with kill -9 and started again, a ping at 100/s through it, none lost.
func TestNobodyNoticesThatAnAgentIsKilled(t *testing.T) {
	w := start(t)
	n := w.network("blue", "10.1.0.0/24")
	a, b := w.workload(n, "vm1", "compute1"), w.workload(n, "vm2", "compute2")
	w.reach(a, b)
	before := w.drift("compute1") + w.drift("compute2")

	wait := w.background(a, b, 500)
	for _, host := range []string{"compute1", "compute2", "network"} {
		w.kill(host, "agent")
		w.up()
	}
	if lost := wait(); lost != 0 {
		t.Errorf("%d of 500 packets were lost while the agents were killed and started again", lost)
	}
	if repaired := w.drift("compute1") + w.drift("compute2"); repaired != 0 {
		t.Errorf("the new agents have repaired %d things on hosts that were right (before: %d)", repaired, before)
	}
}

// TestHostsGoOnWithoutTheServer: the server is gone for 5 s (a minute in soak); traffic goes on, and a port that the host
// knows can be plugged. Then the server is back and hears of it.
func TestHostsGoOnWithoutTheServer(t *testing.T) {
	away := 5 * time.Second
	if os.Getenv("NEUTRINO_SOAK") != "" {
		away = time.Minute
	}
	w := start(t)
	n := w.network("blue", "10.1.0.0/24")
	a, b := w.workload(n, "vm1", "compute1"), w.workload(n, "vm2", "compute2")
	late := w.port(n, "vm3", "compute1")
	w.eventually(5*time.Second, "compute1 knows the port", func() error {
		var st agent.PortInfo
		w.ask("compute1", "/v1/ports/"+late.ID+"?wait=5s", &st)
		if st.ID != late.ID {
			return fmt.Errorf("it knows %+v", st)
		}
		return nil
	})
	w.reach(a, b)

	wait := w.background(a, b, int(away/(10*time.Millisecond)))
	begin := time.Now()
	w.kill("control", "server")
	w.plug(late)
	w.reach(late, b)
	time.Sleep(time.Until(begin.Add(away))) //nolint:forbidigo // the server is away for so long
	w.up()
	if lost := wait(); lost != 0 {
		t.Errorf("%d packets were lost while the server was away", lost)
	}
	took := w.eventually(10*time.Second, "the server hears that the port was plugged meanwhile", func() error {
		p, err := w.client.Port(t.Context(), late.ID)
		if err == nil && p.Status != "ACTIVE" {
			err = fmt.Errorf("the port is %s", p.Status)
		}
		return err
	})
	t.Logf("the port was ACTIVE %v after the server was back", took)
}

// TestDriftHeals breaks one thing after the other by hand. Each has to be whole again within 2 s, and counted.
func TestDriftHeals(t *testing.T) {
	w := start(t)
	n := w.network("blue", "10.1.0.0/24")
	a, b := w.workload(n, "vm1", "compute1"), w.workload(n, "vm2", "compute2")
	w.reach(a, b)
	vxlan := fmt.Sprintf("vxlan-%d", n.SegmentationID)
	dnsmasq := func() (string, error) {
		out, err := w.host("network").Run(t.Context(), "ip", "netns", "pids", "qdhcp-"+n.ID)
		if n := len(strings.Fields(out)); err == nil && n != 1 { // one that starts is two for a moment
			err = fmt.Errorf("%d processes in the namespace of DHCP", n)
		}
		return strings.TrimSpace(out), err
	}
	w.eventually(5*time.Second, "DHCP runs", func() error { _, err := dnsmasq(); return err })

	heal := func(name, host string, whole func() error, argv ...string) {
		t.Run(name, func(t *testing.T) {
			before := w.drift(host)
			w.run(host, argv...)
			took := w.eventually(2*time.Second, name, func() error {
				if w.drift(host) == before {
					return fmt.Errorf("no drift was counted")
				}
				return whole()
			})
			t.Logf("whole again after %v", took)
		})
	}
	reaches := func() error {
		if lost := w.ping(a, b, 1); lost != 0 {
			return fmt.Errorf("vm1 does not reach vm2")
		}
		return nil
	}
	shows := func(host, want string, argv ...string) func() error {
		return func() error {
			out, err := w.host(host).Run(t.Context(), argv...)
			if err == nil && !strings.Contains(out, want) {
				err = fmt.Errorf("%s does not show %q", strings.Join(argv, " "), want)
			}
			return err
		}
	}
	heal("a bridge is deleted", "compute1", reaches, "ip", "link", "delete", bridge(n))
	heal("a member leaves its bridge", "compute1", reaches, "ip", "link", "set", tap(a), "nomaster")
	heal("a device is set down", "compute1", reaches, "ip", "link", "set", tap(a), "down")
	heal("a VXLAN device is deleted", "compute1", reaches, "ip", "link", "delete", vxlan)
	heal("a forwarding entry is deleted", "compute1", shows("compute1", b.MAC, "bridge", "fdb", "show", "dev", vxlan),
		"bridge", "fdb", "del", b.MAC, "dev", vxlan, "dst", "192.0.2.32", "self")
	heal("a neighbour is deleted", "compute1", shows("compute1", b.MAC, "ip", "neigh", "show", "dev", bridge(n)),
		"ip", "neigh", "del", b.Address(), "dev", bridge(n))
	pid, err := dnsmasq()
	if err != nil {
		t.Fatal(err)
	}
	heal("dnsmasq is killed", "network", func() error {
		now, err := dnsmasq()
		if err == nil && now == pid {
			err = fmt.Errorf("dnsmasq is still the old one")
		}
		return err
	}, "kill", "-9", pid)
	heal("a namespace is deleted", "network", func() error { _, err := dnsmasq(); return err }, "ip", "netns", "delete", "qdhcp-"+n.ID)
	lease := w.port(n, "vm9", "compute2")
	w.plug(lease, "--dhcp")
}

// TestOnePoisonedPortHoldsUpNoOther: the kernel refuses to put a bridge into a bridge, so a bridge by the name of a port's
// device is a port that cannot be wired. It says why in the API; the others work.
func TestOnePoisonedPortHoldsUpNoOther(t *testing.T) {
	w := start(t)
	n := w.network("blue", "10.1.0.0/24")
	bad := w.port(n, "bad", "compute1")
	w.run("compute1", "ip", "link", "add", tap(bad), "type", "bridge")
	a, b := w.workload(n, "vm1", "compute1"), w.workload(n, "vm2", "compute2")
	w.reach(a, b)
	s := cloud.Login(t, w.record.CloudsFile(), "admin", "http://"+w.record.API+"/v2.0")
	w.eventually(5*time.Second, "the API says why", func() error {
		var got struct {
			Port struct {
				Status string
				Reason string `json:"status_reason"`
			}
		}
		s.Must(t, 200, "GET", "/ports/"+bad.ID, nil, &got)
		if got.Port.Status != string(model.PortDown) || !strings.Contains(got.Port.Reason, tap(bad)) {
			return fmt.Errorf("the port is %+v", got.Port)
		}
		t.Logf("status_reason: %s", got.Port.Reason)
		return nil
	})
}
