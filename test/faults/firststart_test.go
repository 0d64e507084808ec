package faults

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A process that is killed while it starts for the first time leaves half an etcd behind. Nothing was acknowledged, and
// the next start must not wait for what will never be there.
func TestAFirstStartMayBeKilledAtAnyMoment(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range rounds(t) {
		dir := filepath.Join(t.TempDir(), "etcd")
		child := exec.Command(self)
		child.Env = append(os.Environ(), dirVariable+"="+dir)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		after := time.Duration(rand.Int64N(int64(250 * time.Millisecond)))
		time.Sleep(after) //nolint:forbidigo // it dies at a random moment
		_ = child.Process.Kill()
		_ = child.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		_, done, err := openState(ctx, dir)
		cancel()
		if err != nil {
			files, _ := exec.Command("find", dir, "-type", "f", "-printf", "%P %s\n").Output()
			t.Fatalf("killed after %v: %v\n%s", after, err, files)
		}
		if err := done(); err != nil {
			t.Fatal(err)
		}
	}
}
