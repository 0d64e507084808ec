package lab

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Everybody who lives in a namespace of the lab is ended with it, and `ip netns attach` on a host gives a name to any
// namespace at all. The lab is never taken down here: were this to fail, it would end every process of the machine.
func TestTheMachinesOwnNamespacesNeverBelongToALab(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("namespaces are made by root only: run the tests as root")
	}
	l, err := New(Options{Name: "attached", Dir: t.TempDir(), RunDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.unpinAll(); err != nil {
			t.Error(err)
		}
	})
	if err := l.mountPinDir(); err != nil {
		t.Fatal(err)
	}
	if err := l.createHost("host"); err != nil {
		t.Fatal(err)
	}
	attach := func(from, to string) error {
		if err := os.WriteFile(to, nil, 0o600); err != nil {
			return err
		}
		return unix.Mount(from, to, "", unix.MS_BIND, "")
	}
	// Under a name on the host, as `ip netns attach` does it, and as a pin.
	err = onOwnThread(func() error {
		if err := l.enter("host"); err != nil {
			return err
		}
		if err := attach("/proc/self/ns/net", "/run/netns/own"); err != nil {
			return err
		}
		if err := attach("/proc/1/ns/net", "/run/netns/first"); !errors.Is(err, unix.EACCES) {
			return err // some machines keep their first process to themselves
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := attach("/proc/self/ns/uts", l.pin("other", "uts")); err != nil {
		t.Fatal(err)
	}

	namespaces, err := l.namespaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds() {
		for _, process := range []string{"1", "self"} {
			path := filepath.Join("/proc", process, "ns", k.name)
			if id, ok := nsOf(path); ok && namespaces[id] {
				t.Errorf("%s is taken for the lab's", path)
			}
		}
		if id, ok := nsOf(l.pin("host", k.name)); !ok || !namespaces[id] {
			t.Errorf("the host's own %s namespace is not the lab's", k.name)
		}
	}
	if livesIn(os.Getpid(), namespaces) || livesIn(1, namespaces) {
		t.Error("a process of the machine is taken for an inhabitant")
	}
}
