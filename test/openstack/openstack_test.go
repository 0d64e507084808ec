// Package openstack runs the distribution's own openstack command (python3-openstackclient), unmodified, against a server,
// with the clouds.yaml and openrc that the server wrote.
package openstack

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/test/cloud"
)

func TestMain(m *testing.M) {
	code := m.Run()
	cloud.Clean()
	os.Exit(code)
}

// The distribution's command, not one that happens to be in the path.
const command = "/usr/bin/openstack"

type client struct {
	t      *testing.T
	server *cloud.Server
	cloud  string
}

func (c client) run(args ...string) (string, error) {
	cmd := exec.Command(command, append([]string{"--os-cloud", c.cloud}, args...)...)
	cmd.Env = append(os.Environ(), "OS_CLIENT_CONFIG_FILE="+filepath.Join(c.server.Dir, "clouds.yaml"), "PYTHONWARNINGS=ignore")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return stderr.String(), err
	}
	return string(out), nil
}

// json runs a command and decodes its answer.
func (c client) json(out any, args ...string) {
	c.t.Helper()
	text, err := c.run(append(args, "-f", "json")...)
	if err != nil {
		c.t.Fatalf("openstack %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		c.t.Fatalf("openstack %s: %v\n%s", strings.Join(args, " "), err, text)
	}
}

func (c client) must(args ...string) string {
	c.t.Helper()
	text, err := c.run(args...)
	if err != nil {
		c.t.Fatalf("openstack %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return text
}

// refused runs a command that has to fail with the words in its message.
func (c client) refused(words string, args ...string) {
	c.t.Helper()
	text, err := c.run(args...)
	if err == nil {
		c.t.Errorf("openstack %s succeeded", strings.Join(args, " "))
	} else if !strings.Contains(text, words) {
		c.t.Errorf("openstack %s failed without saying %q: %s", strings.Join(args, " "), words, text)
	}
}

type object map[string]any

func TestTheOpenstackCommandWorksUnmodified(t *testing.T) {
	if _, err := os.Stat(command); err != nil {
		t.Fatalf("%s is missing: install the package python3-openstackclient", command)
	}
	s := cloud.Start(t)
	admin, demo := client{t, s, "admin"}, client{t, s, "demo"}

	var network, subnet, port object
	demo.json(&network, "network", "create", "blue", "--description", "the first", "--tag", "tour")
	if network["status"] != "ACTIVE" || network["mtu"] != 1450.0 {
		t.Errorf("the network is %v", network)
	}
	if network["provider:network_type"] != nil {
		t.Errorf("a plain project sees the provider attributes: %v", network["provider:network_type"])
	}
	demo.json(&subnet, "subnet", "create", "blue-v4", "--network", "blue", "--subnet-range", "10.10.0.0/24",
		"--dns-nameserver", "9.9.9.9", "--host-route", "destination=10.99.0.0/16,gateway=10.10.0.254")
	if subnet["gateway_ip"] != "10.10.0.1" || subnet["enable_dhcp"] != true {
		t.Errorf("the subnet is %v", subnet)
	}
	demo.json(&port, "port", "create", "vm1", "--network", "blue", "--fixed-ip", "subnet=blue-v4,ip-address=10.10.0.7")
	if port["status"] != "DOWN" || !strings.Contains(toText(port["fixed_ips"]), "10.10.0.7") {
		t.Errorf("the port is %v", port)
	}
	demo.refused("10.10.0.7", "port", "create", "vm2", "--network", "blue", "--fixed-ip", "ip-address=10.10.0.7")
	demo.refused("127.0.0.0/8", "subnet", "create", "bad", "--network", "blue", "--subnet-range", "127.0.0.0/8")
	demo.refused("blue", "network", "delete", "blue")
	demo.refused("disallowed by policy", "network", "create", "x", "--share")

	var shown object
	admin.json(&shown, "network", "show", network["id"].(string))
	if shown["provider:network_type"] != "vxlan" || shown["provider:segmentation_id"] == nil {
		t.Errorf("an administrator sees %v", shown)
	}
	admin.json(&shown, "port", "show", port["id"].(string))
	if shown["binding_vif_type"] != "unbound" {
		t.Errorf("the port's VIF type is %v", shown["binding_vif_type"])
	}
	admin.must("port", "set", "vm1", "--host", "nowhere")
	admin.json(&shown, "port", "show", "vm1")
	if shown["binding_vif_type"] != "binding_failed" {
		t.Errorf("a port on an unknown host has the VIF type %v", shown["binding_vif_type"])
	}
	demo.must("network", "set", "blue", "--name", "azure", "--tag", "sea")
	demo.must("subnet", "set", "blue-v4", "--no-dns-nameservers", "--dns-nameserver", "1.1.1.1")
	demo.must("port", "set", "vm1", "--name", "web", "--disable")

	var list []object
	demo.json(&list, "network", "list", "--tags", "sea", "--long")
	if len(list) != 1 || list[0]["Name"] != "azure" {
		t.Errorf("the networks with the tag are %v", list)
	}
	demo.json(&list, "port", "list", "--network", "azure", "--fixed-ip", "ip-address=10.10.0.7")
	if len(list) != 1 || list[0]["Name"] != "web" {
		t.Errorf("the ports with the address are %v", list)
	}
	demo.json(&list, "subnet", "list", "--network", "azure", "--sort-column", "Name")
	if len(list) != 1 {
		t.Errorf("the subnets are %v", list)
	}
	admin.json(&list, "network", "agent", "list")
	if len(list) != 0 {
		t.Errorf("a server without hosts has the agents %v", list)
	}
	admin.json(&list, "extension", "list", "--network")
	if len(list) == 0 {
		t.Error("no extensions")
	}

	admin.must("network", "create", "flat1", "--provider-network-type", "flat", "--provider-physical-network", "physnet1")
	admin.refused("physnet1", "network", "create", "flat2", "--provider-network-type", "flat", "--provider-physical-network", "physnet1")

	demo.must("port", "delete", "web")
	demo.must("subnet", "delete", "blue-v4")
	demo.must("network", "delete", "azure")
	demo.json(&list, "network", "list")
	if len(list) != 0 {
		t.Errorf("what is left: %v", list)
	}
}

// TestOpenrcWorksForBoth sources the openrc that the server wrote, as people do.
func TestOpenrcWorksForBoth(t *testing.T) {
	s := cloud.Start(t)
	for who, project := range map[string]string{"": "admin", "demo": "demo"} {
		out, err := exec.Command("bash", "-c", "source $0/openrc $1 && "+command+" project show $OS_PROJECT_NAME -f value -c name || "+
			command+" project list --my-projects -f value -c Name", s.Dir, who).CombinedOutput()
		if err != nil || !strings.Contains(string(out), project) {
			t.Errorf("openrc %q is not the project %s: %v\n%s", who, project, err, out)
		}
	}
}

func toText(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}
