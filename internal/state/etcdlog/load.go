package etcdlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/neutrino-net/neutrino/internal/state"
)

const (
	pageSize = 5000 // objects read in one request
	// recordsKept is for how long the commit record of a process that writes no more is kept. A process that has
	// waited that long for a lost answer is not told that its commit was made, but that another server was faster.
	recordsKept = 24 * time.Hour
)

// Load implements state.Log. It makes an empty store ready (schema, history, head), upgrades objects that an older
// version has written, and refuses those of a newer one.
func (l *Log) Load(ctx context.Context, each func(state.Entry) error) (revision int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = false
	m, err := l.meta(ctx)
	if err != nil {
		return 0, err
	}
	if m.head == nil {
		if m, err = l.initialize(ctx, m); err != nil {
			return 0, err
		}
	}
	if m, err = l.upgrade(ctx, m); err != nil {
		return 0, err
	}
	err = l.pages(ctx, root, m.at, func(kv *mvccpb.KeyValue) error {
		kind, id, ok := split(string(kv.Key))
		if !ok {
			return nil
		}
		return each(state.Entry{Kind: kind, ID: id, Value: kv.Value})
	})
	if err != nil {
		return 0, err
	}
	l.follow(m)
	l.ready = true
	l.tidy(ctx, m)
	return l.head, nil
}

// follow makes the next commit continue where m is.
func (l *Log) follow(m *meta) {
	l.head = m.head.ModRevision
	l.sequence = 0
	if r := m.records[commitsKey+l.server]; r != nil {
		l.sequence = r.position.Sequence
	}
	l.info.Lock()
	defer l.info.Unlock()
	l.info.history = m.history
}

// meta is what the log's own keys say at one revision.
type meta struct {
	at      int64            // the revision of etcd
	head    *mvccpb.KeyValue // nil: the store is empty
	history string
	schema  schemaRecord

	records map[string]*record
}

type record struct {
	position
	revision int64
}

func (l *Log) meta(ctx context.Context) (*meta, error) {
	resp, err := l.get(ctx, metaPrefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", metaPrefix, err)
	}
	m := &meta{at: resp.Header.Revision, records: map[string]*record{}}
	for _, kv := range resp.Kvs {
		key := string(kv.Key)
		switch {
		case key == headKey:
			m.head = kv
		case key == historyKey:
			m.history = string(kv.Value)
		case key == schemaKey:
			err = json.Unmarshal(kv.Value, &m.schema)
		case strings.HasPrefix(key, commitsKey):
			r := &record{revision: kv.ModRevision}
			m.records[key] = r
			err = json.Unmarshal(kv.Value, &r.position)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", key, err)
		}
	}
	return m, nil
}

// initialize writes the meta keys of an empty store. When another server is faster, its keys are as good.
func (l *Log) initialize(ctx context.Context, m *meta) (*meta, error) {
	if err := l.space(); err != nil {
		return nil, err
	}
	resp, err := l.get(ctx, root, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", root, err)
	}
	if resp.Count > int64(len(m.records)) {
		return nil, fmt.Errorf("there are keys under %s but no %s: this is not, or no longer, a whole state", root, headKey)
	}
	schema, err := json.Marshal(schemaRecord{Version: l.opts.Schema.Version})
	if err != nil {
		return nil, fmt.Errorf("writing the schema version: %w", err)
	}
	ops, err := l.operations(nil)
	if err != nil {
		return nil, err
	}
	ops = append(ops, clientv3.OpPut(schemaKey, string(schema)), clientv3.OpPut(historyKey, uuid.NewString()))
	l.head = 0 // the ModRevision of a key that does not exist
	if _, err := l.commit(ctx, ops); err != nil && !errors.Is(err, state.ErrFenced) {
		return nil, fmt.Errorf("making the store ready: %w", err)
	}
	return l.meta(ctx)
}

// pages reads the keys with the prefix as of the revision, in order, a page at a time.
func (l *Log) pages(ctx context.Context, from string, at int64, each func(*mvccpb.KeyValue) error) error {
	end := clientv3.GetPrefixRangeEnd(root)
	for {
		resp, err := l.get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(at), clientv3.WithLimit(pageSize))
		if err != nil {
			return fmt.Errorf("reading the objects from %s: %w", from, err)
		}
		for _, kv := range resp.Kvs {
			if err := each(kv); err != nil {
				return err
			}
		}
		if !resp.More {
			return nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// tidy removes the commit records of processes that are long gone. It may fail: the next start tries again.
func (l *Log) tidy(ctx context.Context, m *meta) {
	for key, r := range m.records {
		if time.Since(r.Time) < recordsKept || key == commitsKey+l.server || l.space() != nil {
			continue
		}
		_, err := l.kv.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", r.revision)).
			Then(clientv3.OpDelete(key)).
			Commit()
		if err != nil {
			l.opts.Logger.Warn("an old commit record could not be removed", "key", key, "error", err)
		}
	}
}
