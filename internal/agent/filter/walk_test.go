package filter_test

import (
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/conntrack"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

// marks are those of the connections of an address that the host remembers.
func (l *lab) marks(address string) (all []uint32) {
	l.t.Helper()
	table, err := conntrack.Open(l.NS)
	l.Check(err)
	defer table.Close()
	_, err = table.Find(func(c conntrack.Connection) conntrack.Fate {
		if c.Source == addr(address) || c.Destination == addr(address) {
			all = append(all, c.Mark)
		}
		return conntrack.Fate{Mark: c.Mark}
	})
	l.Check(err)
	return all
}

// remember has the host know a connection of the network of the first port.
func (l *lab) remember(from, to string, port uint16) {
	l.t.Helper()
	view, err := l.part.Show(portID(1))
	l.Check(err)
	table, err := conntrack.Open(l.NS)
	l.Check(err)
	defer table.Close()
	there := conntrack.Tuple{Source: addr(from), Destination: addr(to), Protocol: tcp, SourcePort: 40000, DestinationPort: port}
	back := conntrack.Tuple{Source: addr(to), Destination: addr(from), Protocol: tcp, SourcePort: port, DestinationPort: 40000}
	l.Check(table.Insert(conntrack.Flow{
		Zone: view.Zone, Original: there, Reply: back, Status: conntrack.SeenReply | conntrack.Assured, Timeout: 600,
		State: conntrack.TCPEstablished,
	}))
}

func TestConnectionsAreLookedAtBesideTheLoop(t *testing.T) {
	l := newLab(t, networkA)
	l.apply(open("default", ingress(4, tcp, 22)), portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	l.remember(ip4(1), ip4(2), 22)

	l.docs["security-group/default"] = open("default")
	l.pass()
	testkit.Eventually(t, 5*time.Second, "the connection that the rules forbid is cut", func() bool {
		all := l.marks(ip4(2))
		return len(all) == 1 && all[0] != 0
	})
	l.docs["security-group/default"] = open("default", ingress(4, tcp, 22))
	l.pass()
	testkit.Eventually(t, 5*time.Second, "the connection that is allowed again goes on", func() bool {
		all := l.marks(ip4(2))
		return len(all) == 1 && all[0] == 0
	})
	delete(l.docs, "port/"+portID(2))
	l.pass()
	testkit.Eventually(t, 5*time.Second, "the connection of the port that is gone is forgotten", func() bool {
		return len(l.marks(ip4(2))) == 0
	})
}

func TestANewPortInheritsNoConnections(t *testing.T) {
	l := newLab(t, networkA)
	first, second := portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default"))
	l.apply(open("default", ingress(4, tcp, 22)), first, second)
	for range 20 {
		l.remember(ip4(1), ip4(2), 22)
		delete(l.docs, second.Key)
		l.pass()
		// The walker may have begun with it, or not.
		l.docs[second.Key] = second
		l.pass()
		if n := len(l.marks(ip4(2))); n != 0 {
			t.Fatalf("a new port has %d connections of the one that had its address before", n)
		}
	}
	// The same with an address that moves from one port to another.
	l.remember(ip4(1), ip4(2), 22)
	third := portDocument(port(networkA, 3, "default"))
	l.apply(third)
	moved, other := port(networkA, 2, "default"), port(networkA, 3, "default")
	moved.Ips, other.Ips = []string{ip4(4) + "/16"}, []string{ip4(2) + "/16"}
	l.docs[second.Key], l.docs[third.Key] = portDocument(moved), portDocument(other)
	l.pass()
	if n := len(l.marks(ip4(2))); n != 0 {
		t.Errorf("a port has got %d connections with an address", n)
	}
}

// The kernel keeps which addresses are gone until their connections are forgotten.
func TestWhatAKilledAgentHasNotForgottenTheNextOneForgets(t *testing.T) {
	l := newLab(t, networkA)
	l.apply(open("default", ingress(4, tcp, 22)), portDocument(port(networkA, 1, "default")), portDocument(port(networkA, 2, "default")))
	l.remove("port/" + portID(2))
	// As if the agent had been killed before it did.
	l.remember(ip4(1), ip4(2), 22)
	l.part.Close()
	l.start()
	l.reconcile()
	if n := len(l.marks(ip4(2))); n != 0 {
		t.Errorf("%d connections of a port that is gone are remembered", n)
	}
	// Once it is done, it is not done again.
	l.reconcile()
	l.remember(ip4(1), ip4(2), 22)
	l.part.Close()
	l.start()
	l.reconcile()
	if n := len(l.marks(ip4(2))); n != 1 {
		t.Errorf("%d connections of an address of another host are remembered, and not 1", n)
	}
	if n := l.part.Changes(); n != 0 {
		t.Errorf("%d changes when nothing was left to do", n)
	}
}
