package nflog_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/nflog"
	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

const group = 77

// follow reads the group until the test ends, and waits until nothing is missed.
func follow(t *testing.T, h *testkit.Host) (<-chan nflog.Packet, <-chan error) {
	t.Helper()
	packets, failed, ready := make(chan nflog.Packet, 100), make(chan error, 1), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		failed <- nflog.Follow(ctx, h.NS, group, 128, func() { close(ready) }, func(p nflog.Packet) {
			p.Payload, p.Link = append([]byte{}, p.Payload...), append([]byte{}, p.Link...)
			packets <- p
		})
	}()
	select {
	case <-ready:
	case err := <-failed:
		failed <- err
	case <-time.After(5 * time.Second):
		t.Fatal("it is not ready")
	}
	return packets, failed
}

func TestARecordedPacketComesWithWhatTheRuleSays(t *testing.T) {
	h := testkit.NewHost(t, "nflog")
	conn, err := rs.Open(h.NS)
	h.Check(err)
	t.Cleanup(conn.Close)
	table := rs.NewTable(conn, rs.INet, "record")
	table.WantChain("in", rs.Chain{Base: &rs.Base{Hook: rs.Prerouting}, Rules: []rs.Rule{
		rs.NewRule("", rs.Load(rs.R(0), rs.Protocol), rs.Equal(rs.R(0), 1), rs.Put(rs.R(0), rs.Native(4711)...), rs.SetMark(rs.R(0)),
			rs.Log(group, "ping", 64)),
	}})
	_, err = table.Apply()
	h.Check(err)
	packets, _ := follow(t, h)
	h.Run("ping", "-n", "-c", "1", "-s", "200", "127.0.0.1")
	for range 2 { // the request and the answer
		select {
		case p := <-packets:
			if p.Prefix != "ping" || p.Mark != 4711 || p.EtherType != 0x0800 || p.In != 1 || len(p.Payload) != 64 {
				t.Errorf("%+v", p)
			}
			if source, ok := netip.AddrFromSlice(p.Payload[12:16]); !ok || !source.IsLoopback() {
				t.Errorf("it comes from %v", source)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("nothing was recorded")
		}
	}
}

func TestAGroupHasOneReader(t *testing.T) {
	h := testkit.NewHost(t, "nflog")
	follow(t, h)
	_, failed := follow(t, h)
	select {
	case err := <-failed:
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("the second reader: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("there are two readers")
	}
}
