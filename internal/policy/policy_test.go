package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/neutrino-net/neutrino/internal/auth"
)

// object is a Target made of a map.
type object map[string]string

func (o object) Field(name string) (string, bool) { v, ok := o[name]; return v, ok }

func mustNew(t testing.TB, overrides map[string]string) *Policy {
	t.Helper()
	p, err := New(Options{Overrides: overrides})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ask evaluates one rule text by both ways, which must agree.
func ask(t testing.TB, text string, c *auth.Caller, target Target) bool {
	t.Helper()
	p, _, err := compile(map[string]string{"it": text, "admin_only": "role:admin", "yes": "", "no": "!"})
	if err != nil {
		t.Fatalf("compile %q: %v", text, err)
	}
	direct, bound := p.Allowed(c, "it", target), p.Bind(c, "it").Allowed(target)
	if direct != bound {
		t.Fatalf("%q: Allowed says %v, Bind says %v", text, direct, bound)
	}
	return direct
}

func TestRuleLanguage(t *testing.T) {
	caller := &auth.Caller{UserID: "u1", UserName: "ann", ProjectID: "p1", ProjectName: "blue",
		Roles: []string{"member", "reader"}}
	own := object{"project_id": "p1", "network:project_id": "p2", "shared": "true", "device_owner": "network:dhcp",
		"user_id": "u1", "wanted": "MEMBER", "access": "shared", "router:external": "false"}
	for text, want := range map[string]bool{
		"":                                     true,
		"@":                                    true,
		"!":                                    false,
		"rule:yes":                             true,
		"rule:no":                              false,
		"role:member":                          true,
		"role:Member":                          true,
		"role:admin":                           false,
		"role:%(wanted)s":                      true,
		"role:%(absent)s":                      false,
		"project_id:%(project_id)s":            true,
		"tenant_id:%(tenant_id)s":              true,
		"project_id:%(network:tenant_id)s":     false,
		"user_id:%(user_id)s":                  true,
		"user_id:u1":                           true,
		"project_name:blue":                    true,
		"user_name:bob":                        false,
		"project_id:%(absent)s":                false,
		"project_id:p%(absent)s":               false,
		"system_scope:all":                     false,
		"'shared':%(access)s":                  true,
		`"shared":%(access)s`:                  true,
		"'a:b':a:b":                            true,
		"True:%(shared)s":                      true,
		"is_admin:True":                        false,
		"is_admin:False":                       true,
		"field:networks:shared=True":           true,
		"field:networks:router:external=True":  false,
		"field:networks:router:external=False": true,
		"field:port:device_owner=~^network:":   true,
		"field:port:device_owner=~dhcp":        false,
		"field:port:device_owner=~(network|nova):":      true,
		"field:port:device_owner=network:dhcp":          true,
		"field:port:absent=~.*":                         false,
		"not role:admin":                                true,
		"not not role:admin":                            false,
		"not role:admin and role:member":                true,
		"not (role:admin or role:member)":               false,
		"role:member or role:admin and role:admin":      true,
		"(role:member or role:admin) and role:admin":    false,
		"role:member OR role:admin":                     true,
		"(role:member and project_id:%(project_id)s)":   true,
		"((role:admin) or (project_id:%(project_id)s))": true,
		"not project_id:%(network:project_id)s":         true,
		" \t role:member \n ":                           true,
	} {
		if got := ask(t, text, caller, own); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

func TestMistakesNameRuleAndColumn(t *testing.T) {
	for text, want := range map[string]string{
		"role:a role:b":               "column 8: expected and, or, or the end",
		"role:a and":                  "column 11: expected a check",
		"or role:a":                   "column 1: expected a check",
		"role:a and (role:b":          "column 19: the parenthesis of column 12 is not closed",
		"role:a)":                     "column 7: expected and, or, or the end",
		"()":                          "column 2: expected a check",
		"role":                        "column 1: expected kind:match",
		":x":                          "column 1: expected kind:match",
		"'x:%(y)s":                    "column 1: expected kind:match",
		"role:a or rule:nowhere":      `column 11: there is no rule "nowhere"`,
		"not is_boss:True":            `column 5: the caller has no attribute "is_boss"`,
		"project_id:%(project_id)":    "column 1: expected %(field)s",
		"project_id:100%":             "column 1: expected %(field)s",
		"field:networks":              "column 1: expected field:resource:name=value",
		"field:port:device_owner=~[":  "column 1: regular expression",
		"field:port:a=~x)|(y":         "column 1: regular expression",
		"http://example.org/%(x)s":    "column 1: checks that ask another server",
		strings.Repeat("(", 40) + "@": "column 33: nested deeper",
		strings.Repeat("not ", 40):    "column 129: nested deeper",
		strings.Repeat("x", 5000):     "column 4097: a rule may not be longer",
		"rule:get_port":               "column 1: the rules refer to each other in a circle: get_port → get_port",
	} {
		_, err := New(Options{Overrides: map[string]string{"get_port": text}})
		if err == nil || !strings.Contains(err.Error(), `policy rule "get_port": `+want) {
			t.Errorf("%.40q: got error %v, want %q", text, err, want)
		}
		if err != nil && strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%.40q: one mistake makes more than one line:\n%v", text, err)
		}
	}
}

func TestEveryMistakeIsReportedOnce(t *testing.T) {
	_, err := New(Options{Overrides: map[string]string{
		"context_is_admin": "rule:gone", // on which nearly everything depends
		"get_network":      "role:",
		"get_port":         "rule:get_subnet",
		"get_subnet":       "rule:get_port",
		"delete_port":      "and",
	}})
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 {
		t.Errorf("got %d lines, want 3 (context_is_admin, delete_port, the circle):\n%v", len(lines), err)
	}
}

func TestReferencesCannotMultiplyWithoutBound(t *testing.T) {
	overrides := map[string]string{"get_port": "rule:x0"}
	for i := range 40 {
		overrides[fmt.Sprintf("x%d", i)] = fmt.Sprintf("rule:x%d and rule:x%d", i+1, i+1)
	}
	overrides["x40"] = "@"
	if _, err := New(Options{Overrides: overrides}); err == nil || !strings.Contains(err.Error(), "more than 4096 checks") {
		t.Errorf("got %v", err)
	}
}

func TestMisspeltOverrideIsRefused(t *testing.T) {
	_, err := New(Options{Overrides: map[string]string{"get_netwrok": "!"}})
	if err == nil || !strings.Contains(err.Error(), `policy rule "get_netwrok": neither an action`) {
		t.Errorf("got %v", err)
	}
	p := mustNew(t, map[string]string{"get_network": "rule:auditor", "auditor": "role:auditor"})
	if !p.Allowed(&auth.Caller{Roles: []string{"auditor"}}, "get_network", object{}) {
		t.Error("the override's own building block is not used")
	}
}

// TestUnknownActionDenies is the regression test for the mistake of CVE-2026-49299, where a controller asked for names
// that did not exist and fell to a permissive default.
func TestUnknownActionDenies(t *testing.T) {
	p := mustNew(t, nil)
	for _, action := range []string{"get_networks_tags", "", "admin", "create_port:no_such"} {
		if p.Known(action) {
			t.Errorf("%q is known", action)
		}
		if p.Allowed(auth.System, action, object{"project_id": "p"}) {
			t.Errorf("%q is allowed", action)
		}
		if c := p.Bind(auth.System, action); c.Decide() != Never || c.Allowed(object{}) {
			t.Errorf("%q: bound check does not deny", action)
		}
	}
	if p.Allowed(nil, "get_availability_zone", nil) || p.Bind(nil, "get_network").Decide() != Never {
		t.Error("nobody may do something")
	}
}

func TestTokenWithoutProjectOwnsNothing(t *testing.T) {
	p := mustNew(t, nil)
	c := &auth.Caller{UserID: "u", Roles: []string{"member", "reader"}}
	if p.Allowed(c, "get_network", object{"project_id": ""}) {
		t.Error("an object without owner belongs to a caller without project")
	}
}

func TestDefaultsAreComplete(t *testing.T) {
	p := mustNew(t, nil)
	if got := len(p.rules); got < 365 {
		t.Errorf("%d default rules, want at least the 365 of the networking API", got)
	}
	// One of each family, and one of each depth of attribute.
	for _, action := range []string{
		"create_network", "create_network:provider:segmentation_id", "get_subnet", "create_port:fixed_ips:ip_address",
		"get_agent", "get_availability_zone", "update_quota", "create_segment", "create_rbac_policy", "add_router_interface",
		"create_security_group_rule", "create_floatingip", "add_subports", "create_policy", "get_subnetpool", "create_log",
		"update_network:tags", "create_segments_tags", "create_dhcp-network", "create_l3-router",
	} {
		if !p.Known(action) {
			t.Errorf("no rule for %s", action)
		}
	}
}

// TestPersonas is the table of who may do what. Each letter is one who may: the persons are listed with the callers.
func TestPersonas(t *testing.T) {
	p := mustNew(t, nil)
	callers := map[rune]*auth.Caller{
		'A': {ProjectID: "elsewhere", Roles: []string{"admin", "manager", "member", "reader"}},
		'S': {ProjectID: "services", Roles: []string{"service"}},
		'M': {ProjectID: "own", Roles: []string{"manager", "member", "reader"}},
		'm': {ProjectID: "own", Roles: []string{"member", "reader"}},
		'r': {ProjectID: "own", Roles: []string{"reader"}},
		'X': {ProjectID: "other", Roles: []string{"manager", "member", "reader"}},
		'x': {ProjectID: "other", Roles: []string{"member", "reader"}},
		'y': {ProjectID: "other", Roles: []string{"reader"}},
		'-': {ProjectID: "own"},
	}
	network := object{"project_id": "own", "shared": "false", "router:external": "false"}
	sharedNetwork := object{"project_id": "own", "shared": "true"}
	externalNetwork := object{"project_id": "own", "shared": "false", "router:external": "true"}
	subnet := object{"project_id": "own", "network:project_id": "own", "network:shared": "false"}
	sharedSubnet := object{"project_id": "own", "network:project_id": "own", "network:shared": "true"}
	port := object{"project_id": "own", "network:project_id": "own", "network:shared": "false", "device_owner": "compute:nova"}
	guestPort := object{"project_id": "other", "network:project_id": "own", "network:shared": "true"}
	guestDHCPPort := object{"project_id": "other", "network:project_id": "own", "network:shared": "true",
		"device_owner": "network:dhcp"}
	foreignNetPort := object{"project_id": "own", "network:project_id": "elsewhere", "network:shared": "false"}
	for _, row := range []struct {
		action string
		target object
		who    string
	}{
		{"create_network", network, "AMm"},
		{"create_network:shared", network, "A"},
		{"create_network:provider:network_type", network, "A"},
		{"create_network:port_security_enabled", network, "AMm"},
		{"get_network", network, "ASMmr"},
		{"get_network", sharedNetwork, "ASMmrXxy-"},
		{"get_network", externalNetwork, "ASMmrXxy-"},
		{"get_network:provider:segmentation_id", sharedNetwork, "A"},
		{"update_network", sharedNetwork, "AMm"},
		{"update_network:router:external", network, "A"},
		{"delete_network", externalNetwork, "AMm"},
		{"update_network:tags", network, "AMm"},
		{"create_subnet", subnet, "AMm"},
		{"create_subnet", sharedSubnet, "AMm"},
		{"get_subnet", subnet, "ASMmr"},
		{"get_subnet", sharedSubnet, "ASMmrXxy-"},
		{"update_subnet", sharedSubnet, "AMm"},
		{"update_subnet:service_types", subnet, "A"},
		{"delete_subnet", subnet, "AMm"},
		{"create_port", port, "ASMm"},
		{"create_port", guestPort, "ASMmrXxy-"}, // as upstream: on shared networks the role does not matter
		{"create_port", foreignNetPort, "AS"},
		{"create_port:mac_address", guestPort, "ASMm"},
		{"create_port:device_owner", guestPort, "ASMmrXxy-"},
		{"create_port:device_owner", guestDHCPPort, "ASMm"},
		{"create_port:binding:host_id", port, "AS"},
		{"create_port:binding:profile", port, "S"},
		{"create_port:port_security_enabled", guestPort, "ASMm"},
		{"create_port:allowed_address_pairs", foreignNetPort, "AS"},
		{"get_port", port, "ASMmr"},
		{"get_port", guestPort, "ASMmrXxy"},
		{"get_port:binding:host_id", port, "AS"},
		{"update_port", port, "ASMm"},
		{"update_port", guestPort, "ASXx"},
		{"update_port:mac_address", port, "ASM"},
		{"update_port:device_owner", guestDHCPPort, "ASMm"},
		{"update_port:fixed_ips", foreignNetPort, "AS"},
		{"delete_port", guestPort, "ASMmXx"},
		{"get_agent", object{}, "A"},
		{"get_availability_zone", object{}, "AMmrXxy"},
		{"get_quota", object{"project_id": "own"}, "AM"},
		{"update_quota", object{"project_id": "own"}, "A"},
	} {
		for letter, caller := range callers {
			want := strings.ContainsRune(row.who, letter)
			if got := p.Allowed(caller, row.action, row.target); got != want {
				t.Errorf("%s %v for %c: got %v, want %v", row.action, row.target, letter, got, want)
			}
			if got := p.Bind(caller, row.action).Allowed(row.target); got != want {
				t.Errorf("%s %v for %c: bound check got %v, want %v", row.action, row.target, letter, got, want)
			}
		}
	}
}

// TestForeignManagerCannotClaimNetworkDevices is the regression test for CVE-2026-50266 and CVE-2015-5240: a tenant on
// somebody else's shared network may not make a port that is trusted for its device_owner.
func TestForeignManagerCannotClaimNetworkDevices(t *testing.T) {
	p := mustNew(t, nil)
	manager := &auth.Caller{ProjectID: "other", Roles: []string{"manager", "member", "reader"}}
	port := object{"project_id": "other", "network:project_id": "own", "network:shared": "true",
		"device_owner": "network:router_interface"}
	for _, action := range []string{"create_port:device_owner", "update_port:device_owner"} {
		if p.Allowed(manager, action, port) {
			t.Errorf("%s is allowed", action)
		}
	}
}

func TestBindDecidesWhatDoesNotDependOnTheObject(t *testing.T) {
	p := mustNew(t, nil)
	reader := &auth.Caller{ProjectID: "p", Roles: []string{"reader"}}
	for _, row := range []struct {
		caller *auth.Caller
		action string
		want   Decision
	}{
		{auth.System, "get_port", Always},
		{auth.System, "get_network:provider:segmentation_id", Always},
		{reader, "get_port", Depends},
		{reader, "get_port:binding:host_id", Never},
		{reader, "get_agent", Never},
		{reader, "get_availability_zone", Always},
	} {
		if got := p.Bind(row.caller, row.action).Decide(); got != row.want {
			t.Errorf("%s: got %v, want %v", row.action, got, row.want)
		}
	}
}

// TestBindAgreesWithAllowed compares the two ways of asking on random rules, callers and objects.
func TestBindAgreesWithAllowed(t *testing.T) {
	atoms := rapid.SampledFrom([]string{"@", "!", "role:admin", "role:member", "project_id:%(project_id)s", "rule:admin_only",
		"user_id:u", "field:networks:shared=True", "field:port:device_owner=~^n", "'x':%(y)s", "role:%(y)s", "user_id:u%(y)s"})
	var rule func(depth int) *rapid.Generator[string]
	rule = func(depth int) *rapid.Generator[string] {
		if depth == 0 {
			return atoms
		}
		return rapid.Custom(func(t *rapid.T) string {
			a, b := rule(depth-1).Draw(t, "a"), rule(depth-1).Draw(t, "b")
			return rapid.SampledFrom([]string{a, "not (" + a + ")", "(" + a + ") and (" + b + ")", "(" + a + ") or (" + b + ")",
				a + " or " + b, a + " and " + b}).Draw(t, "shape")
		})
	}
	value := rapid.SampledFrom([]string{"", "p", "u", "x", "true", "member", "network:dhcp"})
	rapid.Check(t, func(rt *rapid.T) {
		caller := &auth.Caller{UserID: value.Draw(rt, "user"), ProjectID: value.Draw(rt, "project"),
			Roles: rapid.SliceOfN(rapid.SampledFrom([]string{"admin", "member", "x"}), 0, 2).Draw(rt, "roles")}
		target := object(rapid.MapOfN(rapid.SampledFrom([]string{"project_id", "shared", "network:shared", "device_owner", "y"}),
			value, 0, 5).Draw(rt, "target"))
		ask(t, rule(3).Draw(rt, "rule"), caller, target)
	})
}

func TestAskingDoesNotAllocate(t *testing.T) {
	p := mustNew(t, nil)
	member := &auth.Caller{ProjectID: "p", Roles: []string{"member", "reader"}}
	var target Target = object{"project_id": "q", "network:project_id": "q", "device_owner": "compute:nova"}
	check := p.Bind(member, "get_port")
	if n := testing.AllocsPerRun(100, func() { check.Allowed(target) }); n != 0 {
		t.Errorf("Check.Allowed: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { p.Allowed(member, "update_port:device_owner", target) }); n != 0 {
		t.Errorf("Policy.Allowed: %v allocations", n)
	}
}

func TestLoadOverrides(t *testing.T) {
	for name, row := range map[string]struct{ file, want string }{
		"yaml":      {"get_network: role:auditor or rule:admin_only\ncreate_network: \"!\"\n", ""},
		"json":      {`{"get_network": "role:auditor or rule:admin_only", "create_network": "!"}`, ""},
		"missing":   {"get_network:\n", `rule "get_network": expected a text`},
		"number":    {"get_network: 7\n", `rule "get_network": expected a text`},
		"list":      {"- get_network\n", "expected a map"},
		"duplicate": {"get_network: \"!\"\nget_network: \"\"\n", "duplicate"},
		"nested":    {"get_network: [[\"role:x\"]]\n", `rule "get_network": expected a text`},
		"too large": {"# " + strings.Repeat("x", maxFileSize), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "policy.yaml")
			if err := os.WriteFile(path, []byte(row.file), 0o600); err != nil {
				t.Fatal(err)
			}
			rules, err := LoadOverrides(path)
			if row.want != "" {
				if err == nil || !strings.Contains(err.Error(), row.want) {
					t.Fatalf("got %v, want %q", err, row.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			p := mustNew(t, rules)
			auditor := &auth.Caller{Roles: []string{"auditor"}}
			if p.Allowed(auth.System, "create_network", nil) || !p.Allowed(auditor, "get_network", nil) {
				t.Error("the overrides are not in force")
			}
		})
	}
	if _, err := LoadOverrides(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("an absent file is accepted")
	}
}

// FuzzParse looks for texts that make the compiler panic or the two ways of asking disagree.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "@", "not (role:a or 'b':%(c)s)", "field:a:b=~^(x|y)", "role:a and (((",
		"%(x)s:%(y)s%(z)s", "'", "a:%(", "))(("} {
		f.Add(seed)
	}
	caller := &auth.Caller{UserID: "u", ProjectID: "p", Roles: []string{"member"}}
	target := object{"project_id": "p", "c": "b", "b": "xylophone"}
	f.Fuzz(func(t *testing.T, text string) {
		p, _, err := compile(map[string]string{"it": text})
		if err != nil {
			return
		}
		if p.Allowed(caller, "it", target) != p.Bind(caller, "it").Allowed(target) {
			t.Errorf("%q: Allowed and Bind disagree", text)
		}
		p.Allowed(caller, "it", nil)
	})
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		mustNew(b, nil)
	}
}

func BenchmarkAllowed(b *testing.B) {
	p := mustNew(b, nil)
	member := &auth.Caller{ProjectID: "p", Roles: []string{"member", "reader"}}
	var target Target = object{"project_id": "p", "network:project_id": "q"}
	for b.Loop() {
		p.Allowed(member, "get_port", target)
	}
}

// BenchmarkList is the cost of the rules when 10,000 ports are listed.
func BenchmarkList(b *testing.B) {
	p := mustNew(b, nil)
	for name, caller := range map[string]*auth.Caller{
		"admin":  auth.System,
		"member": {ProjectID: "p", Roles: []string{"member", "reader"}},
	} {
		b.Run(name, func(b *testing.B) {
			var target Target = object{"project_id": "p", "network:project_id": "q"}
			for b.Loop() {
				check := p.Bind(caller, "get_port")
				for range 10_000 {
					check.Allowed(target)
				}
			}
		})
	}
}
