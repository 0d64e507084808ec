package openstack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/neutrino-net/neutrino/internal/schema"
)

// fakeService is a networking API that answers what a test has put there, and keeps what it was asked.
type fakeService struct {
	*httptest.Server
	answers map[string]string // by method and path
	asked   []string          // method, path with query, and body
}

func newService(t *testing.T, answers map[string]string) *fakeService {
	t.Helper()
	s := &fakeService{answers: answers}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		s.asked = append(s.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+body.String()))
		answer, ok := s.answers[r.Method+" "+r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			answer = `{"NeutronError": {"type": "NotFound", "message": "It could\nnot be found.", "detail": ""}}`
		}
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(s.Close)
	return s
}

// run runs a command without a login.
func (s *fakeService) run(t *testing.T, words ...string) (string, error) {
	t.Helper()
	for _, v := range settings {
		t.Setenv("OS_"+strings.ToUpper(v.name), "")
	}
	t.Setenv("OS_AUTH_TYPE", "none")
	t.Setenv("OS_ENDPOINT", s.URL)
	root := &cobra.Command{Use: "neutrino", SilenceErrors: true, SilenceUsage: true}
	root.AddGroup(&cobra.Group{ID: Group})
	root.AddCommand(Commands(words...)...)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(words)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestEveryDeclarationHasCommands(t *testing.T) {
	r := newRegistry()
	for _, d := range schema.All() {
		rule := d.Below == schema.QoSPolicy.Path || strings.HasPrefix(d.Name, "alias_") // commands of their policy
		if k := r.byName[d.Name]; k == nil && !rule {
			t.Errorf("%s has no commands", d.Name)
		}
	}
}

func TestTheTablesFitTheDeclarations(t *testing.T) {
	r := newRegistry()
	for _, k := range r.kinds {
		k.derive(r)
		seen := map[string]verb{}
		for _, o := range k.options {
			if o.help == "" {
				t.Errorf("%s: --%s has no help", k.words, o.name)
			}
			if seen[o.name]&o.verbs != 0 {
				t.Errorf("%s: there are two options --%s", k.words, o.name)
			}
			seen[o.name] |= o.verbs
			virtual := slices.Contains(k.d.Virtual, o.attribute)
			if o.attribute != "" && k.d.Attribute(o.attribute) == nil && !virtual {
				t.Errorf("%s: --%s is for %s, which is not declared", k.words, o.name, o.attribute)
			}
		}
		for _, c := range slices.Concat(k.list, k.long, k.full, k.show) {
			made := c.attribute == "" || k.computed[c.attribute] != nil || c.attribute == interfacesInfo
			// The routers of conntrack helpers are in no answer, and the column that the client has for them is empty.
			if k.d.Attribute(c.attribute) == nil && !made && c.attribute != "router_id" {
				t.Errorf("%s: the column %s shows %s, which is not declared", k.words, c.title, c.attribute)
			}
		}
	}
}

func TestOneCommandIsMadeWithoutTheOthers(t *testing.T) {
	count := func(args ...string) (n int) {
		var walk func([]*cobra.Command)
		walk = func(commands []*cobra.Command) {
			for _, c := range commands {
				n++
				walk(c.Commands())
			}
		}
		walk(Commands(args...))
		return n
	}
	all, one := count(), count("network", "qos", "rule", "type", "list")
	if all < 200 || one > 30 {
		t.Errorf("%d commands in all, and %d for one", all, one)
	}
	for _, args := range [][]string{{"network"}, {"network", "nix"}, {"__complete", "port", ""}, {"--os-cloud", "x", "port", "list"}} {
		if n := count(args...); n != all {
			t.Errorf("%v: %d commands of %d", args, n, all)
		}
	}
}

func TestRequests(t *testing.T) {
	const id = "6f1f39f3-2a49-4f2a-a2c2-3b4fb5b2a001"
	answers := map[string]string{
		"GET /v2.0/networks":              `{"networks": [{"id": "` + id + `", "name": "blue", "tags": ["a"]}]}`,
		"GET /v2.0/networks/" + id:        `{"network": {"id": "` + id + `", "name": "blue"}}`,
		"POST /v2.0/networks":             `{"network": {"id": "` + id + `"}}`,
		"PUT /v2.0/networks/" + id:        `{}`,
		"DELETE /v2.0/networks/" + id:     ``,
		"PUT /v2.0/networks/x/tags":       `{}`,
		"GET /v2.0/ports":                 `{"ports": [{"id": "p", "binding:profile": {"a": "b", "c": 1}, "fixed_ips": [{"ip_address": "10.0.0.1"}]}]}`,
		"PUT /v2.0/ports/p":               `{}`,
		"GET /v2.0/security-groups":       `{"security_groups": [{"id": "g"}]}`,
		"POST /v2.0/security-group-rules": `{"security_group_rule": {"id": "r"}}`,
	}
	rule := func(more string) string {
		return `POST /v2.0/security-group-rules {"security_group_rule":{"direction":"ingress",` + more + `,"security_group_id":"g"}}`
	}
	for _, c := range []struct{ words, want string }{
		{"network create red --disable --mtu 1400 --external",
			`POST /v2.0/networks {"network":{"admin_state_up":false,"mtu":1400,"name":"red","router:external":true}}`},
		{"network show " + id, "GET /v2.0/networks/" + id},
		{"network list --external --no-share -c Name",
			"GET /v2.0/networks?fields=id&fields=name&fields=subnets&router%3Aexternal=true&shared=false"},
		{"network set blue --no-qos-policy", "PUT /v2.0/networks/" + id + ` {"network":{"qos_policy_id":null}}`},
		{"network set blue --tag b", "PUT /v2.0/networks/" + id + `/tags {"tags":["a","b"]}`},
		{"network delete blue", "DELETE /v2.0/networks/" + id},
		{"port set p --binding-profile d=e", `PUT /v2.0/ports/p {"port":{"binding:profile":{"a":"b","c":1,"d":"e"}}}`},
		{`port set p --no-binding-profile --binding-profile {"d":2}`, `PUT /v2.0/ports/p {"port":{"binding:profile":{"d":2}}}`},
		{"port set p --no-binding-profile", `PUT /v2.0/ports/p {"port":{"binding:profile":{}}}`},
		{"port unset p --binding-profile a", `PUT /v2.0/ports/p {"port":{"binding:profile":{"c":1}}}`},
		{"port set p --no-fixed-ip", `PUT /v2.0/ports/p {"port":{"fixed_ips":[]}}`},
		{"port set p --fixed-ip ip-address=10.0.0.2",
			`PUT /v2.0/ports/p {"port":{"fixed_ips":[{"ip_address":"10.0.0.1"},{"ip_address":"10.0.0.2"}]}}`},
		{"port unset p --fixed-ip ip-address=10.0.0.1", `PUT /v2.0/ports/p {"port":{"fixed_ips":[]}}`},
		{"port set p --extra-dhcp-option name=domain-search,value=a.example,b.example",
			`PUT /v2.0/ports/p {"port":{"extra_dhcp_opts":[{"opt_name":"domain-search","opt_value":"a.example,b.example"}]}}`},
		{"port list --fixed-ip ip-substring=.7 --fixed-ip ip-address=10.0.0.7 -c ID",
			"GET /v2.0/ports?fields=id&fields=name&fields=mac_address&fields=fixed_ips&fields=status" +
				"&fixed_ips=ip_address_substr%3D.7&fixed_ips=ip_address%3D10.0.0.7"},
		{"security group rule create g --protocol tcp --dst-port 80:90",
			rule(`"ethertype":"IPv4","port_range_max":90,"port_range_min":80,"protocol":"tcp","remote_ip_prefix":"0.0.0.0/0"`)},
		{"security group rule create g --proto ICMPv6 --icmp-type 128",
			rule(`"ethertype":"IPv6","port_range_min":128,"protocol":"icmpv6","remote_ip_prefix":"::/0"`)},
	} {
		t.Run(c.words, func(t *testing.T) {
			s := newService(t, answers)
			s.answers["PUT /v2.0/networks/"+id+"/tags"] = `{}`
			if out, err := s.run(t, strings.Fields(c.words)...); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if last := s.asked[len(s.asked)-1]; last != c.want {
				t.Errorf("sent\n%s, want\n%s", last, c.want)
			}
		})
	}
}

func TestMistakesAreOneSentence(t *testing.T) {
	answers := map[string]string{
		"GET /v2.0/networks": `{"networks": []}`,
		"GET /v2.0/ports":    `{"ports": [{"id": "1"}, {"id": "2"}]}`,
		"GET /v2.0/routers":  `{"routers": [{"id": "r", "name": "r"}]}`,
	}
	for words, want := range map[string]string{
		"network show blue":                                `there is no network "blue"`,
		"port show web":                                    `2 ports are called "web": say which by its id`,
		"network create x --mtu many":                      `--mtu: "many" is not a whole number`,
		"network create x --enable --disable":              "if any flags in the group [enable disable] are set",
		"port create p":                                    `required flag(s) "network" not set`,
		"subnet create s --network blue":                   `--network: there is no network "blue"`,
		"router set r --qos-policy gold":                   "name it with --external-gateway",
		"router add route r --route gateway=1.1.1.1":       `--route: "gateway=1.1.1.1" has no destination=`,
		"router add route r --route destiny=1":             "is not of the form KEY=VALUE",
		"router delete r":                                  "It could not be found.",
		"network list -f xml":                              `the format "xml" is not one of table, json, yaml, value, csv`,
		"network list -c Size":                             "there is no such column; there are ID, Name, Subnets",
		"network agent list --agent-type chef":             `--agent-type: "chef" is not one of`,
		"network unset blue --tag x":                       `there is no network "blue"`,
		"security group rule create":                       "the arguments are not those of: ",
		"network paint blue":                               "there is no command",
		"network rbac create blue --type cat --action a":   "--type must be one of network,",
		"network qos rule create gold --type gravity":      "--type must be one of bandwidth-limit,",
		"port set web --binding-profile nothing":           `2 ports are called "web"`,
		"network segment create s --network blue":          `required flag(s) "network-type" not set`,
		"network auto allocated topology create --project": "flag needs an argument",
	} {
		t.Run(words, func(t *testing.T) {
			_, err := newService(t, answers).run(t, strings.Fields(words)...)
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %v, want %s", err, want)
			}
		})
	}
}

func TestFormats(t *testing.T) {
	answers := map[string]string{"GET /v2.0/networks": `{"networks": [
		{"id": "1", "name": "a\"b,c", "subnets": ["x", "y"], "mtu": 1450, "admin_state_up": true, "provider:segmentation_id": null},
		{"id": "2", "name": "", "subnets": [], "mtu": 900, "admin_state_up": false, "provider:segmentation_id": 7}]}`}
	for words, want := range map[string]string{
		"-f value":            "1 a\"b,c ['x', 'y']\n2  []\n",
		"-f csv":              "\"ID\",\"Name\",\"Subnets\"\n\"1\",\"a\"\"b,c\",\"['x', 'y']\"\n\"2\",\"\",\"[]\"\n",
		"-f csv --quote none": "ID,Name,Subnets\n1,a\\\"b\\,c,['x'\\, 'y']\n2,,[]\n",
		"-f json --noindent":  `[{"ID":"1","Name":"a\"b,c","Subnets":["x","y"]},{"ID":"2","Name":"","Subnets":[]}]` + "\n",
		"-f json -c id":       "[\n  {\n    \"ID\": \"1\"\n  },\n  {\n    \"ID\": \"2\"\n  }\n]\n",
		"-f yaml -c Name":     "- Name: a\"b,c\n- Name: \"\"\n",
		"-f value -c State --long --sort-column Name": "False\nTrue\n",
		"-c ID -c State --long --sort-column ID --sort-descending": "" +
			"+----+-------+\n| ID | State |\n+----+-------+\n| 2  | DOWN  |\n| 1  | UP    |\n+----+-------+\n",
	} {
		t.Run(words, func(t *testing.T) {
			out, err := newService(t, answers).run(t, append([]string{"network", "list"}, strings.Fields(words)...)...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, out); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPagesAreFollowed(t *testing.T) {
	pages := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pages++
		if r.URL.Query().Get("marker") == "1" {
			fmt.Fprint(w, `{"networks": [{"id": "2"}]}`)
			return
		}
		fmt.Fprintf(w, `{"networks": [{"id": "1"}], "networks_links": [{"rel": "next", "href": "http://elsewhere/v2.0/networks?marker=1"}]}`)
	}))
	defer s.Close()
	out, err := (&fakeService{Server: s}).run(t, "network", "list", "-f", "value", "-c", "ID")
	if err != nil || out != "1\n2\n" || pages != 2 {
		t.Errorf("%d pages, %q, %v", pages, out, err)
	}
}

func TestClouds(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("clouds.yaml", `clouds:
  home:
    auth: {auth_url: "http://home:5000", username: u, project_name: p, user_domain_name: D}
    region_name: here
    verify: false
  open: {auth_type: none, auth: {endpoint: "http://open"}}
`)
	write("secure.yaml", "clouds: {home: {auth: {password: 12}}}\n")
	clean := func(t *testing.T, env map[string]string) {
		for _, v := range settings {
			t.Setenv("OS_"+strings.ToUpper(v.name), env[v.name])
		}
		t.Setenv("OS_CLIENT_CONFIG_FILE", filepath.Join(dir, "clouds.yaml"))
	}
	domain := `{"id":"default"}`
	for _, c := range []struct {
		name    string
		env     map[string]string
		options []string
		want    string // the request for a token
	}{
		{"a cloud, and its secrets beside it", map[string]string{"cloud": "home"}, nil,
			`{"auth":{"identity":{"methods":["password"],"password":{"user":{"domain":{"name":"D"},"name":"u","password":"12"}}},` +
				`"scope":{"project":{"domain":` + domain + `,"name":"p"}}}}`},
		{"options change a cloud", map[string]string{"password": "not asked"}, []string{"--os-cloud", "home", "--os-project-id", "q"},
			`{"auth":{"identity":{"methods":["password"],"password":{"user":{"domain":{"name":"D"},"name":"u","password":"12"}}},` +
				`"scope":{"project":{"id":"q"}}}}`},
		{"the environment", map[string]string{"auth_url": "http://x", "user_id": "i", "password": "s", "system_scope": "all"}, nil,
			`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"i","password":"s"}}},"scope":{"system":{"all":true}}}}`},
		{"a token", map[string]string{"auth_url": "http://x", "token": "t", "project_name": "p", "project_domain_id": "d"}, nil,
			`{"auth":{"identity":{"methods":["token"],"token":{"id":"t"}},"scope":{"project":{"domain":{"id":"d"},"name":"p"}}}}`},
		{"an application credential", map[string]string{"auth_url": "http://x", "application_credential_id": "a",
			"application_credential_secret": "s", "project_name": "its own counts"}, nil,
			`{"auth":{"identity":{"application_credential":{"id":"a","secret":"s"},"methods":["application_credential"]}}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			clean(t, c.env)
			cmd := &cobra.Command{}
			cloudFlags(cmd.Flags())
			if err := cmd.Flags().Parse(c.options); err != nil {
				t.Fatal(err)
			}
			got, err := readCloud(cmd.Flags())
			if err != nil {
				t.Fatal(err)
			}
			request, err := got.request()
			if err != nil {
				t.Fatal(err)
			}
			text, _ := json.Marshal(request)
			if diff := cmp.Diff(c.want, string(text)); diff != "" {
				t.Error(diff)
			}
		})
	}
	for want, env := range map[string]map[string]string{
		"has no cloud \"nix\", it has home, open": {"cloud": "nix"},
		"which cloud?": {},
		"who asks?":    {"auth_url": "http://x"},
	} {
		clean(t, env)
		cmd := &cobra.Command{}
		cloudFlags(cmd.Flags())
		got, err := readCloud(cmd.Flags())
		if err == nil {
			_, err = got.request()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", env, err, want)
		}
	}
}

func TestLogin(t *testing.T) {
	var asked []string
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("X-Auth-Token"))
		if r.URL.Path != "/v3/auth/tokens" {
			fmt.Fprint(w, `{"networks": []}`)
			return
		}
		w.Header().Set("X-Subject-Token", "secret")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"token": {"project": {"id": "i", "name": "n"}, "catalog": [{"type": "network", "endpoints": [
			{"interface": "public", "region_id": "there", "url": "http://wrong"}, {"interface": "internal", "region_id": "here", "url": "http://wrong"},
			{"interface": "public", "region_id": "here", "url": "%s/net/"}]}]}}`, s.URL)
	}))
	defer s.Close()
	f := &fakeService{Server: s}
	_, err := f.run(t, "network", "list", "--os-auth-type", "password", "--os-auth-url", s.URL, "--os-username", "u", "--os-password", "p",
		"--os-region-name", "here", "-f", "json")
	want := []string{"POST /v3/auth/tokens ", "GET /net/v2.0/networks secret"}
	if err != nil || !slices.Equal(asked, want) {
		t.Errorf("%v: asked %v, want %v", err, asked, want)
	}
}

func TestCompletionOffersNames(t *testing.T) {
	s := newService(t, map[string]string{"GET /v2.0/networks": `{"networks": [{"id": "1", "name": "blue"}, {"id": "2", "name": ""}]}`})
	out, err := s.run(t, "__complete", "network", "show", "")
	if err != nil || !strings.HasPrefix(out, "blue\n2\n") {
		t.Errorf("%v: %q", err, out)
	}
}
