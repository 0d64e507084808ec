package rest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// generator makes requests that are almost right: names from the declarations, values of any kind, with bytes of the
// fuzzer in between.
type generator struct {
	*rand.Rand
	noise []byte
	ids   map[string][]string // by plural
	put   bool                // the body is of a PUT
}

// known is what the generator knows of a resource.
type known struct {
	name, plural string
	attributes   []string
	required     string
}

func resources() []known {
	names := func(list []*schema.Common) (out []string) {
		for _, c := range list {
			out = append(out, c.Name)
		}
		return out
	}
	return []known{
		{"network", "networks", names(commons(schema.Network.Attributes)), ""},
		{"subnet", "subnets", names(commons(schema.Subnet.Attributes)), "network_id"},
		{"port", "ports", names(commons(schema.Port.Attributes)), "network_id"},
		{"agent", "agents", names(commons(schema.Agent.Attributes)), ""},
	}
}

func commons[T any](attributes []*schema.Attribute[T]) (out []*schema.Common) {
	for _, a := range attributes {
		out = append(out, &a.Common)
	}
	return out
}

func pick[V any](g *generator, list ...V) V { return list[g.IntN(len(list))] }

func (g *generator) text() string {
	if g.IntN(4) == 0 && len(g.noise) > 0 {
		i := g.IntN(len(g.noise))
		return string(g.noise[i : i+g.IntN(len(g.noise)-i)+1])
	}
	return pick(g, "", "a", "10.0.0.1", "10.0.0.0/24", "fd00::/64", "::ffff:1.2.3.4", "fe80::1%eth0", "fa:16:3e:00:00:01",
		"true", "0", "-1", "null", "x\ny", "\x00", "<b>&\"'", "ü€𝄞", "network:dhcp", "vxlan", "ACTIVE", "ip_address=10.0.0.1",
		"2026-01-01T00:00:00Z", "999999999999999999999999", "1e400", strings.Repeat("x", 256), "a,b,c", unusedID, g.id("networks"))
}

// id is the id of an object, most likely of the collection.
func (g *generator) id(plural string) string {
	if g.IntN(8) == 0 {
		plural = pick(g, "networks", "subnets", "ports", "agents")
	}
	if ids := g.ids[plural]; len(ids) > 0 {
		return pick(g, ids...)
	}
	return unusedID
}

func (g *generator) value(depth int) any {
	switch g.IntN(9) {
	case 0:
		return nil
	case 1:
		return g.IntN(2) == 0
	case 2:
		return pick(g, 0, -1, 4, 6, 24, 1500, 1<<31, 1<<53)
	case 3:
		return json.Number(pick(g, "1e5", "0.5", "-0", "99999999999999999999999"))
	case 4:
		if depth > 3 {
			return nil
		}
		list := make([]any, g.IntN(4))
		for i := range list {
			list[i] = g.value(depth + 1)
		}
		return list
	case 5:
		if depth > 3 {
			return nil
		}
		m := map[string]any{}
		for range g.IntN(4) {
			m[pick(g, "start", "end", "destination", "nexthop", "subnet_id", "ip_address", g.text())] = g.value(depth + 1)
		}
		return m
	case 6:
		return []any{map[string]any{"subnet_id": g.id("subnets")}, map[string]any{"ip_address": "10.0.0.5"}}
	}
	return g.text()
}

// sane is an object that has a good chance to be accepted.
func (g *generator) sane(r known) map[string]any {
	m := map[string]any{"name": pick(g, "a", "ü€𝄞", "<b>&\"'\n")}
	if g.put {
		return pick(g, m, map[string]any{"admin_state_up": g.IntN(2)}, map[string]any{"description": "x"})
	}
	switch r.name {
	case "network":
		if g.IntN(2) == 0 {
			m["provider:network_type"] = pick(g, "local", "flat", "vlan", "vxlan")
			m["provider:segmentation_id"] = g.IntN(5000)
			m["provider:physical_network"] = pick[any](g, nil, "physnet1")
		}
		m["mtu"] = pick(g, 0, 1400, 9000)
	case "subnet":
		cidr, version := fmt.Sprintf("10.%d.0.0/%d", g.IntN(4), g.IntN(33)), 4
		if g.IntN(3) == 0 {
			cidr, version = fmt.Sprintf("2001:db8:%d::/%d", g.IntN(4), g.IntN(129)), 6
			m["ipv6_address_mode"] = pick(g, "slaac", "dhcpv6-stateful")
		}
		m["cidr"], m["ip_version"], m["network_id"] = cidr, version, g.id("networks")
	case "port":
		m["network_id"] = g.id("networks")
		if g.IntN(2) == 0 {
			m["fixed_ips"] = []any{map[string]any{"subnet_id": g.id("subnets")},
				map[string]any{"ip_address": fmt.Sprintf("10.%d.0.%d", g.IntN(4), g.IntN(256))}}
		}
		m["binding:host_id"] = pick(g, "", "compute1", "compute2", g.text())
	}
	return m
}

func (g *generator) object(r known) map[string]any {
	if g.IntN(2) == 0 {
		return g.sane(r)
	}
	m := map[string]any{}
	for range g.IntN(5) {
		m[pick(g, r.attributes...)] = g.value(0)
	}
	if r.required != "" && g.IntN(4) > 0 {
		m[r.required] = g.id("networks")
	}
	if r.name == "subnet" && g.IntN(4) > 0 {
		m["ip_version"] = 4
	}
	if g.IntN(12) == 0 {
		m[g.text()] = g.value(0)
	}
	return m
}

func (g *generator) body(r known) string {
	var v any = map[string]any{r.name: g.object(r)}
	switch g.IntN(12) {
	case 0:
		return ""
	case 1:
		return string(g.noise)
	case 2:
		v = map[string]any{r.plural: []any{g.object(r), g.object(r), map[string]any{r.name: g.object(r)}}}
	case 3:
		v = map[string]any{pick(g, r.name, r.plural, "tags", g.text()): g.value(0)}
	case 4:
		v = map[string]any{"tags": []any{g.text(), g.text()}}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "{"
	}
	if g.IntN(12) == 0 && len(b) > 0 {
		b[g.IntN(len(b))] ^= byte(g.IntN(256))
	}
	return string(b)
}

func (g *generator) query(r known) string {
	if g.IntN(3) == 0 {
		return pick(g, "", "limit=2&marker="+g.id(r.plural), "fields=id&sort_key=id&sort_dir=desc", "name=a&limit=1&page_reverse=true")
	}
	var parts []string
	for range g.IntN(5) {
		key := pick(g, append([]string{"limit", "marker", "page_reverse", "sort_key", "sort_dir", "fields", "tags", "not-tags-any",
			"fixed_ips", g.text()}, r.attributes...)...)
		value := pick(g, g.text(), g.text(), pick(g, r.attributes...), pick(g, "asc", "desc", "1", "2", "true"))
		if g.IntN(8) == 0 {
			parts = append(parts, key+"="+value)
		} else {
			parts = append(parts, url.QueryEscape(key)+"="+url.QueryEscape(value))
		}
	}
	return strings.Join(parts, "&")
}

func (g *generator) request() *http.Request {
	r := pick(g, resources()...)
	method := pick(g, "GET", "GET", "POST", "POST", "POST", "PUT", "PUT", "DELETE", "PATCH")
	path := "/v2.0/" + r.plural
	if method != "POST" && g.IntN(4) > 0 || g.IntN(8) == 0 {
		path += "/" + g.id(r.plural)
		switch g.IntN(6) {
		case 0:
			path += "/tags"
		case 1:
			path += "/tags/" + url.PathEscape(g.text())
		case 2:
			path += "/" + url.PathEscape(g.text()) + pick(g, "", "/", ".json")
		}
	}
	g.put = method == "PUT"
	req := httptest.NewRequest(method, "/", strings.NewReader(g.body(r)))
	if method == "DELETE" && g.IntN(4) > 0 {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	req.URL.RawPath = path
	if unescaped, err := url.PathUnescape(path); err == nil {
		req.URL.Path = unescaped
	}
	req.URL.RawQuery = g.query(r)
	req.Header.Set("X-Auth-Token", pick(g, admin, admin, admin, alice, alice, bob, reader, service, nobody, ""))
	if g.IntN(8) == 0 {
		req.Header.Set("If-Match", pick(g, "revision_number=1", `"revision_number=2"`, g.text()))
	}
	return req
}

func ids[T any](table *state.Table[T], r state.Reader) (list []string) {
	for obj := range table.All(r) {
		list = append(list, meta(obj).ID)
	}
	return list
}

// try sends a request and checks what has to hold for every one of them.
func (f *fixture) try(seed uint64, noise []byte) {
	f.t.Helper()
	r := f.store.Read()
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), noise: noise, ids: map[string][]string{}}
	g.ids["networks"] = ids(state.Networks, r)
	g.ids["subnets"] = ids(state.Subnets, r)
	g.ids["ports"] = ids(state.Ports, r)
	g.ids["agents"] = ids(state.Agents, r)
	req := g.request()
	text := req.Method + " " + req.URL.String()
	res := f.send(req)
	f.answers[res.StatusCode/100]++
	switch {
	case res.StatusCode == 503 && res.errorType() == "NoNetworkAvailable":
		// there is no segment left: nobody's mistake
	case res.StatusCode >= 500:
		f.t.Errorf("seed %d: %s: status %d\n%s\n%s", seed, text, res.StatusCode, res.raw, f.logged)
	case res.StatusCode >= 400 && f.store.Read() != r:
		f.t.Errorf("seed %d: %s: status %d, but the state changed", seed, text, res.StatusCode)
	case res.StatusCode >= 400 && res.body["NeutronError"] == nil && res.body["error"] == nil:
		f.t.Errorf("seed %d: %s: status %d without a reason: %s", seed, text, res.StatusCode, res.raw)
	case res.StatusCode >= 300 && res.StatusCode < 400:
		f.t.Errorf("seed %d: %s: status %d", seed, text, res.StatusCode)
	case len(res.raw) > 8<<10 && res.StatusCode >= 400:
		f.t.Errorf("seed %d: %s: an error of %d bytes", seed, text, len(res.raw))
	}
}

// populated has some objects that requests may meet.
func populated(t testing.TB, rules ruleSet) *fixture {
	f := newFixtureWith(t, rules)
	f.make(admin, "networks", `{"shared":true,"project_id":"c"}`)
	for _, token := range []string{alice, bob} {
		n := id(f.make(token, "networks", `{}`))
		f.make(token, "ports", `{"network_id":"`+n+`"}`)
	}
	seedAgents(t, f.store)
	return f
}

// small says whether the state has not grown so much that requests become slow.
func (f *fixture) small() bool {
	r := f.store.Read()
	return state.Networks.Len(r)+state.Subnets.Len(r)+state.Ports.Len(r) < 100
}

func TestRandomRequestsAreAnswered(t *testing.T) {
	noise := []byte("\xff\x00{\"network\":[]}%2f../\u2028'\"\\")
	for name, rules := range map[string]ruleSet{"real": realRules(t), "simple": simpleRules()} {
		t.Run(name, func(t *testing.T) {
			f := populated(t, rules)
			good := 0
			for seed := range uint64(2000) {
				if !f.small() {
					good += f.answers[2]
					f = populated(t, rules)
				}
				if f.try(seed, noise); t.Failed() {
					return
				}
			}
			// Requests that are all refused would find little.
			if good += f.answers[2]; good < 150 {
				t.Errorf("only %d of 2000 requests were good ones", good)
			}
		})
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(uint64(1), []byte(`{"network":{"name":"x"}}`))
	f.Add(uint64(2), []byte("\xff\xfe\x00"))
	f.Add(uint64(3), []byte(`{"networks":[{"tags":[[[[[[[`))
	f.Add(uint64(4), []byte(strings.Repeat("a,", 300)))
	f.Fuzz(func(t *testing.T, seed uint64, noise []byte) { populated(t, realRules(t)).try(seed, noise) })
}
