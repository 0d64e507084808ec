package etcdlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/neutrino-net/neutrino/internal/state"
)

// Schema is the version of the objects that this program reads and writes, and how it gets there from older ones.
//
// A new version is needed when objects change so that a program of the old version would misread them, or the other
// way round. An attribute that may be absent needs none.
type Schema struct {
	// Version is 1 or more.
	Version int
	// Upgrades has, for each version before Version, what turns an object of that version into one of the next.
	Upgrades map[int]Upgrade
}

// Upgrade turns the JSON of one object into the next version's. Nil deletes the object. It sees each object once.
type Upgrade func(kind, id string, value []byte) ([]byte, error)

// CurrentSchema is the schema of this program.
var CurrentSchema = Schema{Version: 1}

// schemaRecord is the value of the schema key. While an upgrade is under way, Done is the last key that has been dealt
// with: an upgrade that was interrupted goes on there.
type schemaRecord struct {
	Version   int    `json:"version"`
	Upgrading bool   `json:"upgrading,omitempty"`
	Done      string `json:"done,omitempty"`
}

// The objects that one commit of an upgrade rewrites. The bytes are half of what fits: objects may grow.
const (
	upgradeEntries = state.MaxBatchEntries / 2
	upgradeBytes   = state.MaxBatchBytes / 2
)

// upgrade brings the objects to the version of this program, one version after the other, and returns the meta keys as
// they are then.
func (l *Log) upgrade(ctx context.Context, m *meta) (*meta, error) {
	want := l.opts.Schema.Version
	if m.schema.Version > want {
		return nil, fmt.Errorf("the state was written by a newer version of neutrino: its schema is %d, this program "+
			"knows %d; install the newer version, or restore a backup from before the upgrade", m.schema.Version, want)
	}
	for m.schema.Version < want {
		from := m.schema.Version
		step := l.opts.Schema.Upgrades[from]
		if step == nil {
			return nil, fmt.Errorf("the state has the schema %d, which this program cannot upgrade to %d", from, want)
		}
		l.opts.Logger.Info("upgrading the state", "from", from, "to", from+1)
		if err := l.upgradeStep(ctx, m, step); err != nil {
			return nil, fmt.Errorf("upgrading the state from schema %d: %w", from, err)
		}
		var err error
		if m, err = l.meta(ctx); err != nil {
			return nil, err
		}
		if m.schema.Version <= from {
			return nil, fmt.Errorf("upgrading the state from schema %d: it is still %d", from, m.schema.Version)
		}
	}
	return m, nil
}

// upgradeStep rewrites all objects, in commits of limited size. Each commit also says how far it has come, so that an
// object is never upgraded twice.
func (l *Log) upgradeStep(ctx context.Context, m *meta, step Upgrade) error {
	if err := l.space(); err != nil {
		return err
	}
	l.follow(m)
	progress := m.schema
	progress.Upgrading = true
	from := root
	if progress.Done != "" {
		from = progress.Done + "\x00"
	}
	var batch []state.Entry
	size := 0
	flush := func() error {
		err := l.commitUpgrade(ctx, batch, progress)
		batch, size = nil, 0
		return err
	}
	err := l.pages(ctx, from, m.at, func(kv *mvccpb.KeyValue) error {
		kind, id, ok := split(string(kv.Key))
		if !ok {
			return nil
		}
		value, err := step(kind, id, kv.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", kv.Key, err)
		}
		if len(batch) == upgradeEntries || size+len(value) > upgradeBytes && len(batch) > 0 {
			if err := flush(); err != nil {
				return err
			}
		}
		batch = append(batch, state.Entry{Kind: kind, ID: id, Value: value})
		size += len(value)
		progress.Done = string(kv.Key)
		return nil
	})
	if err != nil {
		return err
	}
	progress = schemaRecord{Version: m.schema.Version + 1}
	return flush()
}

func (l *Log) commitUpgrade(ctx context.Context, batch []state.Entry, progress schemaRecord) error {
	ops, err := l.operations(batch)
	if err != nil {
		return err
	}
	value, err := json.Marshal(progress)
	if err != nil {
		return fmt.Errorf("writing the schema version: %w", err)
	}
	revision, err := l.commit(ctx, append(ops, clientv3.OpPut(schemaKey, string(value))))
	if errors.Is(err, state.ErrFenced) {
		return errors.New("another server is upgrading the state, too; start this one again when it is done")
	}
	if err != nil {
		return err
	}
	l.head = revision
	l.sequence++
	return nil
}
