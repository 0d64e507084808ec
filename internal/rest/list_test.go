package rest

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/state"
)

func TestFilters(t *testing.T) {
	f := newFixture(t)
	n1 := id(f.make(alice, "networks", `{"name":"one","description":"x"}`))
	n2 := id(f.make(alice, "networks", `{"name":"two","admin_state_up":false}`))
	f.make(alice, "networks", `{}`)
	f.must(200, alice, "PUT", "/v2.0/networks/"+n1+"/tags", `{"tags":["red","blue"]}`)
	f.must(200, alice, "PUT", "/v2.0/networks/"+n2+"/tags", `{"tags":["red"]}`)
	subnet := func(network, cidr string) string {
		return id(f.make(alice, "subnets", `{"network_id":"`+network+`","ip_version":4,"cidr":"`+cidr+`"}`))
	}
	s1, s2 := subnet(n1, "10.0.0.0/24"), subnet(n2, "10.0.0.0/26")
	f.make(alice, "ports", `{"name":"p1","network_id":"`+n1+`","device_id":"vm1","mac_address":"fa:16:3e:00:00:0a","fixed_ips":[
		{"subnet_id":"`+s1+`","ip_address":"10.0.0.5"},{"subnet_id":"`+s1+`","ip_address":"10.0.0.6"}]}`)
	f.make(alice, "ports", `{"name":"p2","network_id":"`+n2+`","fixed_ips":[{"subnet_id":"`+s2+`","ip_address":"10.0.0.51"}]}`)
	f.make(alice, "ports", `{"network_id":"`+n2+`"}`)
	for _, test := range []struct{ plural, query, want string }{
		{"networks", "", ",one,two"},
		{"networks", "name=one", "one"},
		{"networks", "name=one&name=two&name=one", "one,two"},
		{"networks", "name=one&name=nothing", "one"},
		{"networks", "name=one&admin_state_up=false", ""},
		{"networks", "admin_state_up=0", "two"},
		{"networks", "admin_state_up=True", ",one"},
		{"networks", "admin_state_up=True&admin_state_up=false", ",one,two"},
		{"networks", "name=", ""},
		{"networks", "id=" + n1, "one"},
		{"networks", "id=" + n2 + "&id=" + n1 + "&id=x", "one,two"},
		{"networks", "id=" + n1 + "&name=two", ""},
		{"networks", "description=x", "one"},
		{"networks", "project_id=a", ",one,two"},
		{"networks", "tenant_id=a", ",one,two"},
		{"networks", "tenant_id=b", ""},
		{"networks", "mtu=0", ",one,two"},
		{"networks", "revision_number=02", "one,two"},
		{"networks", "tags=red", "one,two"},
		{"networks", "tags=red,blue", "one"},
		{"networks", "tags-any=blue,green", "one"},
		{"networks", "not-tags=red,blue", ",two"},
		{"networks", "not-tags-any=red,blue", ""},
		{"networks", "%6eame=on%65", "one"},
		{"ports", "network_id=" + n1, "p1"},
		{"ports", "network_id=" + n1 + "&network_id=" + n2, ",p1,p2"},
		{"ports", "device_id=vm1", "p1"},
		{"ports", "device_id=", ",p2"},
		{"ports", "device_id=&device_id=vm1", ",p1,p2"},
		{"ports", "name=", ""},
		{"ports", "name=p1", "p1"},
		{"ports", "mac_address=", ",p2"},
		{"ports", "fixed_ips=ip_address%3D10.0.0.5", "p1"},
		{"ports", "fixed_ips=ip_address=10.0.0.5&fixed_ips=ip_address=10.0.0.51", "p1,p2"},
		{"ports", "fixed_ips=ip_address=10.0.0.5&fixed_ips=subnet_id=" + s2, ""},
		{"ports", "fixed_ips=ip_address=10.0.0.5&fixed_ips=ip_address=10.0.0.51&fixed_ips=subnet_id=" + s2, "p2"},
		{"ports", "fixed_ips=subnet_id=" + s1, "p1"},
		{"ports", "fixed_ips=subnet_id=" + s1 + "&fixed_ips=ip_address=10.0.0.6", "p1"},
		{"ports", "fixed_ips=subnet_id=" + s1[:8], ""},
		{"ports", "fixed_ips=ip_address=nonsense", ""},
		{"ports", "mac_address=FA-16-3E-00-00-0A", "p1"},
		{"ports", "mac_address=&mac_address=fa:16:3e:00:00:0a", ",p1,p2"},
		{"ports", "fixed_ips=ip_address_substr=10.0.0.5", "p1,p2"},
	} {
		t.Run(test.plural+"?"+test.query, func(t *testing.T) {
			f.t = t
			for _, token := range []string{alice, admin} {
				got := f.list(token, "/v2.0/"+test.plural+"?"+test.query, "name")
				slices.Sort(got)
				if text := strings.Join(got, ","); text != test.want {
					t.Errorf("%s finds %q, want %q", token, text, test.want)
				}
			}
		})
	}
}

func TestQueriesThatAreRefused(t *testing.T) {
	f := newFixture(t)
	for _, test := range []struct {
		query, typ, message string
	}{
		{"foo=1&name=x&bar=2", "HTTPBadRequest", "['foo', 'bar'] is invalid attribute for filtering"},
		{"subnets=x", "HTTPBadRequest", "['subnets'] is invalid attribute for filtering"},
		{"admin_state_up=perhaps", "InvalidInput", "Invalid input for operation: 'perhaps' cannot be converted to boolean."},
		{"mtu=x", "InvalidInput", "Invalid input for operation: 'x' is not an integer."},
		{"limit=x", "BadRequest", "Bad limit request: Limit must be an integer 0 or greater and not 'x'."},
		{"limit=-1", "BadRequest", "Bad limit request: Limit must be an integer 0 or greater and not '-1'."},
		{"limit=", "BadRequest", "Bad limit request: Limit must be an integer 0 or greater and not ''."},
		{"sort_key=name", "HTTPBadRequest", "The number of sort_keys and sort_dirs must be same"},
		{"sort_key=foo&sort_dir=asc", "HTTPBadRequest", "['foo'] is invalid attribute for sort_keys"},
		{"sort_key=tags&sort_dir=asc", "HTTPBadRequest", "['tags'] is invalid attribute for sort_keys"},
		{"sort_key=name&sort_dir=up", "HTTPBadRequest", "['up'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'"},
		{"name=%zz", "HTTPBadRequest", "The query string is malformed"},
		{"name=%ff", "HTTPBadRequest", "The query string is malformed"},
		{"tags=" + strings.Repeat("a,", 60), "HTTPBadRequest", "The filter tags has more than 50 values"},
		{strings.Repeat("tags=a&", 60), "HTTPBadRequest", "The filter tags has more than 50 values"},
	} {
		if got := f.fails(400, test.typ, alice, "GET", "/v2.0/networks?"+test.query, ""); got != test.message {
			t.Errorf("%s: %q, want %q", test.query, got, test.message)
		}
	}
	f.fails(404, "NetworkNotFound", alice, "GET", "/v2.0/networks?limit=1&marker="+unusedID, "")
	f.must(200, alice, "GET", "/v2.0/networks?marker="+unusedID, "") // no pages without a limit
	f.must(200, alice, "GET", "/v2.0/networks?limit=99999999999999999999", "")
	f.fails(414, "HTTPRequestURITooLong", alice, "GET", "/v2.0/networks?name="+strings.Repeat("x", maxQuery), "")
}

func TestFields(t *testing.T) {
	f := newFixture(t)
	n := f.make(alice, "networks", `{"name":"n"}`)
	for _, test := range []struct{ query, want string }{
		{"?fields=name", `{"name":"n"}`},
		{"?fields=name&fields=id", `{"id":"` + id(n) + `","name":"n"}`},
		{"?fields=name&fields=made-up&fields=", `{"name":"n"}`},
		{"?fields=made-up", `{}`},
	} {
		if got := string(f.must(200, alice, "GET", "/v2.0/networks"+test.query, "").raw); got != `{"networks":[`+test.want+`]}` {
			t.Errorf("%s: %s", test.query, got)
		}
		if got := string(f.must(200, alice, "GET", "/v2.0/networks/"+id(n)+test.query, "").raw); got != `{"network":`+test.want+`}` {
			t.Errorf("%s: %s", test.query, got)
		}
	}
	if all := f.must(200, alice, "GET", "/v2.0/networks?fields=", "").body["networks"].([]any)[0]; len(all.(map[string]any)) < 10 {
		t.Errorf("an empty name selects %v", all)
	}
}

func TestSorting(t *testing.T) {
	f := newFixture(t)
	for _, body := range []string{`{"name":"b","description":"1"}`, `{"name":"a","description":"1"}`, `{"name":"a","description":"2"}`} {
		f.make(alice, "networks", body)
	}
	for query, want := range map[string]string{
		"sort_key=name&sort_dir=asc&sort_key=description&sort_dir=desc":  "a2,a1,b1",
		"sort_key=description&sort_key=name&sort_dir=asc&sort_dir=desc":  "b1,a1,a2",
		"sort_key=description&sort_key=name&sort_dir=desc&sort_dir=asc":  "a2,a1,b1",
		"sort_key=name&sort_dir=desc&sort_key=description&sort_dir=asc&": "b1,a1,a2",
	} {
		names := f.list(alice, "/v2.0/networks?"+query, "name")
		for i, d := range f.list(alice, "/v2.0/networks?"+query, "description") {
			names[i] += d
		}
		if got := strings.Join(names, ","); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	// Objects that the keys do not tell apart come in order of their ids, in either direction.
	ids := f.list(alice, "/v2.0/networks?sort_key=admin_state_up&sort_dir=desc", "id")
	if !slices.IsSorted(ids) {
		t.Errorf("ids %q", ids)
	}
}

// pages follows the links of one kind from the first page on.
func (f *fixture) pages(token, path, rel string) (all [][]string) {
	f.t.Helper()
	for path != "" && len(all) < 50 {
		res := f.must(200, token, "GET", path, "")
		var ids []string
		for _, o := range res.body["networks"].([]any) {
			ids = append(ids, id(o.(map[string]any)))
		}
		all = append(all, ids)
		path = ""
		links, _ := res.body["networks_links"].([]any)
		for _, l := range links {
			if l := l.(map[string]any); l["rel"] == rel {
				u, err := url.Parse(l["href"].(string))
				if err != nil {
					f.t.Fatal(err)
				}
				path = u.RequestURI()
			}
		}
	}
	return all
}

func TestPagesCoverTheListOnceInBothDirections(t *testing.T) {
	f := newFixture(t)
	for i := range 10 {
		token := []string{alice, alice, alice, bob}[i%4]
		f.make(token, "networks", fmt.Sprintf(`{"name":"%c","description":"%d"}`, 'a'+i%3, i%2))
	}
	for _, token := range []string{alice, admin} {
		for _, query := range []string{
			"", "&sort_key=name&sort_dir=asc", "&sort_key=name&sort_dir=desc&sort_key=description&sort_dir=asc",
			"&sort_key=id&sort_dir=desc", "&name=a&name=b", "&fields=id&admin_state_up=true", "&tags-any=x", "&project_id=a",
		} {
			for limit := 1; limit <= 11; limit++ {
				all := f.list(token, "/v2.0/networks?"+strings.TrimPrefix(query, "&"), "id")
				path := fmt.Sprintf("/v2.0/networks?limit=%d%s", limit, query)
				forward := f.pages(token, path, "next")
				if got := slices.Concat(forward...); !slices.Equal(got, all) {
					t.Errorf("%s by %s: %q, want %q", path, token, got, all)
				}
				backward := f.pages(token, path+"&page_reverse=TRUE", "previous")
				slices.Reverse(backward)
				if got := slices.Concat(backward...); !slices.Equal(got, all) {
					t.Errorf("%s backwards by %s: %q, want %q", path, token, got, all)
				}
			}
		}
	}
}

func TestLinksOfPages(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		f.make(alice, "networks", `{"name":"a b&c"}`)
	}
	ids := f.list(alice, "/v2.0/networks", "id")
	rels := func(query string) map[string]string {
		out := map[string]string{}
		links, _ := f.must(200, alice, "GET", "/v2.0/networks?"+query, "").body["networks_links"].([]any)
		for _, l := range links {
			l := l.(map[string]any)
			out[l["rel"].(string)] = l["href"].(string)
		}
		return out
	}
	base := "http://example.com/v2.0/networks?"
	for _, test := range []struct {
		query string
		want  map[string]string
	}{
		{"", map[string]string{}},
		{"limit=0", map[string]string{}},
		{"limit=2&name=a+b%26c", map[string]string{
			"next":     base + "limit=2&name=a+b%26c&marker=" + ids[1],
			"previous": base + "limit=2&name=a+b%26c&marker=" + ids[0] + "&page_reverse=True"}},
		{"marker=" + ids[1] + "&limit=2", map[string]string{
			"previous": base + "limit=2&marker=" + ids[2] + "&page_reverse=True"}},
		{"limit=2&page_reverse=True", map[string]string{
			"next":     base + "limit=2&marker=" + ids[2],
			"previous": base + "limit=2&marker=" + ids[1] + "&page_reverse=True"}},
		{"limit=2&page_reverse=True&marker=" + ids[1], map[string]string{
			"next": base + "limit=2&marker=" + ids[0]}},
		{"limit=2&marker=" + ids[2], map[string]string{"previous": base + "limit=2&page_reverse=True"}},
	} {
		if got := rels(test.query); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %v, want %v", test.query, got, test.want)
		}
	}
}

func TestAListIsOneSnapshot(t *testing.T) {
	f := newFixture(t)
	n := id(f.make(alice, "networks", `{}`))
	f.make(alice, "ports", `{"network_id":"`+n+`"}`)
	r := f.store.Read()
	f.make(alice, "ports", `{"network_id":"`+n+`"}`)
	if got := state.Ports.Len(r); got != 1 {
		t.Errorf("%d ports in the older snapshot", got)
	}
	if got := len(f.list(alice, "/v2.0/ports", "id")); got != 2 {
		t.Errorf("%d ports in the list: a write is to be seen by the next read", got)
	}
}
