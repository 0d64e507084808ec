package app

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	agentrules "github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/state"
)

// session is a sequence of random requests to an API that begins with a few objects.
type session struct {
	*whole
	*generator
	contract *contract
	focus    []*schema.Declaration
	covered  map[string]int // successes by operation
}

func newSession(t testing.TB, seed uint64, noise []byte) *session {
	w := newWhole(t)
	s := &session{whole: w, generator: newGenerator(seed, noise), covered: map[string]int{}}
	for i, host := range []string{"host1", "host2"} {
		said := agentrules.Hello{
			Roles:    []model.Role{model.RoleL2, model.RoleDHCP, model.RoleL3},
			TunnelIP: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), TunnelTypes: []string{"vxlan"},
			BridgeMappings: map[string]string{"physnet1": "eth1"}, StartedAt: time.Unix(1, 0),
		}
		if _, err := w.server.store.Update(t.Context(), func(tx *state.Tx) error {
			return w.server.hosts.agents.Connected(tx, host, said)
		}); err != nil {
			t.Fatal(err)
		}
	}
	s.focus = s.some()
	for agent := range state.Agents.All(w.server.store.Read()) {
		s.ids["agent"] = append(s.ids["agent"], agent.ID)
	}
	for _, c := range []struct{ token, path, body string }{
		{admin, "networks", `{"network":{"router:external":true,"name":"out"}}`},
		{admin, "networks", `{"network":{"shared":true}}`},
		{alice, "networks", `{"network":{}}`}, {bob, "networks", `{"network":{}}`},
		{alice, "security-groups", `{"security_group":{"name":"g"}}`},
		{admin, "qos/policies", `{"policy":{"name":"q"}}`},
	} {
		a := w.must(201, c.token, "POST", "/v2.0/"+c.path, c.body)
		for name, obj := range a.body {
			s.learn(name, obj.(map[string]any))
		}
	}
	for i, network := range s.ids["network"] {
		body := fmt.Sprintf(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.%d.0.0/24"}}`, network, i)
		s.learn("subnet", w.must(201, admin, "POST", "/v2.0/subnets", body).body["subnet"].(map[string]any))
		body = fmt.Sprintf(`{"port":{"network_id":%q,"binding:host_id":"host1","device_owner":"compute:nova"}}`, network)
		a := w.must(201, admin, "POST", "/v2.0/ports", body)
		s.learn("port", a.body["port"].(map[string]any))
	}
	body := fmt.Sprintf(`{"router":{"external_gateway_info":{"network_id":%q}}}`, s.ids["network"][0])
	router := w.must(201, alice, "POST", "/v2.0/routers", body).body["router"].(map[string]any)
	s.learn("router", router)
	w.must(200, alice, "PUT", fmt.Sprintf("/v2.0/routers/%s/add_router_interface", router["id"]),
		fmt.Sprintf(`{"subnet_id":%q}`, s.ids["subnet"][2]))
	return s
}

// some are a few resources that belong together, so that objects of one find those of the others.
func (s *session) some() []*schema.Declaration {
	all := schema.All()
	list := slices.Clone(all[:3]) // what others hang on
	for range 5 {
		r := pick(s.generator, all...)
		list = append(list, r, r)
		if r.Below != "" {
			list = append(list, parentOf(r))
		}
		for _, c := range r.Attributes {
			if c.Required && c.Format == "uuid" {
				list = append(list, named(all, refers(c.Name))...)
			}
		}
		if r.Name == "flavor" {
			list = append(list, named(all, "service_profile")...)
		}
		if rule, ok := strings.CutPrefix(r.Name, "alias_"); ok {
			list = append(list, named(all, rule)...)
		}
	}
	return list
}

func named(all []*schema.Declaration, name string) []*schema.Declaration {
	return slices.DeleteFunc(slices.Clone(all), func(r *schema.Declaration) bool { return r.Name != name })
}

func (s *session) learn(name string, obj map[string]any) {
	if id, ok := obj["id"].(string); ok && !slices.Contains(s.ids[name], id) {
		s.ids[name] = append(s.ids[name], id)
	}
}

// nobodysMistake are the errors with a status of 500 and more that are answers like others, as in Neutron: there is no
// segment left, what the operator offers is turned off, guarantees in use cannot be changed.
var nobodysMistake = []string{"NoNetworkAvailable", "FlavorDisabled", "ServiceProfileDisabled", "NotImplementedError"}

// step sends a request, and checks what has to hold for every one of them.
func (s *session) step() {
	s.t.Helper()
	c := s.call(s.focus)
	before := s.server.store.Read()
	a := s.send(c.request())
	text := fmt.Sprintf("%s %s?%s by %s\n%.600s", c.method, c.path, c.query, c.token, c.body)
	switch {
	case a.status >= 500 && !slices.Contains(nobodysMistake, a.errorType()):
		s.t.Errorf("%s\nstatus %d: %s\n%s", text, a.status, a.raw, s.logged)
	case a.status >= 400 && s.server.store.Read() != before:
		s.t.Errorf("%s\nstatus %d, but the state changed", text, a.status)
	case a.status >= 400 && c.method != "HEAD" && a.body["NeutronError"] == nil && a.body["error"] == nil:
		s.t.Errorf("%s\nstatus %d without a reason: %s", text, a.status, a.raw)
	case a.status >= 400 && len(a.raw) > 8<<10:
		s.t.Errorf("%s\nan error of %d bytes", text, len(a.raw))
	case a.status >= 300 && a.status < 400:
		s.t.Errorf("%s\nstatus %d", text, a.status)
	case c.method == "HEAD" || c.path != strings.ToValidUTF8(c.path, ""):
	default:
		if err := s.contract.check(c.method, c.path, a, s.covered); err != nil {
			s.t.Errorf("%s\nthe answer is not as promised: %v", text, err)
		}
	}
	if a.status == 201 && c.resource != nil {
		s.remember(c, a)
	}
}

// remember keeps the ids of what was made.
func (s *session) remember(c *call, a *answer) {
	r := c.resource
	made, _ := a.body[r.Plural].([]any)
	if one := a.body[r.Name]; one != nil {
		made = []any{one}
	}
	for _, m := range made {
		obj, ok := m.(map[string]any)
		if !ok {
			return
		}
		s.learn(r.Name, obj)
		id, _ := obj["id"].(string)
		if r.Name == "port_association" {
			id, _ = obj["fixed_port_id"].(string)
		}
		if r.Below != "" && id != "" {
			s.below[c.parent+r.Path] = append(s.below[c.parent+r.Path], id)
		}
	}
}

// All that is declared is asked for, in every way: nothing may fail by a mistake of the server, what fails may change
// nothing, and every answer is what the OpenAPI document says.
func TestRandomRequestsToEverything(t *testing.T) {
	noise := []byte("\xff\x00{\"network\":[]}%2f../\u2028'\"\\")
	promise := promised(newWhole(t))
	covered := map[string]int{}
	steps := 0
	sessions := uint64(60)
	if testing.Short() {
		sessions = 2
	}
	for seed := range sessions {
		s := newSession(t, seed, noise)
		s.contract, s.covered = promise, covered
		for range 700 { // about two for each operation there is
			steps++
			if s.step(); t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		s.server.store.Close()
	}
	var missed []string
	for _, op := range promise.operations {
		if covered[op.OperationID] == 0 {
			missed = append(missed, op.OperationID)
		}
	}
	slices.Sort(missed)
	t.Logf("%d requests; %d of %d operations have succeeded", steps, len(promise.operations)-len(missed), len(promise.operations))
	// Requests that are all refused would find little.
	if len(missed) > len(promise.operations)/10 && !testing.Short() {
		t.Errorf("operations that have never succeeded: %s", strings.Join(missed, " "))
	}
}

// FuzzEverything is the same with the bytes of the fuzzer in between, in short sessions.
func FuzzEverything(f *testing.F) {
	promise := promised(newWhole(f))
	f.Add(uint64(1), []byte(`{"network":{"name":"x"}}`))
	f.Add(uint64(2), []byte("\xff\xfe\x00"))
	f.Add(uint64(3), []byte(strings.Repeat("a,", 300)))
	f.Fuzz(func(t *testing.T, seed uint64, noise []byte) {
		s := newSession(t, seed, noise)
		s.contract, s.wild = promise, 15
		for range 100 {
			if s.step(); t.Failed() {
				return
			}
		}
	})
}
