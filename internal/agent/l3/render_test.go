package l3

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Ids of the documents below, which begin as in names of devices.
const (
	routerID   = "0f0e0d0c-0000-4000-8000-000000000001"
	redID      = "11111111-1100-4000-8000-000000000002"
	blueID     = "22222222-2200-4000-8000-000000000003"
	externalID = "eeeeeeee-ee00-4000-8000-000000000004"
)

func sample() *sb.Router {
	return &sb.Router{
		RouterId: routerID, AdminStateUp: true, EnableSnat: true, DefaultGateways: []string{"203.0.113.1"},
		Legs: []*sb.RouterLeg{
			{PortId: redID, Mac: "fa:16:3e:00:00:01", Ips: []string{"10.0.1.1/24"}, Mtu: 1450},
			{PortId: blueID, Mac: "fa:16:3e:00:00:02", Ips: []string{"10.0.2.1/24", "2001:db8:2::1/64"}, Mtu: 1450},
			{PortId: externalID, Mac: "fa:16:3e:00:00:03", Ips: []string{"203.0.113.5/24"}, Mtu: 1500, Gateway: true},
		},
	}
}

func documentsOf(r *sb.Router, more ...*sb.Document) documents {
	docs := documents{"router/" + r.RouterId: {Body: &sb.Document_Router{Router: r}}}
	for _, d := range more {
		docs[d.Key] = d
	}
	return docs
}

func floatingDocument(id, address, fixed string) *sb.Document {
	return &sb.Document{Key: "floating-ip/" + id, Body: &sb.Document_FloatingIp{FloatingIp: &sb.FloatingIp{
		FloatingIpId: id, RouterId: routerID, Address: address, FixedIp: fixed,
	}}}
}

func forwardingDocument(id string, f *sb.PortForwarding) *sb.Document {
	f.PortForwardingId, f.RouterId = id, routerID
	return &sb.Document{Key: "port-forwarding/" + id, Body: &sb.Document_PortForwarding{PortForwarding: f}}
}

func firewallDocument(g *sb.FirewallGroup) *sb.Document {
	return &sb.Document{Key: "firewall-group/" + g.GroupId, Body: &sb.Document_FirewallGroup{FirewallGroup: g}}
}

// The tables of routers as text, which nft accepts.
func TestTables(t *testing.T) {
	for name, change := range map[string]func(r *sb.Router) []*sb.Document{
		"local": func(r *sb.Router) []*sb.Document {
			r.Legs, r.DefaultGateways = r.Legs[:2], nil
			return nil
		},
		"local-floating": func(r *sb.Router) []*sb.Document {
			r.Legs[2].Ips, r.Legs[2].OnLink = nil, []string{"203.0.113.0/24"}
			r.Legs[0].DefaultGateways = []string{"10.0.1.5"}
			return []*sb.Document{floatingDocument("a", "203.0.113.20", "10.0.1.20")}
		},
		"plain":    func(*sb.Router) []*sb.Document { return nil },
		"no-snat":  func(r *sb.Router) []*sb.Document { r.EnableSnat = false; return nil },
		"internal": func(r *sb.Router) []*sb.Document { r.Legs, r.DefaultGateways = r.Legs[:2], nil; return nil },
		"scopes": func(r *sb.Router) []*sb.Document {
			r.Legs[0].Scope4, r.Legs[2].Scope4, r.Legs[1].Scope4, r.Legs[1].Scope6 = "one", "one", "two", "six"
			return nil
		},
		"translations": func(r *sb.Router) []*sb.Document {
			r.ConntrackHelpers = []*sb.ConntrackHelper{
				{Protocol: "tcp", Port: 21, Helper: "ftp"}, {Protocol: "udp", Port: 69, Helper: "tftp"},
			}
			return []*sb.Document{
				floatingDocument("a", "203.0.113.11", "10.0.1.11"), floatingDocument("b", "203.0.113.12", ""),
				forwardingDocument("c", &sb.PortForwarding{
					Address: "203.0.113.12", Protocol: "udp", ExternalFirst: 5000, ExternalLast: 5001,
					InternalIp: "10.0.2.10", InternalFirst: 6000, InternalLast: 6001,
				}),
			}
		},
		"firewalls": func(*sb.Router) []*sb.Document {
			tcp := uint32(6)
			return []*sb.Document{
				firewallDocument(&sb.FirewallGroup{
					GroupId: routerID, Ports: []string{redID, blueID},
					Ingress: []*sb.FirewallRule{
						{
							RuleId: redID, IpVersion: 4, Protocol: &tcp, Source: "10.0.0.0/8", Destination: "10.0.1.7/32",
							SourceFirst: 1024, SourceLast: 65535, DestinationFirst: 22, DestinationLast: 22,
							Action: sb.FirewallRule_ACTION_ALLOW,
						},
						{RuleId: blueID, IpVersion: 6, Source: "2001:db8::/32", Action: sb.FirewallRule_ACTION_REJECT},
					},
					Egress: []*sb.FirewallRule{{RuleId: externalID, IpVersion: 4, Action: sb.FirewallRule_ACTION_DENY}},
				}),
				firewallDocument(&sb.FirewallGroup{GroupId: externalID, Ports: []string{externalID}, Closed: true}),
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := sample()
			docs := documentsOf(r, change(r)...)
			if strings.HasPrefix(name, "local") {
				delete(docs, "router/"+r.RouterId)
				docs["local-router/"+r.RouterId] = &sb.Document{Body: &sb.Document_LocalRouter{LocalRouter: r}}
			}
			c := convert(docs)
			for key, reason := range c.reasons {
				if reason != "" {
					t.Errorf("%s: %s", key, reason)
				}
			}
			text := c.router.withElements().String()
			if c.router.helpers != "" {
				text += "table inet " + helpersTable + " {\n" + c.router.helpers + "}\n"
			}
			if c.router.firewallRules != "" {
				text += "table inet " + firewallTable + " {\n" + c.router.firewallRules + "}\n"
			}
			golden := filepath.Join("testdata", name+".nft")
			if *update {
				if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Errorf("not as in %s:\n%s", golden, diff)
			}
			if out, err := exec.Command("unshare", "-n", "nft", "-c", "-f", golden).CombinedOutput(); err != nil {
				t.Errorf("nft: %v\n%s", err, out)
			}
		})
	}
}

// What cannot be had of a router has its reason, and takes nothing else with it.
func TestReasonsOfRouters(t *testing.T) {
	advertise := func(prefix, mode string) func(r *sb.Router) {
		return func(r *sb.Router) { r.Legs[1].Advertised = []*sb.RouterPrefix{{Prefix: prefix, RaMode: mode}} }
	}
	route := func(destination string) func(r *sb.Router) {
		return func(r *sb.Router) { r.Routes = []*sb.Route{{Destination: destination, Nexthop: "10.0.1.2"}} }
	}
	helper := func(name string) func(r *sb.Router) {
		return func(r *sb.Router) {
			r.ConntrackHelpers = []*sb.ConntrackHelper{{Protocol: "tcp", Port: 21, Helper: name}}
		}
	}
	for name, x := range map[string]struct {
		change func(r *sb.Router)
		reason string
	}{
		"a leg without MAC":       {func(r *sb.Router) { r.Legs[0].Mac = "x" }, "no Ethernet address"},
		"a group MAC":             {func(r *sb.Router) { r.Legs[0].Mac = "01:00:5e:00:00:01" }, "no Ethernet address"},
		"a leg too small":         {func(r *sb.Router) { r.Legs[0].Mtu = 60 }, "mtu 60"},
		"IPv6 on a narrow leg":    {func(r *sb.Router) { r.Legs[1].Mtu = 1279 }, "IPv6 address"},
		"an address of nobody":    {func(r *sb.Router) { r.Legs[0].Ips = []string{"0.0.0.0/0"} }, "cannot be the address"},
		"two gateways":            {func(r *sb.Router) { r.Legs[0].Gateway = true }, "gateway leg already"},
		"one leg twice":           {func(r *sb.Router) { r.Legs[1] = r.Legs[0] }, "belongs to another port"},
		"a default without leg":   {func(r *sb.Router) { r.Legs = r.Legs[:2] }, "no gateway leg"},
		"an unknown mode":         {advertise("2001:db8::/64", "x"), "ra_mode"},
		"host bits in a prefix":   {advertise("2001:db8::1/64", "slaac"), "no IPv6 block"},
		"a route to nowhere":      {route("x"), "no block"},
		"a route across versions": {route("::/0"), "other IP version"},
		"a helper with a quote":   {helper(`ftp"; drop`), "is none"},
	} {
		t.Run(name, func(t *testing.T) {
			r := sample()
			x.change(r)
			c := convert(documentsOf(r))
			if got := c.reasons["router/"+routerID]; !strings.Contains(got, x.reason) || c.router == nil {
				t.Errorf("router %v, and the reason is %q, want %q in it", c.router, got, x.reason)
			}
		})
	}
}

// The same for floating IPs and port forwardings: of the documents, the last has the reason.
func TestReasonsOfTranslations(t *testing.T) {
	shared := floatingDocument("z", "203.0.113.12", "")
	forward := func(id string, external, internal portRange) *sb.Document {
		return forwardingDocument(id, &sb.PortForwarding{
			Address: "203.0.113.12", Protocol: "tcp", ExternalFirst: external.first, ExternalLast: external.last,
			InternalIp: "10.0.2.10", InternalFirst: internal.first, InternalLast: internal.last,
		})
	}
	one := portRange{1, 1}
	for name, x := range map[string]struct {
		reason    string
		documents []*sb.Document
	}{
		"a floating IP of IPv6": {"no IPv4", []*sb.Document{floatingDocument("a", "2001:db8::1", "10.0.1.2")}},
		"the router's own":      {"of the router itself", []*sb.Document{floatingDocument("a", "203.0.113.5", "10.0.1.2")}},
		"one address twice":     {"floating-ip/z already", []*sb.Document{shared, floatingDocument("zz", "203.0.113.12", "")}},
		"one fixed address twice": {"floating-ip/a already", []*sb.Document{
			floatingDocument("a", "203.0.113.9", "10.0.1.2"), floatingDocument("b", "203.0.113.8", "10.0.1.2"),
		}},
		"forwarding without its IP":  {"does not have", []*sb.Document{forward("f", one, one)}},
		"forwarding of port 0":       {"cannot be", []*sb.Document{shared, forward("f", portRange{0, 1}, portRange{1, 2})}},
		"forwarding beyond 65535":    {"cannot be", []*sb.Document{shared, forward("f", portRange{1, 70000}, one)}},
		"ranges of different length": {"cannot be", []*sb.Document{shared, forward("f", portRange{1, 3}, portRange{1, 2})}},
		"overlapping ranges": {"port 3", []*sb.Document{
			shared, forward("f", portRange{1, 3}, one), forward("g", portRange{3, 4}, one),
		}},
		"forwarding of an assigned one": {"as a whole", []*sb.Document{
			floatingDocument("z", "203.0.113.12", "10.0.1.2"), forward("f", one, one),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := convert(documentsOf(sample(), x.documents...))
			last := x.documents[len(x.documents)-1].Key
			for key, reason := range c.reasons {
				if key == last && !strings.Contains(reason, x.reason) || key != last && reason != "" {
					t.Errorf("%s has the reason %q; %s should have one with %q", key, reason, last, x.reason)
				}
			}
		})
	}
}
