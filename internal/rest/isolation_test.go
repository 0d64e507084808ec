package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/addressgroup"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/service/secgroup"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Two projects and an administrator make random calls, with the ids of each other's objects in their hands. After each
// call nothing may have changed but what is the caller's own; what a project lists is exactly what is its own or shared
// with it; and an object that it may not know of is answered like one that does not exist, wherever its id is put.

// isolatedKind is a collection in the random calls. A family that arrives adds its own to isolatedKinds.
type isolatedKind struct {
	path, name, plural string
	ids                func(r state.Reader) []string
	// body draws the attributes of a new object. pick draws the id of an object of a collection, anybody's.
	body func(rnd *rand.Rand, pick func(path string) string) map[string]any
	// change draws the attributes of an update; nil: there is no update.
	change func(rnd *rand.Rand, pick func(path string) string) map[string]any
	// knows says whether the project may know of the object. The callers are members, no administrators.
	knows func(r state.Reader, project, id string) bool
}

func idsOf[T any](table *state.Table[T]) func(r state.Reader) []string {
	return func(r state.Reader) (ids []string) {
		for obj := range table.All(r) {
			ids = append(ids, meta(obj).ID)
		}
		return ids
	}
}

// ownOr says that a project knows of its own objects and of those for which more says so.
func ownOr[T any](table *state.Table[T], more func(r state.Reader, project string, obj *T) bool) func(state.Reader, string, string) bool {
	return func(r state.Reader, project, id string) bool {
		obj, ok := table.Get(r, id)
		return ok && (meta(obj).ProjectID == project || more != nil && more(r, project, obj))
	}
}

func sharedAs[T any](objectType string) func(state.Reader, string, *T) bool {
	return func(r state.Reader, project string, obj *T) bool {
		return rbac.Shared(r, objectType, meta(obj).ID, project)
	}
}

// ownsNetwork says whether the network is the project's own; usesNetwork, whether it is that or granted to it.
func ownsNetwork(r state.Reader, project, id string) bool {
	n, ok := state.Networks.Get(r, id)
	return ok && n.ProjectID == project
}

func usesNetwork(r state.Reader, project, id string) bool {
	return ownsNetwork(r, project, id) || rbac.Shared(r, "network", id, project) ||
		rbac.Granted(r, "network", id, model.AccessExternal, project)
}

func named(rnd *rand.Rand, _ func(string) string) map[string]any {
	return map[string]any{"name": fmt.Sprint("n", rnd.IntN(5))}
}

func isolatedKinds() []isolatedKind {
	return []isolatedKind{
		{
			path: "networks", name: "network", plural: "networks", ids: idsOf(state.Networks), body: named,
			change: func(rnd *rand.Rand, pick func(string) string) map[string]any {
				return []map[string]any{named(rnd, pick), {"shared": true}, {"router:external": true}, {"admin_state_up": false}}[rnd.IntN(4)]
			},
			knows: usesNetwork,
		},
		{
			path: "subnets", name: "subnet", plural: "subnets", ids: idsOf(state.Subnets), change: named,
			body: func(rnd *rand.Rand, pick func(string) string) map[string]any {
				return map[string]any{"network_id": pick("networks"), "ip_version": 4, "cidr": fmt.Sprintf("10.%d.0.0/24", rnd.IntN(250))}
			},
			knows: ownOr(state.Subnets, func(r state.Reader, project string, s *model.Subnet) bool {
				return ownsNetwork(r, project, s.NetworkID) || rbac.Shared(r, "network", s.NetworkID, project)
			}),
		},
		{
			path: "ports", name: "port", plural: "ports", ids: idsOf(state.Ports),
			body: func(rnd *rand.Rand, pick func(string) string) map[string]any {
				body := map[string]any{"network_id": pick("networks")}
				switch rnd.IntN(4) {
				case 0:
					body["security_groups"] = []string{pick("security-groups")}
				case 1:
					body["fixed_ips"] = []any{map[string]any{"subnet_id": pick("subnets")}}
				}
				return body
			},
			change: func(rnd *rand.Rand, pick func(string) string) map[string]any {
				return []map[string]any{named(rnd, pick), {"security_groups": []string{pick("security-groups")}},
					{"device_id": "vm"}, {"fixed_ips": []any{map[string]any{"subnet_id": pick("subnets")}}}}[rnd.IntN(4)]
			},
			knows: ownOr(state.Ports, func(r state.Reader, project string, p *model.Port) bool {
				return ownsNetwork(r, project, p.NetworkID)
			}),
		},
		{
			path: "security-groups", name: "security_group", plural: "security_groups", ids: idsOf(state.SecurityGroups),
			body: named, change: named, knows: ownOr(state.SecurityGroups, sharedAs[model.SecurityGroup]("security_group")),
		},
		{
			path: "address-groups", name: "address_group", plural: "address_groups", ids: idsOf(state.AddressGroups),
			body: named, change: named, knows: ownOr(state.AddressGroups, sharedAs[model.AddressGroup]("address_group")),
		},
		{
			path: "security-group-rules", name: "security_group_rule", plural: "security_group_rules",
			ids: idsOf(state.SecurityGroupRules),
			body: func(rnd *rand.Rand, pick func(string) string) map[string]any {
				body := map[string]any{"security_group_id": pick("security-groups"), "direction": "ingress"}
				switch rnd.IntN(3) {
				case 0:
					body["remote_group_id"] = pick("security-groups")
				case 1:
					body["remote_address_group_id"] = pick("address-groups")
				}
				return body
			},
			// A rule belongs to whom its group belongs, whoever made it.
			knows: func(r state.Reader, project, id string) bool {
				rule, ok := state.SecurityGroupRules.Get(r, id)
				if !ok {
					return false
				}
				g, ok := state.SecurityGroups.Get(r, rule.GroupID)
				return ok && g.ProjectID == project
			},
		},
		{
			path: "rbac-policies", name: "rbac_policy", plural: "rbac_policies", ids: idsOf(state.RBACPolicies),
			body: func(rnd *rand.Rand, pick func(string) string) map[string]any {
				path := []string{"networks", "security-groups", "address-groups"}[rnd.IntN(3)]
				return map[string]any{
					"object_type": strings.ReplaceAll(strings.TrimSuffix(path, "s"), "-", "_"), "object_id": pick(path),
					"action":        []string{"access_as_shared", "access_as_external"}[rnd.IntN(2)],
					"target_tenant": []string{"a", "b", "b", "*"}[rnd.IntN(4)],
				}
			},
			change: func(rnd *rand.Rand, _ func(string) string) map[string]any {
				return map[string]any{"target_tenant": []string{"a", "b", "*"}[rnd.IntN(3)]}
			},
			knows: ownOr(state.RBACPolicies, nil),
		},
	}
}

// operator is an administrator of a third project: what it makes is nobody's who takes part.
const operator = "operator"

func newIsolated(t *testing.T) *fixture {
	t.Helper()
	f := newFixtureWith(t, realRules(t), func(o *Options) {
		c := testCallers()
		c[operator] = &auth.Caller{UserID: "u9", ProjectID: "ops", Roles: []string{"admin", "manager", "member", "reader"}}
		o.Authenticator = c
	})
	err := errors.Join(
		Register(f.api, SecurityGroups(secgroup.NewGroups(nil))),
		Register(f.api, SecurityGroupRules(secgroup.GroupRules{})),
		Register(f.api, AddressGroups(addressgroup.Rules{})),
		Register(f.api, RBACPolicies(rbac.New(network.Sharing(), secgroup.Kind(), addressgroup.Kind()))),
	)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestProjectsAreIsolated(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 4
	}
	done := map[string]int{}
	for seed := range seeds {
		f := newIsolated(t)
		w := &isolation{fixture: f, rnd: rand.New(rand.NewPCG(seed, 7)), kinds: isolatedKinds(), done: done}
		_, w.feed = f.store.Feed()
		for step := range 150 {
			w.step()
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
	}
	for _, k := range isolatedKinds() {
		for _, what := range []string{"made", "hidden"} {
			if done[k.path+" "+what] == 0 {
				t.Errorf("no object of %s was %s: the calls prove nothing about them", k.path, what)
			}
		}
	}
}

// isolation is a run of random calls.
type isolation struct {
	*fixture
	rnd   *rand.Rand
	kinds []isolatedKind
	feed  *state.Cursor
	done  map[string]int
}

// projects are those of the callers who take part.
var projects = map[string]string{alice: "a", bob: "b"}

func (w *isolation) step() {
	token := []string{alice, bob, alice, bob, operator}[w.rnd.IntN(5)]
	k := w.kinds[w.rnd.IntN(len(w.kinds))]
	if token != operator {
		w.compareHidden(token, k)
	}
	var res *response
	switch what := w.rnd.IntN(10); {
	case what < 6:
		res = w.send1(token, "POST", k.path, k.name, k.body(w.rnd, w.pick))
		if res.StatusCode == http.StatusCreated {
			w.done[k.path+" made"]++
		}
	case what < 8 && k.change != nil:
		res = w.send1(token, "PUT", k.path+"/"+w.pick(k.path), k.name, k.change(w.rnd, w.pick))
	default:
		res = w.do(token, "DELETE", "/v2.0/"+k.path+"/"+w.pick(k.path), "")
	}
	if res.StatusCode >= 500 {
		w.t.Errorf("status %d: %s\n%s", res.StatusCode, res.raw, w.logged)
	}
	w.checkChanges(token)
	for _, token := range []string{alice, bob} {
		w.checkList(token, w.kinds[w.rnd.IntN(len(w.kinds))])
	}
}

// pick draws an id of the collection, anybody's, or one that does not exist.
func (w *isolation) pick(path string) string {
	i := slices.IndexFunc(w.kinds, func(k isolatedKind) bool { return k.path == path })
	ids := w.kinds[i].ids(w.store.Read())
	if len(ids) == 0 || w.rnd.IntN(20) == 0 {
		return uuid.NewString()
	}
	return ids[w.rnd.IntN(len(ids))]
}

func (w *isolation) send1(token, method, path, name string, attributes map[string]any) *response {
	body, err := json.Marshal(map[string]any{name: attributes})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.do(token, method, "/v2.0/"+path, string(body))
}

// checkChanges looks at what has changed since it was called last, by a call of this caller.
func (w *isolation) checkChanges(token string) {
	w.t.Helper()
	project := projects[token]
	for {
		select {
		case <-w.feed.Ready():
		default:
			return
		}
		commit, err := w.feed.Next(context.Background())
		if err != nil {
			w.t.Fatal(err)
		}
		for _, c := range commit.Changes {
			if project == "" || touched(c) { // an administrator may all
				continue
			}
			for _, side := range []any{c.Old, c.New} {
				if obj, ok := side.(model.Object); ok && obj.GetMeta().ProjectID != project &&
					!partOfOwn(commit.Before, project, side) && !partOfOwn(commit.Snapshot, project, side) {
					w.t.Errorf("a call of project %s has changed a %s of project %s: %+v → %+v",
						project, c.Kind, obj.GetMeta().ProjectID, c.Old, c.New)
				}
			}
		}
	}
}

// touched says whether nothing of the object has changed but its revision and which subnets it has: that comes of a part
// of it, whose owner may be another.
func touched(c state.Change) bool {
	switch before := c.Old.(type) {
	case *model.Network:
		if after, ok := c.New.(*model.Network); ok && before != nil && after != nil {
			b := before.Clone()
			b.SubnetIDs, b.RevisionNumber, b.UpdatedAt = after.SubnetIDs, after.RevisionNumber, after.UpdatedAt
			return reflect.DeepEqual(b, after.Clone())
		}
	case *model.SecurityGroup:
		if after, ok := c.New.(*model.SecurityGroup); ok && before != nil && after != nil {
			b := before.Clone()
			b.RevisionNumber, b.UpdatedAt = after.RevisionNumber, after.UpdatedAt
			return reflect.DeepEqual(b, after.Clone())
		}
	}
	return false
}

// partOfOwn says whether the object is a part of one of the project's own, whose owner may remove it.
func partOfOwn(r state.Reader, project string, obj any) bool {
	switch o := obj.(type) {
	case *model.Subnet:
		return ownsNetwork(r, project, o.NetworkID)
	case *model.Port:
		return ownsNetwork(r, project, o.NetworkID)
	case *model.SecurityGroupRule:
		// A rule goes with its group, and with the group that it names.
		for _, id := range []string{o.GroupID, o.RemoteGroupID} {
			if g, ok := state.SecurityGroups.Get(r, id); ok && g.ProjectID == project {
				return true
			}
		}
		return false
	case *model.RBACPolicy: // an administrator may have made it
		n, _ := state.Networks.Get(r, o.ObjectID)
		g, _ := state.SecurityGroups.Get(r, o.ObjectID)
		a, _ := state.AddressGroups.Get(r, o.ObjectID)
		return n != nil && n.ProjectID == project || g != nil && g.ProjectID == project || a != nil && a.ProjectID == project
	case *model.NetworkSegment:
		return ownsNetwork(r, project, o.NetworkID)
	}
	return false
}

// checkList compares what the caller lists with what it may know of.
func (w *isolation) checkList(token string, k isolatedKind) {
	w.t.Helper()
	res := w.must(200, token, "GET", "/v2.0/"+k.path+"?fields=id", "")
	w.checkChanges(token) // a list may make the caller's default group
	var got, want []string
	for _, o := range res.body[k.plural].([]any) {
		got = append(got, id(o.(map[string]any)))
	}
	r := w.store.Read()
	for _, id := range k.ids(r) {
		if k.knows(r, projects[token], id) {
			want = append(want, id)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.t.Errorf("project %s lists the %s %v, but may know of %v", projects[token], k.path, got, want)
	}
}

// compareHidden puts the id of an object that the caller may not know of, and then one that does not exist, into every
// kind of call. The answers have to be the same.
func (w *isolation) compareHidden(token string, k isolatedKind) {
	w.t.Helper()
	r := w.store.Read()
	hidden := w.pick(k.path)
	if !slices.Contains(k.ids(r), hidden) || k.knows(r, projects[token], hidden) {
		return
	}
	w.done[k.path+" hidden"]++
	missing := uuid.NewString()
	ask := func(method, path string, body string) {
		w.t.Helper()
		with := func(id string) string {
			res := w.do(token, method, strings.ReplaceAll(path, "ID", id), strings.ReplaceAll(body, "ID", id))
			return fmt.Sprint(res.StatusCode, " ", strings.ReplaceAll(string(res.raw), id, "ID"))
		}
		if a, b := with(hidden), with(missing); a != b {
			w.t.Errorf("%s %s %s by project %s: %s for a hidden object, %s for none", method, path, body, projects[token], a, b)
		}
	}
	one := "/v2.0/" + k.path + "/ID"
	ask("GET", one, "")
	ask("DELETE", one, "")
	ask("GET", "/v2.0/"+k.path+"?id=ID", "")
	ask("GET", "/v2.0/"+k.path+"?limit=1&marker=ID", "")
	ask("GET", one+"/tags", "")
	if k.change != nil {
		body, err := json.Marshal(map[string]any{k.name: k.change(w.rnd, func(string) string { return missing })})
		if err != nil {
			w.t.Fatal(err)
		}
		ask("PUT", one, string(body))
	}
	switch k.path {
	case "networks":
		ask("POST", "/v2.0/ports", `{"port":{"network_id":"ID"}}`)
		ask("POST", "/v2.0/subnets", `{"subnet":{"network_id":"ID","ip_version":4,"cidr":"10.9.0.0/24"}}`)
		ask("POST", "/v2.0/rbac-policies",
			`{"rbac_policy":{"object_type":"network","object_id":"ID","action":"access_as_shared","target_tenant":"b"}}`)
	case "security-groups":
		ask("POST", "/v2.0/security-group-rules", `{"security_group_rule":{"security_group_id":"ID","direction":"egress"}}`)
		ask("POST", "/v2.0/rbac-policies",
			`{"rbac_policy":{"object_type":"security_group","object_id":"ID","action":"access_as_shared","target_tenant":"b"}}`)
	}
	w.checkChanges(token)
}
