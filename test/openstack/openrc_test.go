package openstack

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/test/cloud"
)

// TestOpenrcWorksForBothClients sources the openrc that the server wrote, as people do.
func TestOpenrcWorksForBothClients(t *testing.T) {
	t.Parallel()
	embedded, open := cloud.Start(t), cloud.Start(t, "--auth", "none")
	for _, c := range []struct {
		server        *cloud.Server
		who, provider string
	}{
		{embedded, "", "vxlan"}, {embedded, "demo", "None"}, {open, "", "vxlan"},
	} {
		for _, program := range []string{"/usr/bin/openstack", cloud.Binary(t)} {
			name := "n" + c.who
			const script = `source "$0/openrc" $1 && "$2" network create "$3" -f value -c provider:network_type`
			cmd := exec.Command("bash", "-c", script, c.server.Dir, c.who, program, name)
			cmd.Env = environment("/dev/null")
			out, err := cmd.Output()
			if got := strings.TrimSpace(string(out)); err != nil || got != c.provider {
				t.Errorf("%s as %q in %s: %q, %v", program, c.who, c.server.Dir, got, err)
			}
		}
	}
}
