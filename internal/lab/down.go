package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// grace is how long the lab's processes have to end by themselves.
const grace = 2 * time.Second

// Down removes the lab: its processes, namespaces, mounts and files. It says whether there was anything to remove.
//
// It works from whatever a kill at any moment has left, may be repeated, and touches nothing that is not the lab's.
func (l *Lab) Down(ctx context.Context) (removed bool, err error) {
	if !exists(l.runDir()) && !exists(filepath.Join(l.dir, l.name, marker)) {
		return false, nil
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	return true, l.remove(ctx)
}

// remove does the work of Down for the holder of the lock, which it removes with everything else.
func (l *Lab) remove(ctx context.Context) error {
	if err := l.clear(ctx); err != nil {
		return err
	}
	if err := os.Remove(l.runDir()); err != nil {
		return fmt.Errorf("removing the lab's run directory: %w", err)
	}
	removeEmptyParents(l.runDir())
	return nil
}

// clear removes everything but the run directory, with which the lab is locked.
func (l *Lab) clear(ctx context.Context) error {
	record, err := l.Load()
	if err != nil {
		return err
	}
	var recorded []Process
	if record != nil {
		if id, err := bootID(); err == nil && id == record.BootID {
			recorded = record.Processes // after a reboot the ids are somebody else's
		}
	}
	namespaces, err := l.namespaces()
	if err != nil {
		return fmt.Errorf("finding the lab's namespaces: %w", err)
	}
	if err := endAll(ctx, namespaces, recorded, grace); err != nil {
		return fmt.Errorf("ending the lab's processes: %w", err)
	}
	if err := l.unpinAll(); err != nil {
		return fmt.Errorf("removing the lab's namespaces: %w", err)
	}
	dir := filepath.Join(l.dir, l.name) // without a record: after a reboot the files are all that is left
	if record != nil {
		dir = record.Dir
	}
	if record != nil || exists(filepath.Join(dir, marker)) {
		if err := removeDir(dir); err != nil {
			return fmt.Errorf("removing the lab's data: %w", err)
		}
		removeEmptyParents(dir)
	}
	// The record goes after everything that only it knows of.
	for _, file := range []string{l.nextRecordFile(), l.recordFile()} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the lab's record: %w", err)
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// removeEmptyParents removes the two directories above (lab, neutrino) as far as nothing else is in them.
func removeEmptyParents(dir string) {
	for range 2 {
		dir = filepath.Dir(dir)
		if name := filepath.Base(dir); name != "lab" && name != "neutrino" {
			return
		}
		if os.Remove(dir) != nil {
			return
		}
	}
}
