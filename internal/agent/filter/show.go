package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
)

// ShowPattern is where the agent's socket tells what is in force for a port.
const ShowPattern = "GET /v1/filters/{port}"

// ErrUnknownPort says that no port of the id is bound to this host.
var ErrUnknownPort = errors.New("no port of this id is bound to this host")

// View is what is in force for a port.
type View struct {
	Port    string `json:"port"`
	Device  string `json:"device"`
	Network string `json:"network"`
	// Zone is the number under which the connections of the network are kept on this host.
	Zone uint16 `json:"zone"`
	// Filtered is false for a port that sends and gets everything.
	Filtered bool `json:"filtered"`
	Stateful bool `json:"stateful"`
	// Family is that in which connections are followed, see package filter.
	Family string `json:"family"`
	// Problem is why the port is closed, or not as it is wanted.
	Problem string     `json:"problem,omitempty"`
	Chains  []string   `json:"chains"` // egress, ingress
	Rules   []RuleView `json:"rules"`
	// Firewalls are the rules of firewall groups, which have to let pass what the others do.
	Firewalls []FirewallView `json:"firewalls"`
	Drops     []DropView     `json:"drops"`
}

// FirewallView is a rule of a firewall group, in the order in which they are asked: the first that matches decides, and what
// none matches is dropped. What it counts is of all ports of the host that meet the group.
type FirewallView struct {
	Direction string `json:"direction"`
	Group     string `json:"firewall_group"`
	// Interface is that of a distributed router, of which the group is: it is asked about what the router forwards. Empty:
	// the group is the port's own.
	Interface string `json:"interface,omitempty"`
	// Rule is empty where everything is dropped.
	Rule   string `json:"rule,omitempty"`
	Action string `json:"action"` // "allow", or "drop" for deny and reject
	Chain  string `json:"chain"`
	rs.Counter
}

// RuleView is a rule of a group. What it counts is of all ports of the host that have the group.
type RuleView struct {
	Direction string `json:"direction"`
	Group     string `json:"security_group"`
	Rule      string `json:"rule"`
	Chain     string `json:"chain"`
	// Set has the addresses of the other end, if the rule is about a group of them; Members is how many there are.
	Set     string `json:"set,omitempty"`
	Members int    `json:"members,omitempty"`
	rs.Counter
}

// DropView is how much of a port was dropped, and why.
type DropView struct {
	Direction string `json:"direction"`
	Reason    string `json:"reason"`
	rs.Counter
}

// Show tells what is in force for a port.
func (p *Part) Show(id string) (*View, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil || p.state.ports["port/"+id] == nil {
		return nil, ErrUnknownPort
	}
	s, port := p.state, p.state.ports["port/"+id]
	v := &View{
		Port: id, Device: port.device, Network: port.network, Zone: s.zones.of(port.network), Filtered: port.filtered,
		Stateful: port.stateful, Family: s.form.String(), Chains: append([]string{}, port.chains...), Rules: []RuleView{},
		Firewalls: []FirewallView{}, Drops: []DropView{},
	}
	if err := s.problems["port/"+id]; err != nil {
		v.Problem = err.Error()
	} else if err := p.portErr(port); err != nil {
		v.Problem = err.Error()
	}
	for _, egress := range []bool{true, false} {
		for _, group := range port.groups {
			rules, err := p.showGroup(group, egress)
			if err != nil {
				return nil, err
			}
			v.Rules = append(v.Rules, rules...)
		}
	}
	if err := p.showFirewalls(port, v); err != nil {
		return nil, err
	}
	drops, err := p.drops()
	if err != nil {
		return nil, err
	}
	for _, d := range drops {
		if d.device == port.device {
			v.Drops = append(v.Drops, DropView{d.reason.direction(), d.reason.name, d.Counter})
		}
	}
	return v, nil
}

// showFirewalls adds the firewalls that a port meets.
func (p *Part) showFirewalls(port *wiredPort, v *View) error {
	if !port.meetsFirewalls() {
		return nil
	}
	var list interfaces
	if f := p.state.firewalls.of[port.id]; f != nil {
		list = append(list, routedInterface{firewall: f})
	}
	for _, i := range append(list, p.state.firewalls.networks[port.network]...) {
		for _, egress := range []bool{true, false} {
			rules, err := p.showFirewall(i.firewall, egress)
			if err != nil {
				return err
			}
			for _, r := range rules {
				r.Interface = i.port
				v.Firewalls = append(v.Firewalls, r)
			}
		}
	}
	return nil
}

func (p *Part) showFirewall(f *firewall, egress bool) ([]FirewallView, error) {
	chain, rules := firewallChain(f.id, egress), f.ingress
	if egress {
		rules = f.egress
	}
	v := FirewallView{Direction: reason{egress: egress}.direction(), Group: f.id, Chain: chain, Action: "drop"}
	if f.closed || len(rules) == 0 {
		return []FirewallView{v}, nil
	}
	counters, err := p.filter.RuleCounters(chain)
	if err != nil {
		return nil, fmt.Errorf("read the counters of chain %s: %w", chain, err)
	}
	counted := map[string]rs.Counter{}
	for _, c := range counters {
		if id, _, ok := strings.Cut(c.Comment, " "); ok {
			counted[id] = c.Counter
		}
	}
	all := make([]FirewallView, 0, len(rules))
	for _, r := range rules {
		v.Rule, v.Action, v.Counter = r.id, "drop", counted[r.id]
		if r.allow {
			v.Action = "allow"
		}
		all = append(all, v)
	}
	return all, nil
}

func (p *Part) showGroup(group string, egress bool) ([]RuleView, error) {
	chain := groupChain(group, egress)
	counters, err := p.filter.RuleCounters(chain)
	if err != nil {
		return nil, fmt.Errorf("read the counters of chain %s: %w", chain, err)
	}
	var all []RuleView
	for _, c := range counters {
		fields := strings.Fields(c.Comment)
		v := RuleView{Direction: reason{egress: egress}.direction(), Group: group, Chain: chain, Counter: c.Counter}
		for i, f := range fields {
			switch {
			case i == 0:
				v.Rule = f
			case f[0] == '@':
				v.Set = f[1:]
				v.Members = len(p.filter.Elements(v.Set))
			}
		}
		all = append(all, v)
	}
	return all, nil
}

// drop is how much was dropped of a device.
type drop struct {
	device string
	reason reason
	rs.Counter
}

// drops reads all counters of drops.
func (p *Part) drops() ([]drop, error) {
	var all []drop
	for _, r := range reasons {
		counters, err := p.filter.Counters(r.counters())
		if err != nil {
			return nil, fmt.Errorf("read the counters %s: %w", r.counters(), err)
		}
		for key, c := range counters {
			all = append(all, drop{deviceOf(rs.Element{First: key}), r, c})
		}
	}
	slices.SortFunc(all, func(x, y drop) int {
		return strings.Compare(x.device+x.reason.chain(), y.device+y.reason.chain())
	})
	return all, nil
}

// ShowHandler answers ShowPattern with a View.
func (p *Part) ShowHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := p.Show(r.PathValue("port"))
		w.Header().Set("Content-Type", "application/json")
		switch {
		case errors.Is(err, ErrUnknownPort):
			w.WriteHeader(http.StatusNotFound)
		case err != nil:
			w.WriteHeader(http.StatusInternalServerError)
		}
		var body any = v
		if err != nil {
			body = map[string]string{"error": err.Error()}
		}
		// An error here means that the one who asked has gone.
		_ = json.NewEncoder(w).Encode(body)
	})
}
