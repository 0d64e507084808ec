package rest

import (
	"slices"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/firewall"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/state"
)

// firewallDocs is what hosts are sent: the hosts of ports as they are bound, and one hash that tests change.
type firewallDocs struct{ hash uint64 }

func (d *firewallDocs) Hash(state.Reader, string, string) uint64 { return d.hash }

func (d *firewallDocs) FirewallHosts(r state.Reader, groupID string) (hosts, unplaced []string) {
	g, _ := state.FirewallGroups.Get(r, groupID)
	for _, id := range g.PortIDs {
		if p, _ := state.Ports.Get(r, id); p.Binding.Host != "" {
			hosts = append(hosts, p.Binding.Host)
		} else {
			unplaced = append(unplaced, id)
		}
	}
	return hosts, unplaced
}

const (
	fwGroups   = "/v2.0/fwaas/firewall_groups"
	fwPolicies = "/v2.0/fwaas/firewall_policies"
	fwRules    = "/v2.0/fwaas/firewall_rules"
)

func newFirewallFixture(t *testing.T) (*fixture, *firewallDocs) {
	t.Helper()
	rules := realRules(t)
	ports := port.New(port.Options{})
	ports.Follow(firewall.Guard{})
	rules.ports = ports
	f := newFixtureWith(t, rules, withManagers)
	docs := &firewallDocs{hash: 1}
	if err := RegisterFirewalls(f.api, docs); err != nil {
		t.Fatal(err)
	}
	return f, docs
}

func (f *fixture) rule(who, attributes string) map[string]any {
	f.t.Helper()
	return f.post(who, "fwaas/firewall_rules", "firewall_rule", "{"+attributes+"}")
}

func (f *fixture) policy(who, attributes string) map[string]any {
	f.t.Helper()
	return f.post(who, "fwaas/firewall_policies", "firewall_policy", "{"+attributes+"}")
}

func TestFirewallRulesAreChecked(t *testing.T) {
	f, _ := newFirewallFixture(t)
	rule := f.rule(alice, `"name":"web","protocol":"TCP","source_ip_address":"10.0.0.1/24","destination_ip_address":"10.0.0.7",
		"source_port":"1024:65535","destination_port":80,"action":"ALLOW"`)
	for name, want := range map[string]any{
		"protocol": "tcp", "source_ip_address": "10.0.0.1/24", "destination_ip_address": "10.0.0.7", "source_port": "1024:65535",
		"destination_port": "80", "action": "allow", "enabled": true, "shared": false, "firewall_policy_id": nil, "project_id": "a",
		"ip_version": float64(4),
	} {
		if rule[name] != want {
			t.Errorf("%s is %v, want %v", name, rule[name], want)
		}
	}
	if any := f.rule(alice, `"protocol":"any"`); any["protocol"] != nil || any["action"] != "deny" || any["source_port"] != nil {
		t.Errorf("a rule about everything is %v", any)
	}
	for attributes, typ := range map[string]string{
		`"protocol":"tpc"`: "FirewallRuleInvalidProtocol",
		`"protocol":256`:   "FirewallRuleInvalidProtocol",
		`"protocol":"icmp","destination_port":"80"`:         "FirewallRuleInvalidICMPParameter",
		`"destination_port":"80"`:                           "FirewallRuleWithPortWithoutProtocolInvalid",
		`"protocol":"tcp","destination_port":"90:80"`:       "HTTPBadRequest",
		`"protocol":"tcp","destination_port":"0"`:           "HTTPBadRequest",
		`"protocol":"tcp","source_port":"1:2:3"`:            "HTTPBadRequest",
		`"source_ip_address":"fd00::1"`:                     "FirewallIpAddressConflict",
		`"ip_version":6,"destination_ip_address":"1.2.3.4"`: "FirewallIpAddressConflict",
		`"source_ip_address":"10.0.0.300"`:                  "HTTPBadRequest",
		`"ip_version":5`:                                    "HTTPBadRequest",
		`"action":"forward"`:                                "HTTPBadRequest",
		`"position":1`:                                      "HTTPBadRequest",
	} {
		f.fails(400, typ, alice, "POST", fwRules, `{"firewall_rule":{`+attributes+`}}`)
	}
	f.fails(400, "FirewallRuleInvalidICMPParameter", alice, "PUT", fwRules+"/"+id(rule), `{"firewall_rule":{"protocol":"icmp"}}`)
	f.must(200, alice, "PUT", fwRules+"/"+id(rule),
		`{"firewall_rule":{"protocol":"icmp","source_port":null,"destination_port":null,"source_ip_address":null}}`)
}

func TestRulesOfAFirewallPolicyAreInOrder(t *testing.T) {
	f, _ := newFirewallFixture(t)
	var r []string
	for range 4 {
		r = append(r, id(f.rule(alice, `"action":"allow"`)))
	}
	p := f.policy(alice, `"name":"p","audited":true,"firewall_rules":["`+r[0]+`","`+r[1]+`"]`)
	path := fwPolicies + "/" + id(p)
	act := func(name, body string, want ...string) {
		t.Helper()
		got := f.must(200, alice, "PUT", path+"/"+name, body).body // bare: not below firewall_policy
		var rules []string
		list, _ := got["firewall_rules"].([]any)
		for _, v := range list {
			rules = append(rules, v.(string))
		}
		if !slices.Equal(rules, want) || got["audited"] != false {
			t.Errorf("%s %s: rules %v, audited %v; want %v", name, body, rules, got["audited"], want)
		}
		f.must(200, alice, "PUT", path, `{"firewall_policy":{"audited":true}}`)
	}
	act("insert_rule", `{"firewall_rule_id":"`+r[2]+`","insert_before":"`+r[1]+`"}`, r[0], r[2], r[1])
	act("insert_rule", `{"firewall_rule_id":"`+r[3]+`","insert_after":"`+r[1]+`","insert_before":""}`, r[0], r[2], r[1], r[3])
	act("remove_rule", `{"firewall_rule_id":"`+r[0]+`"}`, r[2], r[1], r[3])
	act("insert_rule", `{"firewall_rule_id":"`+r[0]+`"}`, r[0], r[2], r[1], r[3])

	f.fails(409, "FirewallRuleAlreadyAssociated", alice, "PUT", path+"/insert_rule", `{"firewall_rule_id":"`+r[0]+`"}`)
	f.fails(400, "FirewallRuleInfoMissing", alice, "PUT", path+"/insert_rule", `{}`)
	f.fails(404, "FirewallRuleNotFound", alice, "PUT", path+"/remove_rule", `{"firewall_rule_id":"x"}`)
	other := id(f.rule(alice, ``))
	f.fails(400, "FirewallRuleNotAssociatedWithPolicy", alice, "PUT", path+"/remove_rule", `{"firewall_rule_id":"`+other+`"}`)
	f.fails(400, "FirewallRuleNotAssociatedWithPolicy", alice, "PUT", path+"/insert_rule",
		`{"firewall_rule_id":"`+other+`","insert_after":"`+other+`"}`)
	theirs := id(f.rule(bob, ``))
	f.fails(404, "FirewallRuleNotFound", alice, "PUT", path+"/insert_rule", `{"firewall_rule_id":"`+theirs+`"}`)
	f.fails(409, "FirewallRuleConflict", admin, "PUT", path+"/insert_rule", `{"firewall_rule_id":"`+theirs+`"}`)
	f.fails(404, "FirewallPolicyNotFound", bob, "PUT", path+"/insert_rule", `{"firewall_rule_id":"`+theirs+`"}`)

	f.fails(409, "FirewallRuleInUse", alice, "DELETE", fwRules+"/"+r[0], "")
	f.must(200, alice, "PUT", fwRules+"/"+r[0], `{"firewall_rule":{"enabled":false}}`)
	if got := f.must(200, alice, "GET", path, "").body["firewall_policy"].(map[string]any); got["audited"] != false {
		t.Error("a policy is taken for audited after one of its rules has changed")
	}
	if got := f.must(200, alice, "GET", fwRules+"/"+r[0], "").body["firewall_rule"].(map[string]any); len(got["firewall_policy_id"].([]any)) != 1 {
		t.Errorf("the rule is in the policies %v", got["firewall_policy_id"])
	}
	if got := f.names(alice, "fwaas/firewall_policies?firewall_rules="+r[0], "firewall_policies", "id"); !slices.Equal(got, []string{id(p)}) {
		t.Errorf("the policies of the rule are %v", got)
	}
}

func TestFirewallsAreSharedByAdministrators(t *testing.T) {
	f, _ := newFirewallFixture(t)
	f.fails(403, "PolicyNotAuthorized", alice, "POST", fwRules, `{"firewall_rule":{"shared":true}}`)
	own := id(f.rule(admin, ``))
	shared := id(f.rule(admin, `"shared":true`))
	f.fails(404, "FirewallRuleSharingConflict", admin, "POST", fwPolicies, `{"firewall_policy":{"shared":true,"firewall_rules":["`+own+`"]}}`)
	p := id(f.policy(admin, `"firewall_rules":["`+own+`"]`))
	f.fails(409, "FirewallPolicySharingConflict", admin, "PUT", fwPolicies+"/"+p, `{"firewall_policy":{"shared":true}}`)
	f.must(200, admin, "PUT", fwPolicies+"/"+p, `{"firewall_policy":{"shared":true,"firewall_rules":["`+shared+`"]}}`)
	f.fails(403, "PolicyNotAuthorized", bob, "PUT", fwPolicies+"/"+p, `{"firewall_policy":{"name":"mine"}}`)
	g := f.post(bob, "fwaas/firewall_groups", "firewall_group", `{"ingress_firewall_policy_id":"`+p+`"}`)
	f.fails(409, "FirewallPolicyInUse", admin, "PUT", fwPolicies+"/"+p, `{"firewall_policy":{"shared":false}}`)
	f.fails(409, "FirewallPolicyInUse", admin, "DELETE", fwPolicies+"/"+p, "")
	f.must(204, bob, "DELETE", fwGroups+"/"+id(g), "")
	f.must(200, admin, "PUT", fwPolicies+"/"+p, `{"firewall_policy":{"shared":false}}`)
	f.fails(404, "FirewallPolicyNotFound", bob, "POST", fwGroups, `{"firewall_group":{"ingress_firewall_policy_id":"`+p+`"}}`)
	f.fails(404, "FirewallPolicyConflict", admin, "POST", fwGroups,
		`{"firewall_group":{"project_id":"b","egress_firewall_policy_id":"`+p+`"}}`)
}

func TestPortsOfFirewallGroups(t *testing.T) {
	f, _ := newFirewallFixture(t)
	n := id(f.make(alice, "networks", `{}`))
	newPort := func(who, owner string) string {
		return id(f.make(who, "ports", `{"network_id":"`+n+`","device_owner":"`+owner+`"}`))
	}
	server, nobody := newPort(alice, "compute:nova"), newPort(alice, "")
	policy := id(f.policy(alice, ``))
	body := func(ports ...string) string {
		return `{"firewall_group":{"ingress_firewall_policy_id":"` + policy + `","ports":["` + strings.Join(ports, `","`) + `"]}}`
	}
	f.fails(409, "FirewallGroupPortInvalid", alice, "POST", fwGroups, body(nobody))
	f.fails(404, "PortNotFound", bob, "POST", fwGroups, `{"firewall_group":{"ports":["`+server+`"]}}`)
	f.fails(400, "HTTPBadRequest", alice, "POST", fwGroups, body(server, server))
	g := f.must(201, alice, "POST", fwGroups, body(server)).body["firewall_group"].(map[string]any)
	f.fails(409, "FirewallGroupPortInUse", alice, "POST", fwGroups, body(server))
	f.fails(409, "FirewallGroupInUse", alice, "DELETE", fwGroups+"/"+id(g), "")
	if got := f.names(alice, "fwaas/firewall_groups?ports="+server, "firewall_groups", "id"); !slices.Equal(got, []string{id(g)}) {
		t.Errorf("the groups of the port are %v", got)
	}
	f.must(204, alice, "DELETE", "/v2.0/ports/"+server, "")
	if got := f.must(200, alice, "GET", fwGroups+"/"+id(g), "").body["firewall_group"].(map[string]any)["ports"].([]any); len(got) != 0 {
		t.Errorf("a port that is gone is still in the group: %v", got)
	}
	f.must(204, alice, "DELETE", fwGroups+"/"+id(g), "")
}

func TestEveryProjectHasOneDefaultFirewallGroup(t *testing.T) {
	f, _ := newFirewallFixture(t)
	for range 2 {
		if got := f.names(alice, "fwaas/firewall_groups", "firewall_groups", "name"); !slices.Equal(got, []string{"default"}) {
			t.Fatalf("the groups of the project are %v", got)
		}
	}
	if got := f.names(alice, "fwaas/firewall_policies", "firewall_policies", "name"); len(got) != 2 {
		t.Errorf("its policies are %v", got)
	}
	if got := f.names(alice, "fwaas/firewall_rules", "firewall_rules", "name"); len(got) != 4 {
		t.Errorf("its rules are %v", got)
	}
	g := f.must(200, alice, "GET", fwGroups+"?name=default", "").body["firewall_groups"].([]any)[0].(map[string]any)
	if g["status"] != "INACTIVE" || g["project_id"] != "a" || g["ingress_firewall_policy_id"] == nil {
		t.Errorf("it is %v", g)
	}
	path, policy := fwGroups+"/"+id(g), fwPolicies+"/"+g["ingress_firewall_policy_id"].(string)
	f.fails(409, "FirewallDefaultParameterExists", alice, "POST", fwGroups, `{"firewall_group":{"name":"default"}}`)
	f.fails(409, "FirewallDefaultParameterExists", alice, "POST", fwPolicies, `{"firewall_policy":{"name":"default ingress"}}`)
	for _, attributes := range []string{`"name":"x"`, `"admin_state_up":false`, `"egress_firewall_policy_id":null`, `"description":"x"`} {
		f.fails(409, "FirewallDefaultObjectUpdateRestricted", alice, "PUT", path, `{"firewall_group":{`+attributes+`}}`)
	}
	f.fails(409, "FirewallDefaultObjectUpdateRestricted", admin, "PUT", path, `{"firewall_group":{"name":"x"}}`)
	f.fails(409, "FirewallDefaultObjectUpdateRestricted", admin, "PUT", policy, `{"firewall_policy":{"description":"x"}}`)
	f.must(200, admin, "PUT", path, `{"firewall_group":{"description":"x"}}`)
	f.must(200, alice, "PUT", path, `{"firewall_group":{"ports":[]}}`)
	f.fails(409, "FirewallGroupCannotRemoveDefault", alice, "DELETE", path, "")
	f.fails(409, "FirewallPolicyInUse", alice, "DELETE", policy, "")
	f.must(204, admin, "DELETE", path, "")
	if n := state.FirewallRules.Len(f.store.Read()); n != 0 {
		t.Errorf("%d rules are left of the deleted default group", n)
	}
	if got := f.names(alice, "fwaas/firewall_groups", "firewall_groups", "name"); !slices.Equal(got, []string{"default"}) {
		t.Errorf("after that, the groups are %v", got)
	}
}

// TestAFirewallGroupIsActiveOnlyWhenItsHostsSaySo also for what has changed since they said it.
func TestAFirewallGroupIsActiveOnlyWhenItsHostsSaySo(t *testing.T) {
	f, docs := newFirewallFixture(t)
	const p1, p2, g = "11111111-0000-4000-8000-000000000001", "11111111-0000-4000-8000-000000000002", "11111111-0000-4000-8000-000000000003"
	f.put(t, func(tx *state.Tx) {
		bound := model.Binding{Host: "h1", VIFType: model.VIFBridge}
		state.Ports.Put(tx, &model.Port{Meta: model.Meta{ID: p1, ProjectID: "a"}, DeviceOwner: "compute:nova", Binding: bound})
		state.Ports.Put(tx, &model.Port{Meta: model.Meta{ID: p2, ProjectID: "a"}, DeviceOwner: "compute:nova"})
		state.FirewallGroups.Put(tx, &model.FirewallGroup{
			Meta: model.Meta{ID: g, ProjectID: "a"}, AdminStateUp: true, IngressPolicyID: g, PortIDs: []string{p1},
		})
	})
	change := func(how func(*model.FirewallGroup)) {
		f.put(t, func(tx *state.Tx) {
			old, _ := state.FirewallGroups.Get(tx, g)
			old = old.Clone()
			how(old)
			state.FirewallGroups.Put(tx, old)
		})
	}
	say := func(st port.State, hash uint64, reason string) {
		f.put(t, func(tx *state.Tx) {
			firewall.Report(tx, "h1", []port.Status{{Key: "firewall-group/" + g, State: st, Hash: hash, Reason: reason}})
		})
	}
	want := func(status, reason string) {
		t.Helper()
		got := f.must(200, alice, "GET", fwGroups+"/"+g, "").body["firewall_group"].(map[string]any)
		text, _ := got["status_reason"].(string)
		if got["status"] != status || !strings.Contains(text, reason) || reason == "" && text != "" {
			t.Errorf("status %v, reason %q; want %s, %q", got["status"], text, status, reason)
		}
	}
	want("PENDING_UPDATE", "h1")
	say(port.Done, 7, "") // of an earlier document
	want("PENDING_UPDATE", "h1")
	say(port.Failed, 1, "no nft here")
	want("ERROR", "h1: no nft here")
	say(port.Done, 1, "")
	want("ACTIVE", "")
	docs.hash = 2 // a rule has changed
	want("PENDING_UPDATE", "h1")
	say(port.Done, 2, "")
	change(func(g *model.FirewallGroup) { g.PortIDs = []string{p1, p2} })
	want("DOWN", p2)
	change(func(g *model.FirewallGroup) { g.AdminStateUp, g.PortIDs = false, []string{p1} })
	want("DOWN", "")
	change(func(g *model.FirewallGroup) { g.AdminStateUp, g.IngressPolicyID = true, "" })
	want("INACTIVE", "")
}
