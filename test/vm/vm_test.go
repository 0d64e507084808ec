// Package vm runs tests of other packages under the kernel of Debian, in a throw-away virtual machine (see the script
// run beside this file). The kernel of the machine that tests may lack what hosts have, connection tracking on bridges for
// instance, and hosts may have an older one.
//
// The test programs are built here and run there, one after the other in one machine; a processor that is emulated
// is slow, so the table names what the kernel makes a difference to. A test that is skipped there has failed.
package vm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// programs are the tests that run in the machine: a package, which of its tests, and flags for them.
var programs = []struct{ name, pkg, tests, flags string }{
	{"bridges and tunnels", "internal/agent/l2", "TestTwoHosts|TestAnAddressThatMoves|TestDriftHeals|TestARestartedAgent|" +
		"TestSequenceOfViews|TestWithoutTheGuard|TestTheGuardIsPutBack|TestABridge|TestALegThatIsOnManyHosts", ""},
	{"routers", "internal/agent/l3", "TestTheFirstRule", ""},
	{"filters", "test/filter", "TestKernelDecides", "-rapid.checks=8"},
	{"logs, and tables that anybody may flush", "internal/agent/filter", "TestAFlushedTable|TestGatesAreFound|" +
		"TestAcceptedAndDropped|TestLogsAreFound/flush_ruleset", ""},
}

// script runs one test program after the other. Its arguments are the directory for the results, then for each program
// the directory of its package, the program, the pattern of its tests and the flags.
const script = `
results=$1; shift; n=0
while [ $# -gt 0 ]; do
	cd "$1" && timeout 240 "$2" -test.v -test.run "$3" $4 >"$results/$n.log" 2>&1
	echo $? >"$results/$n.status"
	n=$((n + 1)); shift 4
done
`

var (
	failures = regexp.MustCompile(`(?m)^\s*--- (FAIL|SKIP): .*$`)
	passes   = regexp.MustCompile(`(?m)^--- PASS: `)
)

func TestOnTheKernelOfDebian(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("the virtual machine reads the whole file system and installs what it needs: run this test as root")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// Not below the temporary directory: the machine has a file system of its own there.
	results, err := os.MkdirTemp(root, ".vm-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(results) })
	arguments := []string{"-t", "540", "-o", results, "--", "sh", "-c", script, "sh", results}
	for _, p := range programs {
		program := filepath.Join(results, strings.ReplaceAll(p.pkg, "/", "-")+".test")
		build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", program, "./"+p.pkg)
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("building the tests of %s: %v\n%s", p.pkg, err, out)
		}
		arguments = append(arguments, filepath.Join(root, p.pkg), program, p.tests, p.flags)
	}
	if out, err := exec.CommandContext(t.Context(), "./run", arguments...).CombinedOutput(); err != nil {
		t.Errorf("the virtual machine: %v\n%s", err, out)
	}
	for i, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			base := filepath.Join(results, string(rune('0'+i)))
			log, err := os.ReadFile(base + ".log")
			if err != nil {
				t.Fatal("it did not run")
			}
			status, _ := os.ReadFile(base + ".status")
			passed := len(passes.FindAll(log, -1))
			if string(bytes.TrimSpace(status)) != "0" || failures.Match(log) || passed == 0 {
				t.Fatalf("%d passed, exit status %s\n%s", passed, bytes.TrimSpace(status), log)
			}
			t.Logf("%d tests passed", passed)
		})
	}
}
