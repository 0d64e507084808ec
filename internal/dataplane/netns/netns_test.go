package netns_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
}

func create(t *testing.T, name string) *netns.Handle {
	t.Helper()
	requireRoot(t)
	h, err := netns.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Close()
		if err := netns.Delete(name); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestCreateIsSeenAndDeleteIsFinal(t *testing.T) {
	name := fmt.Sprintf("nettest-%d", os.Getpid())
	first := create(t, name)
	again, err := netns.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	a, _ := first.Inode()
	b, _ := again.Inode()
	if a != b || a == 0 {
		t.Errorf("creating twice gave two namespaces: inodes %d and %d", a, b)
	}
	names, err := netns.List("nettest-")
	if err != nil || !slices.Contains(names, name) {
		t.Errorf("List = %v, %v; want it to contain %s", names, err, name)
	}
	if err := netns.Delete(name); err != nil {
		t.Fatal(err)
	}
	if _, err := netns.Open(name); !errors.Is(err, netns.ErrNotExist) {
		t.Errorf("open after delete: %v, want ErrNotExist", err)
	}
	if err := netns.Delete(name); err != nil {
		t.Errorf("deleting what is gone: %v", err)
	}
}

func TestDoRunsInsideAndComesHome(t *testing.T) {
	h := create(t, fmt.Sprintf("nettest-do-%d", os.Getpid()))
	outside, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	home, _ := outside.Inode()
	inside, _ := h.Inode()
	for range 20 {
		err := netns.Do(h, func() error {
			here, err := netns.Current()
			if err != nil {
				return err
			}
			defer here.Close()
			if ino, _ := here.Inode(); ino != inside {
				return fmt.Errorf("in namespace %d, want %d", ino, inside)
			}
			ifs, err := net.Interfaces()
			if err == nil && len(ifs) > 3 {
				err = fmt.Errorf("a new namespace has %d devices", len(ifs))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		here, err := netns.Current()
		if err != nil {
			t.Fatal(err)
		}
		if ino, _ := here.Inode(); ino != home {
			t.Fatalf("after Do in namespace %d, want %d", ino, home)
		}
		here.Close()
	}
	if err := netns.Do(h, func() error { panic("boom") }); err == nil {
		t.Error("a panic inside was lost")
	}
}

func TestNamesCannotLeaveTheDirectory(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../x", "a/b", "a\x00b"} {
		if _, err := netns.Create(name); err == nil {
			t.Errorf("%q was accepted", name)
			_ = netns.Delete(name) // as well as it can be
		}
	}
}

// TestThreadsAreUsedAgain: to enter a namespace does not cost a thread.
func TestThreadsAreUsedAgain(t *testing.T) {
	h := create(t, fmt.Sprintf("nettest-threads-%d", os.Getpid()))
	seen := map[int]bool{}
	for range 200 {
		if err := netns.Do(h, func() error { seen[unix.Gettid()] = true; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) > 50 {
		t.Errorf("%d threads were used", len(seen))
	}
}
