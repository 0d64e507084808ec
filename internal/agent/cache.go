package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// The cache is one file: the magic, the CRC-32 (IEEE) of the rest, big-endian, and the view as one Batch message.
var cacheMagic = []byte("NVIEW\x01")

// cacheDelay gathers the changes of a burst into one write.
const cacheDelay = 500 * time.Millisecond

// cacheGrace is how long a new agent waits for the server before it goes by the view of its predecessor. That view may lack
// what came in the last moments before a crash, and to go by it would take that away for a moment. The host itself has
// everything, so there is no hurry.
const cacheGrace = 2 * time.Second

// useCache makes the cached view the one that counts, if the server does not send anything in time.
func (a *Agent) useCache(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(cacheGrace):
	}
	a.mu.Lock()
	view := a.cached
	if view != nil {
		a.cached = nil
		a.adopt(view)
	}
	a.mu.Unlock()
	if view != nil {
		a.log.Info("the server does not answer: going by the cached view")
		a.wake()
	}
	return nil
}

// keepCache writes the view to disk soon after it has changed, and when the agent ends.
func (a *Agent) keepCache(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			select {
			case <-a.dirty:
				a.saveCache()
			default:
			}
			return nil
		case <-a.dirty:
		}
		select {
		case <-ctx.Done():
		case <-time.After(cacheDelay):
		}
		a.saveCache()
	}
}

func (a *Agent) saveCache() {
	view, _ := a.current()
	if err := saveCache(a.cachePath(), view); err != nil {
		// The work on the host goes on; only a start without a server would begin with an older view.
		a.log.Error("the view could not be cached", "error", err)
	}
}

// saveCache replaces the file: a crash at any moment leaves the old one or the new one, whole.
func saveCache(path string, view *View) error {
	batch := &sb.Batch{Revision: view.Revision, Last: true, Full: true}
	for d := range view.All() {
		batch.Put = append(batch.Put, d)
	}
	body, err := proto.Marshal(batch)
	if err != nil {
		return fmt.Errorf("encode the view: %w", err)
	}
	content := binary.BigEndian.AppendUint32(bytes.Clone(cacheMagic), crc32.ChecksumIEEE(body))
	file, err := os.CreateTemp(filepath.Dir(path), ".view-*") // with mode 0600
	if err != nil {
		return fmt.Errorf("write the cache of the view: %w", err)
	}
	_, err = file.Write(append(content, body...))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
		return fmt.Errorf("write the cache of the view: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename in the directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the data directory: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync the data directory: %w", err)
	}
	return nil
}

// loadCache reads the view. The error wraps os.ErrNotExist when there is none.
func loadCache(path string) (*View, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the cache of the view: %w", err)
	}
	body, ok := bytes.CutPrefix(content, cacheMagic)
	if !ok || len(body) < 4 || binary.BigEndian.Uint32(body) != crc32.ChecksumIEEE(body[4:]) {
		return nil, fmt.Errorf("%s is damaged, or was written by another version", path)
	}
	var batch sb.Batch
	if err := proto.Unmarshal(body[4:], &batch); err != nil {
		return nil, fmt.Errorf("decode %s: %w", path, err)
	}
	return NewView(batch.Revision, batch.Put...), nil
}
