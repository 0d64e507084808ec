package identity

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// openstackCommand is where the distribution's package python3-openstackclient puts the command.
const openstackCommand = "/usr/bin/openstack"

// openstack runs the unmodified command against the cloud, with nothing but clouds.yaml to go by.
func (c *testCloud) openstack(cloud string, args ...string) (string, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, openstackCommand, args...)
	cmd.Env = []string{"HOME=" + c.t.TempDir(), "PATH=/usr/bin:/bin", "LANG=C.UTF-8", "no_proxy=*",
		"OS_CLIENT_CONFIG_FILE=" + filepath.Join(c.options.Dir, cloudsFile), "OS_CLOUD=" + cloud}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func TestOpenstackCommand(t *testing.T) {
	if _, err := os.Stat(openstackCommand); err != nil {
		t.Fatalf("this test runs the distribution's openstack command: install python3-openstackclient (%v)", err)
	}
	c := openCloud(t)
	for _, step := range []struct{ cloud, command, want string }{
		{"admin", "token issue -f value -c user_id", c.id("users", "admin")},
		{"demo", "token issue -f value -c project_id", c.id("projects", "demo")},
		{"demo", "catalog list -f value -c Name -c Type", "keystone identity\nneutron network"},
		{"admin", "project list -f value -c Name", "admin\ndemo\nservice"},
		{"demo", "project list -f value -c Name", "demo"},
		{"admin", "project create --description Paint blue -f value -c name", "blue"},
		{"admin", "user create --project blue --password secret ann -f value -c name", "ann"},
		{"admin", "role add --user ann --project blue member", ""},
		{"admin", "role assignment list --names --project blue -f value -c Role -c User", "member ann@Default"},
		{"admin", "user list -f value -c Name", "admin\nann\ndemo\nservice"},
		{"admin", "user show ann -f value -c enabled", "True"},
		{"admin", "role list -f value -c Name", "admin\nmanager\nmember\nreader\nservice"},
		{"admin", "endpoint list -f value -c URL --service network --interface public", "http://127.0.0.1:9696"},
		{"admin", "user delete ann", ""},
		{"admin", "project delete blue", ""},
	} {
		out, err := c.openstack(step.cloud, strings.Fields(step.command)...)
		if err != nil || out != step.want {
			t.Errorf("openstack --os-cloud %s %s: got %q, %v; want %q", step.cloud, step.command, out, err, step.want)
		}
	}
	if out, err := c.openstack("demo", "user", "create", "eve"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("demo creates a user: got %q, %v", out, err)
	}
}
