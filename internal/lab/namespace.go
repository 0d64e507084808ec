package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// kind is a kind of namespace that a host has for itself.
type kind struct {
	name string // as in /proc/PID/ns
	flag int
}

// kinds are in the order in which they are entered: the mount namespace last, since the paths of the others are those
// of the machine.
func kinds() []kind {
	return []kind{{"net", unix.CLONE_NEWNET}, {"uts", unix.CLONE_NEWUTS}, {"mnt", unix.CLONE_NEWNS}}
}

// pin is the path of the file that keeps a namespace alive.
func (l *Lab) pin(host, kind string) string { return filepath.Join(l.pinDir(), host+"."+kind) }

func (l *Lab) pinDir() string { return filepath.Join(l.runDir(), "ns") }

// mountPinDir makes the file system that holds the pins. It is private: the kernel refuses to pin a mount namespace
// where mounts are handed on to others, and a pin that was handed on would outlive the lab.
func (l *Lab) mountPinDir() error {
	dir := l.pinDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("neutrino-lab", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755"); err != nil {
		return fmt.Errorf("mounting %s: %w", dir, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making %s private: %w", dir, err)
	}
	return nil
}

// createHost makes the namespaces of a host and pins them. A thread of its own makes them; should this process be
// killed before all of them are pinned, the kernel takes the others back.
func (l *Lab) createHost(name string) error {
	return l.createPinned(name, kinds(), func() error {
		if err := isolateMounts(); err != nil {
			return err
		}
		if err := unix.Sethostname([]byte(name)); err != nil {
			return fmt.Errorf("setting the host name: %w", err)
		}
		return loopbackUp()
	})
}

// createPinned makes new namespaces of the given kinds, runs setup in them and pins them under the name.
func (l *Lab) createPinned(name string, kinds []kind, setup func() error) error {
	ready, pinned, result := make(chan int), make(chan struct{}), make(chan error, 1)
	go func() {
		result <- onOwnThread(func() error {
			flags := 0
			for _, k := range kinds {
				flags |= k.flag
			}
			if err := unix.Unshare(flags); err != nil {
				return fmt.Errorf("making namespaces: %w", err)
			}
			if err := setup(); err != nil {
				return err
			}
			ready <- unix.Gettid()
			<-pinned // the thread's end would be the namespaces' end
			return nil
		})
	}()
	var err error
	select {
	case tid := <-ready:
		err = l.pinThread(name, kinds, tid)
		close(pinned)
		err = errors.Join(err, <-result)
	case err = <-result:
	}
	if err != nil {
		return fmt.Errorf("host %s: %w", name, err)
	}
	return nil
}

// pinThread binds the namespaces of one of our threads to files.
func (l *Lab) pinThread(name string, kinds []kind, tid int) error {
	for _, k := range kinds {
		path := l.pin(name, k.name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return err
		}
		from := fmt.Sprintf("/proc/self/task/%d/ns/%s", tid, k.name)
		if err := unix.Mount(from, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("pinning its %s namespace: %w", k.name, err)
		}
	}
	return nil
}

// isolateMounts gives the calling thread, which is in a new mount namespace, a /run and a /sys of its own.
func isolateMounts() error {
	steps := []struct {
		source, target, fstype string
		flags                  uintptr
		data                   string
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	}
	for _, s := range steps {
		if err := unix.Mount(s.source, s.target, s.fstype, s.flags, s.data); err != nil {
			return fmt.Errorf("mounting on %s: %w", s.target, err)
		}
	}
	return os.MkdirAll("/run/netns", 0o755)
}

// loopbackUp brings up lo in the calling thread's network namespace.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	return nil
}

// onOwnThread runs fn on a thread that ends with it, so that fn may change the thread's namespaces.
//
// The main thread is not used: it cannot end before the process does, and other programs judge by it in which
// namespaces the process is.
func onOwnThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the runtime ends the thread with the goroutine
		if unix.Gettid() == unix.Getpid() {
			done <- onOwnThread(fn) // on another thread, since this one is taken
			runtime.UnlockOSThread()
			return
		}
		done <- fn()
	}()
	return <-done
}

// enter moves the calling thread, which has to be locked, into the namespaces of a host.
func (l *Lab) enter(host string) error {
	// A mount namespace can only be entered by a thread that shares its root and working directory with no other.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("host %s: leaving the shared file system context: %w", host, err)
	}
	all := kinds()
	files := make([]*os.File, len(all))
	for i, k := range all {
		f, err := os.Open(l.pin(host, k.name))
		if err != nil {
			return fmt.Errorf("host %s: %w", host, err)
		}
		defer f.Close()
		files[i] = f
	}
	for i, k := range all {
		if err := unix.Setns(int(files[i].Fd()), k.flag); err != nil {
			return fmt.Errorf("host %s: entering its %s namespace: %w", host, k.name, err)
		}
	}
	return nil
}

// nsID tells one namespace of the machine from all others.
type nsID struct{ dev, ino uint64 }

// nsOf returns the namespace to which a path (a pin, or a file in /proc/PID/ns) leads.
func nsOf(path string) (nsID, bool) {
	var st unix.Stat_t
	var fsys unix.Statfs_t
	if unix.Stat(path, &st) != nil || unix.Statfs(path, &fsys) != nil || fsys.Type != unix.NSFS_MAGIC {
		return nsID{}, false
	}
	return nsID{st.Dev, st.Ino}, true
}

// namespaces returns the namespaces that belong to the lab: the pinned ones, and the named network namespaces
// (qdhcp-…, and those of workloads) that were made in its hosts.
//
// Whoever lives in one of them is ended with the lab. A host may have a name for a namespace that is not the lab's, since
// `ip netns attach NAME PID` gives one to that of any process. So those of the machine and our own never count.
func (l *Lab) namespaces() (map[nsID]bool, error) {
	found, foreign := map[nsID]bool{}, outerNamespaces()
	defer maps.DeleteFunc(found, func(id nsID, _ bool) bool { return foreign[id] })
	pins, err := os.ReadDir(l.pinDir())
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return nil, err
	}
	for _, p := range pins {
		path := filepath.Join(l.pinDir(), p.Name())
		id, ok := nsOf(path)
		if !ok {
			continue // made, but not yet bound, when somebody killed us
		}
		found[id] = true
		if strings.HasSuffix(p.Name(), ".mnt") {
			for _, nested := range namedNetworks(path) {
				found[nested] = true
			}
		}
	}
	return found, nil
}

// outerNamespaces are those of this process and of the machine's first one, of all kinds. Where the first one's cannot be
// read, nobody could give them a name either.
func outerNamespaces() map[nsID]bool {
	outer := map[nsID]bool{}
	for _, process := range []string{"1", "self"} {
		for _, k := range kinds() {
			if id, ok := nsOf(filepath.Join("/proc", process, "ns", k.name)); ok {
				outer[id] = true
			}
		}
	}
	return outer
}

// namedNetworks returns the network namespaces that have a name in the mount namespace at the path. Without access to
// it there is nothing to report: what runs in it is then found by the mount namespace itself.
func namedNetworks(mountNamespace string) []nsID {
	var found []nsID
	err := onOwnThread(func() error {
		f, err := os.Open(mountNamespace)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNS); err != nil {
			return err
		}
		names, err := filepath.Glob("/run/netns/*")
		for _, n := range names {
			if id, ok := nsOf(n); ok {
				found = append(found, id)
			}
		}
		return err
	})
	if err != nil {
		return nil
	}
	return found
}

// unpinAll lets go of every namespace of the lab. It may be called in any state that a kill can leave behind.
//
// Removing the file after unmounting it matters: the kernel then drops the copies of the mount which other mount
// namespaces (of another lab's hosts, of a system service) have inherited.
func (l *Lab) unpinAll() error {
	pins, err := os.ReadDir(l.pinDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, p := range pins {
		path := filepath.Join(l.pinDir(), p.Name())
		if err := unmountAll(path); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := unmountAll(l.pinDir()); err != nil {
		return err
	}
	if err := os.Remove(l.pinDir()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// unmountAll removes every mount that lies on the path, however many there are.
func unmountAll(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil // not a mount point (any more)
		}
		if err != nil {
			return fmt.Errorf("unmounting %s: %w", path, err)
		}
	}
}
