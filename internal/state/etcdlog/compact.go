package etcdlog

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// compact removes the revisions that are older than Retain, until ctx ends. Several servers may do so at once: the
// slower is told that it was done, which is fine. Nothing is compacted while nothing may be written.
func (l *Log) compact(ctx context.Context) {
	tick := time.NewTicker(l.opts.Retain / 5)
	defer tick.Stop()
	type mark struct {
		at       time.Time
		revision int64
	}
	var marks []mark // of this and the last runs, oldest first
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var old int64
		for len(marks) > 0 && time.Since(marks[0].at) >= l.opts.Retain {
			old = marks[0].revision
			marks = marks[1:]
		}
		if old > 0 && l.space() == nil {
			l.compactTo(ctx, old)
		}
		resp, err := l.get(ctx, headKey)
		if err == nil && (len(marks) == 0 || resp.Header.Revision > marks[len(marks)-1].revision) {
			marks = append(marks, mark{time.Now(), resp.Header.Revision})
		}
	}
}

func (l *Log) compactTo(ctx context.Context, revision int64) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := l.kv.Compact(ctx, revision)
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) && ctx.Err() == nil {
		l.opts.Logger.Warn("old revisions could not be compacted", "revision", revision, "error", err)
	}
}
