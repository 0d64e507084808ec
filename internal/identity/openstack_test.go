package identity

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// openstackCommand is where the distribution's package python3-openstackclient puts the command.
const openstackCommand = "/usr/bin/openstack"

// openstack runs the unmodified command against the cloud, with nothing but clouds.yaml to go by. The commands go to one
// process, since its start takes more than a second. It returns what they print.
func (c *testCloud) openstack(cloud string, commands ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, openstackCommand)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	cmd.Env = []string{"HOME=" + c.t.TempDir(), "PATH=/usr/bin:/bin", "LANG=C.UTF-8", "no_proxy=*",
		"OS_CLIENT_CONFIG_FILE=" + filepath.Join(c.options.Dir, cloudsFile), "OS_CLOUD=" + cloud}
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Errorf("openstack for cloud %s: %v\n%s", cloud, err, out)
	}
	return string(out)
}

// TestOpenstackCommand compares what the command prints, step by step.
func TestOpenstackCommand(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(openstackCommand); err != nil {
		t.Fatalf("this test runs the distribution's openstack command: install python3-openstackclient (%v)", err)
	}
	c := openCloud(t)
	adminID, demoID := c.id("users", "admin"), c.id("projects", "demo")
	type step struct{ command, want string }
	for cloud, steps := range map[string][]step{
		"admin": {
			{"token issue -f value -c user_id", adminID},
			{"catalog list -f value -c Name -c Type", "keystone identity\nneutron network"},
			{"project list -f value -c Name", "admin\ndemo\nservice"},
			{"project create --description Paint blue -f value -c name", "blue"},
			{"user create --project blue --password secret ann -f value -c name", "ann"},
			{"role add --user ann --project blue member", ""},
			{"role assignment list --names --project blue -f value -c Role -c User", "member ann@Default"},
			{"user list -f value -c Name", "admin\nann\ndemo\nservice"},
			{"user set --email ann@example.org ann", ""},
			{"user show ann -f value -c email -c enabled", "ann@example.org\nTrue"},
			{"role list -f value -c Name", "admin\nmanager\nmember\nreader\nservice"},
			{"endpoint list -f value -c URL --service network --interface public", "http://127.0.0.1:9696"},
			{"user delete ann", ""},
			{"project delete blue", ""},
			{"project list -f value -c Name", "admin\ndemo\nservice"},
		},
		"demo": {
			{"token issue -f value -c project_id", demoID},
			{"project list -f value -c Name", "demo"},
			{"user create --password x eve", "You are not authorized to perform the requested action. (HTTP 403)"},
		},
	} {
		t.Run(cloud, func(t *testing.T) {
			var commands, want []string
			for _, s := range steps {
				commands = append(commands, s.command)
				if s.want != "" {
					want = append(want, strings.Split(s.want, "\n")...)
				}
			}
			var got []string
			for line := range strings.Lines(c.openstack(cloud, commands...)) {
				if line = strings.TrimSpace(line); line != "" {
					got = append(got, line)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what the command printed (-want +got):\n%s", diff)
			}
		})
	}
}
