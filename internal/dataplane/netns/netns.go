// Package netns makes, opens and enters named network namespaces.
//
// Names live in Dir as bind mounts, exactly as iproute2 keeps them, so that `ip netns` shows and enters what the agent
// makes, and the other way round. A namespace outlives the process that made it; it ends with Delete (and with the last
// process inside).
//
// A Go program cannot simply call setns(2): goroutines wander between threads. Do is the one door: it runs a function on
// a thread of its own, inside the namespace, and throws the thread away if it cannot be brought home.
package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Dir is where named namespaces are mounted; the same directory as iproute2's.
const Dir = "/run/netns"

// ErrNotExist is returned when no namespace has the name.
var ErrNotExist = os.ErrNotExist

// Handle is an open network namespace: a file descriptor that keeps it alive. Close it when done.
type Handle struct {
	fd   vnetns.NsHandle
	name string
}

// Current opens the network namespace of the calling thread, which is the process's own everywhere except inside Do.
func Current() (*Handle, error) {
	fd, err := vnetns.Get()
	if err != nil {
		return nil, fmt.Errorf("open the current network namespace: %w", err)
	}
	return &Handle{fd: fd}, nil
}

// Open opens the namespace of the name. The error wraps ErrNotExist when there is none.
func Open(name string) (*Handle, error) {
	path, err := path(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", name, err)
	}
	// A file that is no mount point is left by a crash between creating it and mounting; it names no namespace.
	if !isNamespace(fd) {
		unix.Close(fd)
		return nil, fmt.Errorf("open network namespace %s: %w", name, ErrNotExist)
	}
	return &Handle{fd: vnetns.NsHandle(fd), name: name}, nil
}

// Create makes a namespace of the name, with its loopback device down, and opens it. One that exists is just opened.
func Create(name string) (*Handle, error) {
	if h, err := Open(name); err == nil || !errors.Is(err, ErrNotExist) {
		return h, err
	}
	path, err := path(name)
	if err != nil {
		return nil, err
	}
	if err := shareDir(); err != nil {
		return nil, fmt.Errorf("create network namespace %s: %w", name, err)
	}
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
	if err != nil {
		return nil, fmt.Errorf("create network namespace %s: %w", name, err)
	}
	file.Close()

	err = onThread(func() (home bool, err error) {
		// The thread is not brought home: onThread ends it, and the mount keeps the namespace.
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return false, fmt.Errorf("unshare: %w", err)
		}
		own := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		if err := unix.Mount(own, path, "none", unix.MS_BIND, ""); err != nil {
			return false, fmt.Errorf("mount on %s: %w", path, err)
		}
		return false, nil
	})
	if err != nil {
		os.Remove(path)
		return nil, fmt.Errorf("create network namespace %s: %w", name, err)
	}
	return Open(name)
}

// Delete removes the name. The namespace itself, with all its devices, ends when no process and no handle uses it any
// more. It is no error if there is no such name.
func Delete(name string) error {
	path, err := path(name)
	if err != nil {
		return err
	}
	// Not mounted (EINVAL) and not there (ENOENT) are both what is wanted.
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("delete network namespace %s: unmount: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete network namespace %s: %w", name, err)
	}
	return nil
}

// List returns the names of the namespaces whose name begins with prefix, sorted.
func List(prefix string) ([]string, error) {
	entries, err := os.ReadDir(Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Name is the name under which the handle was opened; empty for Current.
func (h *Handle) Name() string { return h.name }

// Fd is the file descriptor, for netlink messages that move a device. It is valid until Close.
func (h *Handle) Fd() int { return int(h.fd) }

// Inode identifies the namespace while it lives: two handles with the same inode are the same namespace.
func (h *Handle) Inode() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(h.Fd(), &st); err != nil {
		return 0, fmt.Errorf("stat network namespace %s: %w", h.name, err)
	}
	return st.Ino, nil
}

// Close gives the descriptor back.
func (h *Handle) Close() error { return h.fd.Close() }

// Do runs fn on a thread that is inside the namespace and waits for it. What fn opens (sockets, files in /proc/sys/net)
// belongs to the namespace; processes that it starts live there. fn must not start goroutines that are to run in the
// namespace: they would not.
func Do(h *Handle, fn func() error) error {
	return onThread(func() (home bool, err error) {
		own, err := ownNamespace()
		if err != nil {
			return true, err
		}
		if err := unix.Setns(h.Fd(), unix.CLONE_NEWNET); err != nil {
			return true, fmt.Errorf("enter network namespace %s: %w", h.name, err)
		}
		err = fn()
		return unix.Setns(own.Fd(), unix.CLONE_NEWNET) == nil, err
	})
}

// ownNamespace is that of all threads but those inside of Do: it never changes.
var ownNamespace = sync.OnceValues(Current)

// onThread runs fn on an operating system thread that nobody else uses meanwhile, and that is in the process's own
// namespace. If fn does not bring it home, or panics, the goroutine ends with the thread still locked, so the runtime
// kills the thread: it never comes back into the pool in the wrong namespace.
func onThread(fn func() (home bool, err error)) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		// A panic would end the process from this goroutine, out of reach of the caller's recover.
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic in a network namespace: %v", p)
			}
		}()
		home, err := fn()
		if home {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// path is the mount point of a name. Names come from ids, but a separator in one would leave the directory.
func path(name string) (string, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || len(name) > 255 {
		return "", fmt.Errorf("%q is no name for a network namespace", name)
	}
	return filepath.Join(Dir, name), nil
}

// shareDir makes Dir a shared mount, as iproute2 does: otherwise a namespace deleted here would live on in the mount
// namespaces of services that were started while it existed.
func shareDir() error {
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return err
	}
	err := unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if err != unix.EINVAL {
		return err
	}
	// EINVAL: not a mount point yet. Bind it on itself first.
	if err := unix.Mount(Dir, Dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount %s on itself: %w", Dir, err)
	}
	return unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "")
}

func isNamespace(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Type == unix.NSFS_MAGIC
}
