package netns

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Restore gives an open namespace the name that it had lost, so that whoever uses it notices nothing.
func Restore(h *Handle) error {
	path, err := path(h.name)
	if err != nil {
		return err
	}
	if err := shareDir(); err != nil {
		return fmt.Errorf("give the network namespace %s its name back: %w", h.name, err)
	}
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
	if err == nil {
		err = errors.Join(file.Close(), unix.Mount(fmt.Sprintf("/proc/self/fd/%d", h.Fd()), path, "none", unix.MS_BIND, ""))
	}
	if err != nil {
		return fmt.Errorf("give the network namespace %s its name back: %w", h.name, err)
	}
	return nil
}
