// Package openstack runs the distribution's own openstack command (python3-openstackclient, python3-neutronclient),
// unmodified, against a server, with the clouds.yaml and openrc that the server wrote: each command of networking at
// least once. The program's own commands are run beside it, and have to answer the same.
package openstack

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/cli/openstack"
	"github.com/neutrino-net/neutrino/test/cloud"
	"github.com/spf13/cobra"
)

func TestMain(m *testing.M) {
	code := m.Run()
	cloud.Clean()
	os.Exit(code)
}

// start starts a server that has the physical networks of the script.
func start(t *testing.T) *cloud.Server {
	return cloud.Start(t, "--network-vlan-ranges", "physnet1:100:199,physnet2,physnet3")
}

// script is all steps, in the order in which they are done.
var script = [][]step{
	networkSteps, subnetSteps, portSteps, trunkSteps, segmentSteps, routerSteps, securitySteps, rbacSteps, qosSteps,
	serviceSteps, firewallSteps, quotaSteps,
}

func TestEveryCommand(t *testing.T) {
	t.Parallel()
	a, b := start(t), start(t)
	theirs, same := clients(t, a)
	theirs.clouds = withNeighbours(t, a)
	_, ours := clients(t, b)
	first, second := &session{theirs, map[string]string{}}, &session{ours, map[string]string{}}
	for _, steps := range script {
		play(t, first, second, same, steps)
	}
}

// TestEveryCommandOfAgents is apart, since agents take up work by themselves, and choose at random.
func TestEveryCommandOfAgents(t *testing.T) {
	t.Parallel()
	a, b := start(t), start(t)
	joinHosts(t, a)
	joinHosts(t, b)
	theirs, same := clients(t, a)
	_, ours := clients(t, b)
	play(t, &session{theirs, map[string]string{}}, &session{ours, map[string]string{}}, same, agentSteps)
}

// others are the commands of the client that are for what Neutrino does not have.
var others = []string{"bgp", "bgpvpn", "sfc", "vpn"}

// generic are the options that all commands of the client have.
var generic = []string{
	"--help", "--format", "--column", "--noindent", "--prefix", "--max-width", "--fit-width", "--print-empty", "--quote",
	"--sort-column",
	"--sort-ascending", "--sort-descending", "--variable", "--extra-property", "--project-domain", "--target-project-domain",
	"--all-projects",
}

// TestEveryCommandOfTheClientIsThere compares the words and options of both, and the words with the script.
func TestEveryCommandOfTheClientIsThere(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(python, "testdata/driver.py", "--list").Output()
	if err != nil {
		t.Fatalf("%v: are python3-openstackclient and python3-neutronclient installed?", err)
	}
	var commands map[string][]string
	if err := json.Unmarshal(out, &commands); err != nil {
		t.Fatal(err)
	}
	if len(commands) < 160 {
		t.Errorf("the client has %d commands only", len(commands))
	}
	steps := slices.Concat(slices.Concat(script...), agentSteps)
	root := &cobra.Command{Use: "neutrino"}
	root.AddCommand(openstack.Commands()...)
	for words, options := range commands {
		if first, _, _ := strings.Cut(words, " "); slices.Contains(others, first) {
			continue
		}
		if !slices.ContainsFunc(steps, func(s step) bool { return strings.HasPrefix(s.do+" ", words+" ") }) {
			t.Errorf("no step does openstack %s", words)
		}
		cmd, left, err := root.Find(strings.Fields(words))
		if err != nil || len(left) > 0 || cmd.HasSubCommands() {
			t.Errorf("there is no neutrino %s", words)
			continue
		}
		for _, o := range options {
			if !slices.Contains(generic, o) && cmd.Flags().Lookup(strings.TrimPrefix(o, "--")) == nil {
				t.Errorf("neutrino %s has no %s", words, o)
			}
		}
	}
}
