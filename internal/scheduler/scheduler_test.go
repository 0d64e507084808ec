package scheduler_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/scheduler"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run runs a scheduler until the test ends.
func run(t *testing.T, w *st.World) {
	s := scheduler.New(scheduler.Options{
		Store: w.Store, Work: scheduler.Networks(w.DHCP), Logger: slog.New(slog.DiscardHandler), Retry: 5 * time.Millisecond,
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// eventually waits for a state that is as it should be.
func eventually(t *testing.T, w *st.World, what string, ok func(r *state.Snapshot) bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	r, cursor := w.Store.Feed()
	for !ok(r) {
		c, err := cursor.Next(ctx)
		if err != nil {
			t.Fatalf("it never came true that %s", what)
		}
		r = c.Snapshot
	}
}

func network(t *testing.T, w *st.World, cidrs ...string) *model.Network {
	n := st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)
	for _, cidr := range cidrs {
		st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": n.ID, "cidr": cidr}))(t)
	}
	return n
}

// server is the port of the network's DHCP server, or nil.
func server(r state.Reader, networkID string) *model.Port {
	for b := range state.DHCPBindingsByNetwork.List(r, networkID) {
		p, _ := state.Ports.Get(r, b.PortID)
		return p
	}
	return nil
}

func TestNetworksAreServedAsTheyComeAndGo(t *testing.T) {
	w := st.New(t, st.Options{})
	w.Connect(t, "network1")
	early := network(t, w, "10.0.0.0/24")
	run(t, w)
	late := network(t, w, "10.0.1.0/24")
	for _, n := range []*model.Network{early, late} {
		eventually(t, w, "the network is served", func(r *state.Snapshot) bool {
			p := server(r, n.ID)
			return p != nil && p.Binding.Bound() && len(p.FixedIPs) == 1
		})
	}
	st.Must(w.CreateSubnet(st.Member, st.Body{"network_id": late.ID, "cidr": "10.0.2.0/24"}))(t)
	eventually(t, w, "the second subnet is served", func(r *state.Snapshot) bool { return len(server(r, late.ID).FixedIPs) == 2 })
	for _, id := range w.Network(t, late.ID).SubnetIDs {
		st.Must(0, w.DeleteSubnet(st.Member, id))(t)
	}
	eventually(t, w, "the server is gone", func(r *state.Snapshot) bool { return server(r, late.ID) == nil })
	port := server(w.Store.Read(), early.ID)
	st.Must(0, w.DeletePort(st.Admin, port.ID))(t)
	eventually(t, w, "the server has a port again", func(r *state.Snapshot) bool { return server(r, early.ID) != nil })
}

func TestNetworksWaitForAHost(t *testing.T) {
	w := st.New(t, st.Options{})
	run(t, w)
	n := network(t, w, "10.0.0.0/24")
	w.Liveness.Down("network1", time.Now())
	w.Connect(t, "network1") // known, but not yet seen alive: nothing in the state will tell when it is
	w.Liveness.Up("network1")
	eventually(t, w, "the network is served", func(r *state.Snapshot) bool { return server(r, n.ID) != nil })
}

func TestAServerMovesWhenItsHostLosesTheRole(t *testing.T) {
	w := st.New(t, st.Options{})
	w.Connect(t, "network1")
	run(t, w)
	n := network(t, w, "10.0.0.0/24")
	on := func(host string) func(r *state.Snapshot) bool {
		return func(r *state.Snapshot) bool { p := server(r, n.ID); return p != nil && p.Binding.Host == host }
	}
	eventually(t, w, "network1 serves", on("network1"))
	w.Connect(t, "network2")
	w.Connect(t, "network1", model.RoleL2)
	eventually(t, w, "network2 serves", on("network2"))
}

func TestAFreedAddressIsTaken(t *testing.T) {
	w := st.New(t, st.Options{})
	n := network(t, w, "10.0.0.0/30")
	user := st.Must(w.CreatePort(st.Member, st.Body{"network_id": n.ID}))(t)
	w.Connect(t, "network1")
	run(t, w)
	eventually(t, w, "the network has a server", func(r *state.Snapshot) bool { return server(r, n.ID) != nil })
	st.Must(0, w.DeletePort(st.Member, user.ID))(t)
	eventually(t, w, "the server has an address", func(r *state.Snapshot) bool { return len(server(r, n.ID).FixedIPs) == 1 })
}
