package app

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/schema"
)

// generator makes requests from the declarations: mostly such as the API expects, with ids of objects that there are, and
// now and then with a value that nobody expects, or with bytes of the fuzzer.
type generator struct {
	*rand.Rand
	noise []byte
	wild  int // one value in so many is not as declared
	// ids are those of the objects that there may be, by the name of their resource; below, those of the objects that are
	// below a parent.
	ids   map[string][]string
	below map[string][]string
	// tagged is the path of an object whose tags were changed.
	tagged string
}

// unusedID is an id that no object has.
const unusedID = "00000000-0000-4000-8000-000000000000"

func newGenerator(seed uint64, noise []byte) *generator {
	return &generator{
		Rand: rand.New(rand.NewPCG(seed, 1)), noise: noise, wild: 40,
		ids: map[string][]string{}, below: map[string][]string{},
	}
}

func pick[V any](g *generator, list ...V) V { return list[g.IntN(len(list))] }

func (g *generator) one(in int) bool { return g.IntN(in) == 0 }

// id is the id of an object of the resource, most likely.
func (g *generator) id(name string) string {
	switch name {
	case "network_ip_availability":
		name = "network"
	case "external network": // the first of all
		if ids := g.ids["network"]; len(ids) > 0 && !g.one(10) {
			return ids[0]
		}
		name = "network"
	}
	name = strings.TrimPrefix(name, "alias_")
	if ids := g.ids[name]; len(ids) > 0 && !g.one(30) {
		if recent := ids[max(0, len(ids)-4):]; !g.one(3) { // more likely to be there still
			return pick(g, recent...)
		}
		return pick(g, ids...)
	}
	return unusedID
}

// referred are the resources that attributes name, where the name of the attribute does not end with it.
var referred = map[string]string{
	"remote_group_id": "security_group", "security_groups": "security_group", "service_profiles": "service_profile",
	"profile": "service_profile", "resource_id": "security_group", "floating_network_id": "external network",
	"object_id": "network", "target_id": "port", "qos_policy_id": "policy", "id": "service_profile",
	"firewall_rules": "firewall_rule", "insert_before": "firewall_rule", "insert_after": "firewall_rule", "ports": "port",
}

// refers finds the resource that an attribute names: internal_port_id is a port.
func refers(attribute string) string {
	if name, ok := referred[attribute]; ok {
		return name
	}
	stem, best := strings.TrimSuffix(attribute, "_id"), ""
	for _, r := range schema.All() {
		if strings.HasSuffix(stem, r.Name) && len(r.Name) > len(best) {
			best = r.Name
		}
	}
	return best
}

// words are values of attributes that are texts to the declaration, and more than that to the rules.
var words = map[string][]string{
	"binding:host_id": {"host1", "host2", "elsewhere", ""}, "host": {"host1", "host2", "elsewhere"},
	"device_owner":              {"", "compute:nova", "network:dhcp", "network:router_interface", "trunk:subport"},
	"provider:physical_network": {"physnet1", "physnet2"}, "physical_network": {"physnet1", "physnet2"},
	"provider:network_type": {"vxlan", "vlan", "flat", "local"}, "network_type": {"vxlan", "vlan", "flat", "local"},
	"segmentation_type": {"vlan", "inherit"}, "protocol": {"tcp", "udp", "icmp", "6", "any"},
	"object_type": {"network", "qos_policy", "security_group", "address_scope", "subnetpool", "address_group"},
	"action":      {"access_as_shared", "access_as_external"}, "target_tenant": {"a", "b", "ops", "*"},
	"project_id": {"a", "b", "ops"}, "tenant_id": {"a", "b", "ops"}, "project": {"a", "b", "ops", "c"},
	"name": {"n1", "n2", "ü€𝄞", "default"}, "description": {"", "d", "<b>&\"'\n"},
	"dns_name": {"", "web", "db.example."}, "dns_domain": {"", "example.org."}, "resource_type": {"security_group"},
	"service_types": {"compute:nova", "network:floatingip"}, "helper": {"ftp", "tftp"}, "opt_name": {"mtu", "66", "router"},
	"opt_value": {"1400", "10.0.0.9", "x"}, "availability_zone_hints": {"nova"}, "tag": {"red", "green"}, "tags": {"red", "green"},
	"driver":              {"neutron.services.l3_router.service_providers.ha.HaDriver"},
	"external_port_range": {"80:89", "443:443"}, "internal_port_range": {"80:89", "8443:8443"}, "type": {"bandwidth_limit", "dscp_marking"},
	"source_port": {"1024:65535", "53"}, "destination_port": {"80", "8000:8080"},
}

// member draws a value for an attribute or a member of an object.
func (g *generator) member(name string, s schema.Shape) any {
	if g.one(g.wild) {
		return g.anything(0)
	}
	if s.Nullable && g.one(6) {
		return nil
	}
	if len(s.Enum) > 0 {
		v := pick(g, s.Enum...)
		if s.Type == "integer" {
			return json.Number(v)
		}
		return v
	}
	if list := words[name]; len(list) > 0 && s.Type == "string" && s.Format == "" {
		return pick(g, list...)
	}
	switch s.Type {
	case "boolean":
		return g.one(2)
	case "integer":
		return g.integer(name, s)
	case "array":
		return g.array(name, s)
	case "object":
		return g.object(s.Members)
	}
	return g.text(name, s.Format)
}

func (g *generator) integer(name string, s schema.Shape) int {
	switch name {
	case "ip_version":
		return pick(g, 4, 4, 6)
	case "segmentation_id", "provider:segmentation_id":
		return pick(g, 100+g.IntN(100), 1+g.IntN(4000))
	case "prefixlen", "default_prefixlen", "min_prefixlen", "max_prefixlen":
		return pick(g, 8, 24, 24, 26, 32, 64)
	case "mtu":
		return pick(g, 0, 1400, 1500)
	}
	if s.Most > s.Least {
		return pick(g, s.Least, s.Most, s.Least+g.IntN(min(s.Most-s.Least, 100)))
	}
	return g.IntN(100)
}

func (g *generator) array(name string, s schema.Shape) []any {
	list := make([]any, pick(g, 0, 1, 1, 2, 3))
	for i := range list {
		if s.Items != nil {
			list[i] = g.member(name, *s.Items)
		} else {
			list[i] = g.anything(0)
		}
	}
	return list
}

func (g *generator) object(members []schema.Member) map[string]any {
	m := map[string]any{}
	for _, member := range members {
		if member.Required && !g.one(g.wild) || !member.Required && g.one(2) {
			m[member.Name] = g.member(member.Name, member.Shape)
		}
	}
	return m
}

func (g *generator) text(name, format string) string {
	net := g.IntN(4)
	v6 := g.one(5)
	switch format {
	case "uuid":
		return g.id(refers(name))
	case "ip":
		if v6 {
			return fmt.Sprintf("2001:db8:%d::%x", net, g.IntN(30))
		}
		return fmt.Sprintf("10.%d.0.%d", net, g.IntN(30))
	case "cidr":
		if v6 {
			return fmt.Sprintf("2001:db8:%d::/%d", net, pick(g, 64, 64, 56))
		}
		return fmt.Sprintf("10.%d.0.0/%d", net, pick(g, 24, 24, 24, 26, 16, 8))
	case "mac":
		return fmt.Sprintf("fa:16:3e:00:00:%02x", g.IntN(30))
	}
	if to := refers(name); to != "" && strings.HasSuffix(name, "_id") {
		return g.id(to)
	}
	return pick(g, "", "x", "10.0.0.5", g.nonsense())
}

// nonsense is a text that is rarely what is wanted.
func (g *generator) nonsense() string {
	if g.one(3) && len(g.noise) > 0 {
		i := g.IntN(len(g.noise))
		return string(g.noise[i : i+g.IntN(len(g.noise)-i)+1])
	}
	return pick(g, "", "::ffff:1.2.3.4", "fe80::1%eth0", "0.0.0.0/0", "::/0", "255.255.255.255", "true", "-1", "null", "x\ny", "\x00",
		"<b>&\"'", "ü€𝄞", "999999999999999999999999", "1e400", strings.Repeat("x", 300), "a,b,c", "%s%n", "../..", unusedID)
}

// anything is a JSON value.
func (g *generator) anything(depth int) any {
	switch n := g.IntN(8); {
	case n == 0:
		return nil
	case n == 1:
		return g.one(2)
	case n == 2:
		return pick(g, 0, -1, 5, 1<<31, 1<<53)
	case n == 3:
		return json.Number(pick(g, "1e5", "0.5", "-0", "99999999999999999999999"))
	case n == 4 && depth < 4:
		list := make([]any, g.IntN(4))
		for i := range list {
			list[i] = g.anything(depth + 1)
		}
		return list
	case n == 5 && depth < 4:
		m := map[string]any{}
		for range g.IntN(4) {
			m[pick(g, "id", "subnet_id", "ip_address", "start", g.nonsense())] = g.anything(depth + 1)
		}
		return m
	}
	return g.nonsense()
}

// attributes draws an object as a client would send it.
func (g *generator) attributes(r *schema.Declaration, op schema.Op) map[string]any {
	m := map[string]any{}
	body := r.Body(op)
	for _, c := range body.Members {
		chance := 5
		switch {
		case c.Required:
			chance = 1
		case op == schema.Update:
			chance = max(1, len(body.Members)/2)
		case c.Name == "project_id" || c.Name == "tenant_id" || strings.HasPrefix(c.Name, "provider:"):
			chance = 12
		}
		if !g.one(chance) || c.Required && g.one(g.wild) {
			continue
		}
		m[c.Name] = g.member(c.Name, c.Shape)
	}
	g.fit(r, m, op)
	if g.one(g.wild) {
		m[g.nonsense()] = g.anything(0)
	}
	return m
}

// fit makes values fit together that would otherwise hardly ever do.
func (g *generator) fit(r *schema.Declaration, m map[string]any, op schema.Op) {
	if g.one(8) || op == schema.Update {
		return
	}
	switch r.Name {
	case "subnet":
		m["ip_version"], m["cidr"] = 4, fmt.Sprintf("10.%d.%d.0/24", g.IntN(4), g.IntN(3))
		delete(m, "subnetpool_id")
		delete(m, "gateway_ip")
		delete(m, "allocation_pools")
		for _, name := range []string{"ipv6_ra_mode", "ipv6_address_mode", "segment_id", "use_default_subnetpool"} {
			if !g.one(4) {
				delete(m, name)
			}
		}
	case "port_forwarding":
		for _, end := range []string{"internal_port", "external_port"} {
			m[end] = 1 + g.IntN(1000)
			delete(m, end+"_range")
		}
		delete(m, "internal_ip_address")
	case "security_group_rule":
		for _, name := range []string{"port_range_min", "port_range_max", "remote_group_id", "remote_address_group_id", "remote_ip_prefix"} {
			if !g.one(3) {
				delete(m, name)
			}
		}
	case "subnetpool":
		m["prefixes"] = []any{fmt.Sprintf("10.%d.0.0/16", 10+g.IntN(50))}
		for _, name := range []string{"min_prefixlen", "max_prefixlen", "default_prefixlen", "address_scope_id"} {
			delete(m, name)
		}
	case "network_segment_range":
		low := 1 + g.IntN(15000)
		m["minimum"], m["maximum"], m["network_type"] = low, low+g.IntN(20), "vxlan"
		delete(m, "physical_network")
	case "rbac_policy":
		kind := pick(g, "network", "security_group", "address_scope", "subnetpool", "address_group", "policy")
		m["object_id"], m["object_type"] = g.id(kind), strings.Replace("x"+kind, "xpolicy", "qos_policy", 1)
		m["object_type"] = strings.TrimPrefix(m["object_type"].(string), "x")
		m["action"] = "access_as_shared"
	case "metering_label_rule":
		m["remote_ip_prefix"] = fmt.Sprintf("10.%d.%d.0/24", g.IntN(200), g.IntN(200))
		delete(m, "source_ip_prefix")
		delete(m, "destination_ip_prefix")
	case "local_ip":
		delete(m, "local_ip_address")
		if g.one(2) {
			delete(m, "local_port_id")
		} else {
			delete(m, "network_id")
		}
	case "flavor":
		m["service_type"] = "L3_ROUTER_NAT"
		delete(m, "service_profiles")
	case "service_profile":
		m["driver"] = words["driver"][0]
	case "ndp_proxy":
		delete(m, "ip_address")
		if routers := g.ids["router"]; len(routers) > 0 {
			m["router_id"] = routers[0]
		}
	case "floatingip":
		for _, name := range []string{"floating_ip_address", "subnet_id", "fixed_ip_address"} {
			if !g.one(5) {
				delete(m, name)
			}
		}
	case "router":
		if g.one(2) {
			m["external_gateway_info"] = map[string]any{"network_id": g.id("network")}
		}
		delete(m, "flavor_id")
	}
}

// call is a request, and what is to be learnt from its answer.
type call struct {
	token, method, path, query, ifMatch string
	body                                []byte
	resource                            *schema.Declaration // nil: none
	parent                              string
}

func (c *call) request() *http.Request {
	r := httptest.NewRequest(c.method, "/", strings.NewReader(string(c.body)))
	if len(c.body) == 0 {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	r.URL.RawPath = c.path
	if path, err := url.PathUnescape(c.path); err == nil {
		r.URL.Path = path
	}
	r.URL.RawQuery = c.query
	r.Header.Set("X-Auth-Token", c.token)
	if c.ifMatch != "" {
		r.Header.Set("If-Match", c.ifMatch)
	}
	return r
}

// call draws a request of any kind. focus are the resources that most requests are about.
func (g *generator) call(focus []*schema.Declaration) *call {
	c := &call{token: pick(g, admin, admin, admin, admin, admin, alice, alice, bob, manager, reader, service, nobody, "")}
	if g.one(25) {
		g.aside(c)
	} else {
		g.of(c, pick(g, focus...))
	}
	if g.one(15) {
		c.ifMatch = pick(g, "revision_number=1", `"revision_number=2"`, g.nonsense())
	}
	if g.one(100) {
		c.body = []byte(g.nonsense())
	}
	if g.one(100) && len(c.body) > 0 {
		c.body[g.IntN(len(c.body))] ^= byte(1 + g.IntN(255))
	}
	if g.one(200) {
		c.method = pick(g, "PATCH", "HEAD", "OPTIONS", "DELETE", "PUT", "POST")
	}
	return c
}

// aside is a request that concerns no collection.
func (g *generator) aside(c *call) {
	r := pick(g, append(schema.Requests(), schema.Request{Method: "GET", Path: "/extensions"},
		schema.Request{Method: "GET", Path: "/extensions/{alias}"})...)
	c.method, c.path = r.Method, g.fill("/v2.0"+r.Path)
	if r.Body != nil {
		c.body = encode(map[string]any{"quota": map[string]any{
			pick(g, "network", "port", "router", "check_limit", g.nonsense()): g.member("", schema.Shape{Type: "integer", Least: -1, Most: 50}),
		}})
	}
}

// fill replaces the wildcards of a path.
func (g *generator) fill(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if name, ok := strings.CutPrefix(p, "{"); ok {
			parts[i] = url.PathEscape(g.wildcard(strings.TrimSuffix(name, "}"), path))
		}
	}
	return strings.Join(parts, "/")
}

// wildcard draws what stands for a wildcard of a path.
func (g *generator) wildcard(name, path string) string {
	switch {
	case g.one(g.wild):
		return g.nonsense()
	case name == "served" && strings.Contains(path, "l3-routers"):
		return g.id("router")
	case name == "served":
		return g.id("network")
	case name == "profile":
		return g.id("service_profile")
	case name == "alias":
		return pick(g, schema.Extensions...).Alias
	}
	return pick(g, words[name]...)
}

// of is a request for a resource.
func (g *generator) of(c *call, r *schema.Declaration) {
	c.resource = r
	c.path = "/v2.0" + r.Collection()
	id := g.id(r.Name)
	if r.Below != "" {
		c.parent = g.id(parentOf(r).Name)
		if known := g.below[c.parent+r.Path]; len(known) > 0 {
			id = pick(g, known...)
		}
		c.path = strings.Replace(c.path, "{parent}", c.parent, 1)
	}
	item := c.path + "/" + url.PathEscape(id)
	what := g.IntN(20)
	switch {
	case what < 8 && r.Operations&schema.CanCreate != 0:
		c.method = http.MethodPost
		c.body = g.creation(r)
	case what < 11 && r.Operations&schema.CanUpdate != 0:
		c.method, c.path = http.MethodPut, item
		c.body = encode(map[string]any{r.Name: g.attributes(r, schema.Update)})
	case what == 11 && r.Operations&schema.CanDelete != 0:
		c.method, c.path = http.MethodDelete, item
	case what < 15 && len(r.Actions) > 0:
		a := pick(g, r.Actions...)
		if strings.HasPrefix(a.Name, "bindings") && !g.one(8) { // Nova's: of the ports of servers, which come first
			c.token, item = service, c.path+"/"+pick(g, g.ids["port"][:4]...)
		}
		c.method, c.path = a.Method, g.fill(item+"/"+a.Name)
		if a.Body != nil {
			c.body = g.actionBody(r, a)
		}
	case what < 17 && r.Tagged:
		g.tags(c, item)
	case what < 18 && !r.ListOnly:
		c.method, c.path = http.MethodGet, item
		c.query = pick(g, "", "fields=id", "fields="+url.QueryEscape(g.nonsense()))
	default:
		c.method, c.query = http.MethodGet, g.query(r)
	}
}

func (g *generator) creation(r *schema.Declaration) []byte {
	if r.Operations&schema.CanBulk != 0 && g.one(8) {
		list := make([]any, g.IntN(4))
		for i := range list {
			list[i] = g.attributes(r, schema.Create)
		}
		return encode(map[string]any{r.Plural: list})
	}
	return encode(map[string]any{r.Name: g.attributes(r, schema.Create)})
}

func (g *generator) actionBody(r *schema.Declaration, a schema.Action) []byte {
	var v any = g.object(a.Body.Members)
	if m, ok := v.(map[string]any); ok && strings.HasSuffix(a.Name, "router_interface") && len(m) == 2 && !g.one(4) {
		delete(m, pick(g, "port_id", "subnet_id"))
	}
	if a.Wrapped {
		v = map[string]any{r.Name: v}
	}
	return encode(v)
}

func (g *generator) tags(c *call, item string) {
	if g.tagged != "" && !g.one(3) {
		item = g.tagged
	}
	g.tagged = item
	c.path = item + "/tags"
	c.method = pick(g, "GET", "PUT", "POST", "DELETE")
	if c.method == "PUT" || c.method == "POST" {
		c.body = encode(map[string]any{"tags": g.member("tags", schema.Shape{Type: "array", Items: &schema.Shape{Type: "string"}})})
	}
	if g.one(2) && c.method != "POST" {
		c.path, c.body = g.fill(item+"/tags/{tag}"), nil
	}
}

// query draws filters, sorting and paging.
func (g *generator) query(r *schema.Declaration) string {
	var parts []string
	add := func(key string, value any) {
		parts = append(parts, url.QueryEscape(key)+"="+url.QueryEscape(fmt.Sprint(value)))
	}
	for range g.IntN(4) {
		c := pick(g, r.Attributes...)
		switch g.IntN(7) {
		case 0:
			add("sort_key", c.Name)
			add("sort_dir", pick(g, "asc", "desc", "asc", g.nonsense()))
		case 1:
			add("limit", pick(g, "1", "2", "0", g.nonsense()))
			if g.one(2) {
				add("marker", g.id(r.Name))
				add("page_reverse", pick(g, "true", "false", g.nonsense()))
			}
		case 2:
			add("fields", c.Name)
		case 3:
			if len(r.Virtual) > 0 {
				add(pick(g, r.Virtual...), pick(g, "red", "ip_address=10.0.0.5", "subnet_id="+g.id("subnet"), "4", g.nonsense()))
			}
		case 4:
			parts = append(parts, g.nonsense()+"="+g.nonsense())
		default:
			add(c.Name, g.member(c.Name, c.Shape))
		}
	}
	return strings.Join(parts, "&")
}

func parentOf(r *schema.Declaration) *schema.Declaration {
	all := schema.All()
	return all[slices.IndexFunc(all, func(p *schema.Declaration) bool { return p.Path == r.Below && p.Below == "" })]
}

// encode writes JSON; a value that has none becomes nothing.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}
