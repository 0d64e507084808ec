package rest

import (
	"encoding/json"
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
	ids   []string
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
		"2026-01-01T00:00:00Z", "999999999999999999999999", "1e400", strings.Repeat("x", 256), "a,b,c", unusedID, g.id())
}

func (g *generator) id() string {
	if len(g.ids) == 0 || g.IntN(8) == 0 {
		return unusedID
	}
	return g.ids[g.IntN(len(g.ids))]
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
		return []any{map[string]any{"subnet_id": g.id()}, map[string]any{"ip_address": "10.0.0.5"}}
	}
	return g.text()
}

func (g *generator) object(r known) map[string]any {
	m := map[string]any{}
	for range g.IntN(5) {
		m[pick(g, r.attributes...)] = g.value(0)
	}
	if r.required != "" && g.IntN(4) > 0 {
		m[r.required] = g.id()
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
	path := "/v2.0/" + r.plural
	for range g.IntN(4) {
		path += "/" + pick(g, g.id(), g.id(), "tags", url.PathEscape(g.text()))
	}
	req := httptest.NewRequest(pick(g, "GET", "GET", "POST", "POST", "PUT", "DELETE", "PATCH"), "/", strings.NewReader(g.body(r)))
	if req.Method == "DELETE" && g.IntN(4) > 0 {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	req.URL.RawPath = path
	req.URL.Path, _ = url.PathUnescape(path)
	req.URL.RawQuery = g.query(r)
	req.Header.Set("X-Auth-Token", pick(g, admin, admin, alice, alice, bob, reader, service, nobody, ""))
	if g.IntN(6) == 0 {
		req.Header.Set("If-Match", pick(g, "revision_number=1", `"revision_number=2"`, g.text()))
	}
	return req
}

// try sends a request and checks what has to hold for every one of them.
func (f *fixture) try(seed uint64, noise []byte) {
	f.t.Helper()
	r := f.store.Read()
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), noise: noise}
	for n := range state.Networks.All(r) {
		g.ids = append(g.ids, n.ID)
	}
	for p := range state.Ports.All(r) {
		g.ids = append(g.ids, p.ID)
	}
	req := g.request()
	text := req.Method + " " + req.URL.String()
	res := f.send(req)
	switch {
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
func populated(t testing.TB) *fixture {
	f := newFixture(t)
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
	f := populated(t)
	noise := []byte("\xff\x00{\"network\":[]}%2f../\u2028'\"\\")
	for seed := range uint64(2000) {
		if !f.small() {
			f = populated(t)
		}
		if f.try(seed, noise); t.Failed() {
			return
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(uint64(1), []byte(`{"network":{"name":"x"}}`))
	f.Add(uint64(2), []byte("\xff\xfe\x00"))
	f.Add(uint64(3), []byte(`{"networks":[{"tags":[[[[[[[`))
	f.Add(uint64(4), []byte(strings.Repeat("a,", 300)))
	f.Fuzz(func(t *testing.T, seed uint64, noise []byte) { populated(t).try(seed, noise) })
}
