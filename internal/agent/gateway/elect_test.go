package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/keepalived"
	"github.com/neutrino-net/neutrino/internal/testkit"
	pb "github.com/neutrino-net/neutrino/proto/hostsync/v1"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// routers note what they are asked for.
type routers struct{ announced []map[string]bool }

func (r *routers) Switch() error                   { return nil }
func (r *routers) Announce(groups map[string]bool) { r.announced = append(r.announced, groups) }

// newPart is the part of host b, in a namespace in which nothing runs: the test says what was elected.
func newPart(t *testing.T, dir string, tunnelIP netip.Addr) (*Part, *routers) {
	t.Helper()
	h := testkit.NewHost(t, "b")
	if tunnelIP.IsValid() {
		h.Run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
		h.Run("ip", "address", "add", tunnelIP.String()+"/24", "dev", "eth0")
	}
	p, err := New(Options{
		Host: "b", TunnelIP: tunnelIP, BridgeMappings: map[string]string{"physnet1": "eth1", "physnet2": "eth0"}, Dir: dir,
		Namespace: h.NS, Logger: slog.New(slog.DiscardHandler),
		Identity: func() (tls.Certificate, *x509.CertPool, error) { return tls.Certificate{}, nil, errors.New("none") },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	r := &routers{}
	p.Follow(r)
	return p, r
}

// take gives the part its view, and expects its one document to be as it should.
func take(t *testing.T, p *Part, g *sb.GatewayGroup) {
	t.Helper()
	statuses, err := p.Reconcile(t.Context(), agent.NewView(1, document("gateway-group/7", g)))
	if err != nil || len(statuses) != 1 || statuses[0].State != sb.ObjectStatus_STATE_DONE {
		t.Fatalf("%v, %v", statuses, err)
	}
}

func (p *Part) expect(t *testing.T, active, known bool, epoch uint64) {
	t.Helper()
	a, k := p.Active("7")
	if a != active || k != known {
		t.Errorf("active %v, known %v; want %v, %v", a, k, active, known)
	}
	if m := p.groups[7]; m != nil && m.Claim().Epoch != epoch {
		t.Errorf("the claim is %+v, want the epoch %d", m.Claim(), epoch)
	}
}

func became(r keepalived.Role) []keepalived.Transition {
	return []keepalived.Transition{{Group: 7, Role: r}}
}

func TestNothingIsKnownBeforeBothRolesAndGroupsAre(t *testing.T) {
	p, _ := newPart(t, t.TempDir(), here().tunnelIP)
	p.expect(t, false, false, 0)
	take(t, p, groupBody())
	p.expect(t, false, false, 3)
	p.elected(nil)
	p.expect(t, false, true, 3)
	if _, known := p.Active("8"); !known {
		t.Error("of a group that the host is not in, it is not known that it is not active")
	}

	p, _ = newPart(t, t.TempDir(), here().tunnelIP)
	p.elected(became(keepalived.Active))
	p.expect(t, false, false, 0)
	take(t, p, groupBody())
	p.expect(t, true, true, 4)
}

func TestARestartedAgentGoesOnWithItsOwnClaim(t *testing.T) {
	dir := t.TempDir()
	p, _ := newPart(t, dir, here().tunnelIP)
	p.elected(nil)
	take(t, p, groupBody())
	p.elected(became(keepalived.Active))
	p.expect(t, true, true, 4)
	p.switchRouters(t.Context())

	// The document is the old one: the server did not hear of the claim.
	for name, order := range map[string]func(p *Part){
		"roles first":  func(p *Part) { p.elected(became(keepalived.Active)); take(t, p, groupBody()) },
		"groups first": func(p *Part) { take(t, p, groupBody()); p.elected(became(keepalived.Active)) },
	} {
		t.Run(name, func(t *testing.T) {
			next, _ := newPart(t, dir, here().tunnelIP)
			order(next)
			next.expect(t, true, true, 4)
		})
	}

	// One whose keepalived has ended does not.
	next, _ := newPart(t, dir, here().tunnelIP)
	next.elected(nil)
	take(t, next, groupBody())
	next.expect(t, false, true, 4)
	next.elected(became(keepalived.Active))
	next.expect(t, true, true, 5)
}

func TestWhoHearsOfANewerClaimIsMute(t *testing.T) {
	p, r := newPart(t, t.TempDir(), here().tunnelIP)
	p.elected(nil)
	take(t, p, groupBody())
	p.elected(became(keepalived.Active))
	p.heard("c", []*pb.Group{{Number: 7, Epoch: 4, Rank: 2, Claimant: "c", Active: true}})
	p.expect(t, true, true, 4) // the earlier host of the two has the right
	if len(r.announced) != 0 {
		t.Error("it announces itself while the other one speaks")
	}
	p.heard("c", []*pb.Group{{Number: 7, Epoch: 4, Rank: 1, Claimant: "b"}})
	if len(r.announced) != 1 || !r.announced[0]["7"] {
		t.Errorf("when the other one is mute, announced is %v", r.announced)
	}
	p.heard("c", []*pb.Group{{Number: 7, Epoch: 4, Rank: 1, Claimant: "b"}})
	if len(r.announced) != 1 {
		t.Error("it announces itself again and again")
	}
	p.heard("c", []*pb.Group{{Number: 7, Epoch: 5, Rank: 2, Claimant: "c", Active: true}})
	p.expect(t, false, true, 5)
	if b := p.groups[7].Bonus(); b != 0 {
		t.Errorf("it still has the bonus %d", b)
	}
	p.elected(became(keepalived.Standby))
	p.expect(t, false, true, 5)
}

func TestAHostThatIsAloneIsActiveUntilOthersCome(t *testing.T) {
	p, _ := newPart(t, t.TempDir(), netip.Addr{})
	p.elected(nil)
	alone := groupBody()
	alone.Hosts = []*sb.GatewayHost{{Name: "b"}}
	take(t, p, alone)
	p.expect(t, true, true, 4)
	take(t, p, alone)
	p.expect(t, true, true, 4)
	statuses, err := p.Reconcile(t.Context(), agent.NewView(1, document("gateway-group/7", groupBody())))
	if err != nil || statuses[0].State != sb.ObjectStatus_STATE_ERROR {
		t.Fatalf("%v, %v", statuses, err)
	}
	p.expect(t, false, true, 0)
}
