package app

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Members of two projects and an administrator of a third make random calls to everything that is declared, with the ids
// of each other's objects in their hands. After each call of a member nothing has changed but what is its project's own,
// or a part of that; what a member lists is its own or shared with it, and what it cannot see is answered, wherever its
// id is put, like what does not exist.
func TestProjectsAreIsolatedEverywhere(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 2
	}
	seen := map[string]int{}
	for seed := range seeds {
		s := &isolation{session: newSession(t, seed, nil), seen: seen}
		s.wild, s.focus = 1000, owned()
		s.must(200, admin, "GET", "/v2.0"+schema.FirewallGroup.Path, "") // makes the administrators' default group
		_, s.feed = s.server.store.Feed()
		for range 400 {
			s.step()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		s.server.store.Close()
	}
	for _, r := range []string{
		"networks", "subnets", "ports", "routers", "floatingips", "security_groups", "policies", "trunks", "local_ips",
		"subnetpools", "address_groups", "firewall_groups", "firewall_policies", "firewall_rules",
	} {
		if seen[r] == 0 {
			t.Errorf("no object of %s was hidden: the calls prove nothing about them", r)
		}
	}
}

// owned are the collections of what projects have, some of which many others name.
func owned() (list []*schema.Declaration) {
	for _, r := range schema.All() {
		if p := r.Attribute("project_id"); p != nil && !r.ListOnly && r.Operations&schema.CanCreate != 0 {
			list = append(list, r)
		}
	}
	return append(list, list[:3]...)
}

// isolation is a session of several projects.
type isolation struct {
	*session
	feed *state.Cursor
	seen map[string]int // hidden objects by collection
}

// members are the callers who are isolated, with their projects.
var members = map[string]string{alice: "a", bob: "b"}

func (s *isolation) step() {
	s.t.Helper()
	c := s.call(s.focus)
	c.token = pick(s.generator, alice, bob, alice, bob, admin)
	a := s.send(c.request())
	if a.status == 201 && c.resource != nil {
		s.remember(c, a)
	}
	text := fmt.Sprintf("%s %s by %s\n%.300s", c.method, c.path, c.token, c.body)
	s.checkChanges(members[c.token], text)
	token := pick(s.generator, alice, bob)
	r := pick(s.generator, s.focus...)
	if r.Below == "" && !r.ListOnly {
		s.checkList(token, r)
		s.compareHidden(token, r)
	}
	s.checkChanges(members[token], "a look at "+r.Plural)
}

// checkChanges looks at what a member's call has changed.
func (s *isolation) checkChanges(project, text string) {
	s.t.Helper()
	for {
		select {
		case <-s.feed.Ready():
		default:
			return
		}
		commit, err := s.feed.Next(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		for _, c := range commit.Changes {
			if project == "" || touched(c) {
				continue
			}
			for _, side := range []any{c.Old, c.New} {
				obj, ok := side.(model.Object)
				if !ok || obj.GetMeta().ProjectID == project || partOf(commit.Before, project, side) || partOf(commit.Snapshot, project, side) {
					continue
				}
				s.t.Errorf("%s\nhas changed a %s of project %q: %s → %s", text, c.Kind, obj.GetMeta().ProjectID, encode(c.Old), encode(c.New))
			}
		}
	}
}

// touched says whether nothing has changed but what follows from parts: the revision, and which subnets there are.
func touched(c state.Change) bool {
	plain := func(v any) map[string]any {
		m := map[string]any{}
		if json.Unmarshal(encode(v), &m) != nil {
			return nil
		}
		for _, key := range []string{"revision_number", "updated_at", "subnet_ids"} {
			delete(m, key)
		}
		return m
	}
	before, after := plain(c.Old), plain(c.New)
	return len(before) > 0 && len(after) > 0 && string(encode(before)) == string(encode(after))
}

// owner is the project of an object of a table, or nothing.
func owner[T any](table *state.Table[T], r state.Reader, id string) string {
	if obj, ok := table.Get(r, id); ok {
		return any(obj).(model.Object).GetMeta().ProjectID
	}
	return ""
}

// partOf says whether an object goes with one of the project's own, so that the project's calls may change it.
func partOf(r state.Reader, project string, obj any) bool {
	own := func(owners ...string) bool { return slices.Contains(owners, project) }
	network := func(id string) string { return owner(state.Networks, r, id) }
	port := func(id string) bool {
		p, ok := state.Ports.Get(r, id)
		return ok && own(p.ProjectID, network(p.NetworkID))
	}
	switch o := obj.(type) {
	case *model.Subnet:
		return own(network(o.NetworkID))
	case *model.NetworkSegment:
		return own(network(o.NetworkID))
	case *model.DHCPBinding:
		return true // which host serves a network is nobody's
	case *model.Port:
		return own(network(o.NetworkID), owner(state.Routers, r, o.DeviceID), owner(state.FloatingIPs, r, o.DeviceID),
			owner(state.LocalIPs, r, o.DeviceID))
	case *model.SecurityGroupRule:
		return own(owner(state.SecurityGroups, r, o.GroupID), owner(state.SecurityGroups, r, o.RemoteGroupID),
			owner(state.AddressGroups, r, o.RemoteAddressGroupID))
	case *model.RBACPolicy:
		return own(network(o.ObjectID), owner(state.SecurityGroups, r, o.ObjectID), owner(state.AddressGroups, r, o.ObjectID),
			owner(state.QoSPolicies, r, o.ObjectID), owner(state.AddressScopes, r, o.ObjectID), owner(state.SubnetPools, r, o.ObjectID))
	case *model.FloatingIP:
		return port(o.PortID) || own(owner(state.Routers, r, o.RouterID))
	case *model.PortForwarding:
		return own(owner(state.FloatingIPs, r, o.FloatingIPID)) || port(o.InternalPortID)
	case *model.ConntrackHelper:
		return own(owner(state.Routers, r, o.RouterID))
	case *model.NDPProxy:
		return own(owner(state.Routers, r, o.RouterID)) || port(o.PortID)
	case *model.QoSRule:
		return own(owner(state.QoSPolicies, r, o.PolicyID))
	case *model.LocalIPAssociation:
		return own(owner(state.LocalIPs, r, o.LocalIPID)) || port(o.PortID)
	case *model.FirewallGroup:
		return slices.ContainsFunc(o.PortIDs, port) // which leave it when they are deleted
	case *model.FirewallPolicy:
		return slices.ContainsFunc(o.RuleIDs, func(id string) bool { return own(owner(state.FirewallRules, r, id)) })
	case *model.Log:
		return own(owner(state.SecurityGroups, r, o.ResourceID)) || port(o.TargetID)
	}
	return false
}

// checkList holds what a member lists against what there is: all its own, and of others only what is shared.
func (s *isolation) checkList(token string, r *schema.Declaration) {
	s.t.Helper()
	if r.Attribute("project_id") == nil || r.Attribute("project_id").Is(schema.Hidden) {
		return
	}
	project := members[token]
	listed := func(token, query string) map[string]map[string]any {
		a := s.must(200, token, "GET", "/v2.0"+r.Path+query, "")
		all := map[string]map[string]any{}
		for _, o := range a.body[r.Plural].([]any) {
			obj := o.(map[string]any)
			id, _ := obj["id"].(string)
			if id == "" {
				id, _ = obj["network_id"].(string)
			}
			all[id] = obj
		}
		return all
	}
	mine, all := listed(token, ""), listed(admin, "?project_id="+project)
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if mine[id] == nil {
			// Some kinds are for administrators and managers only, whoever owns them.
			if s.do(token, "GET", "/v2.0"+r.Path+"/"+id, "").status == 200 {
				s.t.Errorf("%s %s of project %s can be seen, but is not in the list of %s", r.Name, id, project, token)
			}
		}
	}
	snapshot := s.server.store.Read()
	for _, id := range slices.Sorted(maps.Keys(mine)) {
		if mine[id]["project_id"] != project && !shared(snapshot, r, project, id) {
			s.t.Errorf("%s lists %s %s of project %v, which nobody shares with it", token, r.Name, id, mine[id]["project_id"])
		}
	}
}

// shared says whether an object of another project is there for this one, too.
func shared(r state.Reader, d *schema.Declaration, project, id string) bool {
	granted := func(ids ...string) bool {
		for p := range state.RBACPolicies.All(r) {
			if slices.Contains(ids, p.ObjectID) && (p.Target == project || p.Target == "*") {
				return true
			}
		}
		return false
	}
	switch d.Name {
	case "port":
		p, ok := state.Ports.Get(r, id)
		return ok && owner(state.Networks, r, p.NetworkID) == project
	case "subnet":
		sub, ok := state.Subnets.Get(r, id)
		return ok && (granted(sub.NetworkID) || owner(state.Networks, r, sub.NetworkID) == project)
	case "security_group_rule":
		rule, ok := state.SecurityGroupRules.Get(r, id)
		return ok && owner(state.SecurityGroups, r, rule.GroupID) == project
	case "network_ip_availability":
		return granted(id)
	case "metering_label":
		l, ok := state.MeteringLabels.Get(r, id)
		return ok && l.Shared
	case "firewall_group":
		g, ok := state.FirewallGroups.Get(r, id)
		return ok && g.Shared
	case "firewall_policy":
		p, ok := state.FirewallPolicies.Get(r, id)
		return ok && p.Shared
	case "firewall_rule":
		rule, ok := state.FirewallRules.Get(r, id)
		return ok && rule.Shared
	}
	return granted(id)
}

// compareHidden puts the id of an object that the member cannot see, and then one that does not exist, into every kind of
// call. The answers have to be the same.
func (s *isolation) compareHidden(token string, r *schema.Declaration) {
	s.t.Helper()
	hidden, path := s.id(r.Name), "/v2.0"+r.Path
	if s.do(token, "GET", path+"/"+hidden, "").status != 404 || s.do(admin, "GET", path+"/"+hidden, "").status != 200 {
		return
	}
	s.seen[r.Plural]++
	missing := uuid.NewString()
	ask := func(method, path, body string) {
		s.t.Helper()
		if strings.Contains(path+body, hidden) {
			return // drawn by chance, besides
		}
		with := func(id string) string {
			a := s.do(token, method, strings.ReplaceAll(path, "HIDDEN", id), strings.ReplaceAll(body, "HIDDEN", id))
			return fmt.Sprint(a.status, " ", strings.ReplaceAll(string(a.raw), id, "HIDDEN"))
		}
		if a, b := with(hidden), with(missing); a != b {
			s.t.Errorf("%s %s %s by %s: for a hidden object\n%s, for none\n%s", method, path, body, token, a, b)
		}
	}
	item := path + "/HIDDEN"
	ask("GET", item, "")
	ask("DELETE", item, "")
	ask("GET", path+"?id=HIDDEN", "")
	ask("GET", path+"?limit=1&marker=HIDDEN", "")
	if r.Operations&schema.CanUpdate != 0 {
		ask("PUT", item, string(encode(map[string]any{r.Name: s.attributes(r, schema.Update)})))
	}
	for _, a := range r.Actions {
		body := ""
		if a.Body != nil {
			body = string(s.actionBody(r, a))
		}
		ask(a.Method, s.fill(item+"/"+a.Name), body)
	}
	if r.Tagged {
		ask("GET", item+"/tags", "")
		ask("PUT", item+"/tags", `{"tags":["red"]}`)
		ask("DELETE", item+"/tags/red", "")
	}
	for _, child := range schema.All() {
		if child.Below == r.Path {
			ask("GET", item+child.Path, "")
			ask("POST", item+child.Path, string(encode(map[string]any{child.Name: s.attributes(child, schema.Create)})))
			ask("GET", item+child.Path+"/"+unusedID, "")
		}
	}
	s.askInBodies(r, hidden, ask)
}

// external says whether a subnet is of an external network.
func (s *isolation) external(subnet string) bool {
	r := s.server.store.Read()
	sub, ok := state.Subnets.Get(r, subnet)
	if !ok {
		return false
	}
	n, ok := state.Networks.Get(r, sub.NetworkID)
	return ok && n.External
}

// askInBodies puts the id where other resources name this one.
func (s *isolation) askInBodies(r *schema.Declaration, hidden string, ask func(method, path, body string)) {
	s.t.Helper()
	for _, other := range schema.All() {
		if other.Operations&schema.CanCreate == 0 || other.Below != "" {
			continue
		}
		for _, c := range other.Attributes {
			if other.Name == "floatingip" && c.Name == "subnet_id" && s.external(hidden) {
				continue // it may be named by all who use the network
			}
			if !c.Is(schema.Post) || c.Type != "string" || c.Format != "uuid" || refers(c.Name) != r.Name {
				continue
			}
			// The same request twice, but for the id: drawn from the same place.
			seed := s.Uint64()
			g := *s.generator
			g.Rand = rand.New(rand.NewPCG(seed, 2))
			body := g.attributes(other, schema.Create)
			body[c.Name] = "HIDDEN"
			delete(body, "name")
			ask("POST", "/v2.0"+other.Path, string(encode(map[string]any{other.Name: body})))
		}
	}
}
