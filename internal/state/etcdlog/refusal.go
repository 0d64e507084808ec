package etcdlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// answer is what an error of etcd says about the transaction that got it.
type answer int

const (
	// unknown: it may have been executed, or may still be.
	unknown answer = iota
	// refused: it was not executed, and will not be however often it is sent.
	refused
	// outOfSpace: it was not executed because etcd's quota is used up.
	outOfSpace
)

// classify says what an error of etcd means. Whatever it does not know for sure is unknown.
func classify(err error) answer {
	if errors.Is(err, rpctypes.ErrNoSpace) {
		return outOfSpace
	}
	if errors.Is(err, rpctypes.ErrTooManyRequests) {
		return unknown // not executed, but soon might be: worth another attempt
	}
	var e rpctypes.EtcdError
	code := status.Code(err)
	if errors.As(err, &e) {
		code = e.Code()
	}
	switch code {
	case codes.InvalidArgument, codes.ResourceExhausted, codes.PermissionDenied, codes.Unauthenticated,
		codes.Unimplemented, codes.FailedPrecondition, codes.OutOfRange:
		return refused
	}
	return unknown
}

// space says why nothing may be written now, or nil.
func (l *Log) space() error {
	if l.opts.Space == nil {
		return nil
	}
	return l.opts.Space()
}

const (
	reclaimEvery = 10 * time.Second // how often the log tries in vain to get space back
	quotaLow     = 0.9              // the share of its quota below which etcd's alarm may be taken back
)

// reclaim tries to make etcd writable again after its quota was used up: etcd then raises an alarm, refuses every put,
// and goes on doing so until someone takes the alarm back. The log removes old revisions, has their space given back
// where it may (Options.Reclaim), and takes the alarm back only when every member's database is below 90 % of its
// quota, so that the alarm does not come and go with each commit. After it has failed it waits 10 seconds.
func (l *Log) reclaim(ctx context.Context) {
	if time.Since(l.reclaimFailed) < reclaimEvery {
		return
	}
	if err := l.reclaimNow(ctx); err != nil {
		l.reclaimFailed = time.Now()
		l.opts.Logger.Warn("etcd's quota is used up, and space could not be given back", "error", err)
		return
	}
	l.opts.Logger.Info("etcd's quota was used up: space was given back and the alarm taken back")
}

func (l *Log) reclaimNow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c := l.opts.Client
	if _, err := c.Compact(ctx, l.head, clientv3.WithCompactPhysical()); err != nil &&
		!errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compacting: %w", err)
	}
	if l.opts.Reclaim != nil {
		if err := l.opts.Reclaim(ctx); err != nil {
			return fmt.Errorf("defragmenting: %w", err)
		}
	}
	endpoints := c.Endpoints()
	if len(endpoints) == 0 {
		endpoints = []string{""} // a client inside the process has none, and needs none
	}
	for _, endpoint := range endpoints {
		s, err := c.Status(ctx, endpoint)
		if err != nil {
			return fmt.Errorf("asking %s for its size: %w", endpoint, err)
		}
		if s.DbSizeQuota > 0 && float64(s.DbSize) > quotaLow*float64(s.DbSizeQuota) {
			return fmt.Errorf("the database has %d of %d bytes: give etcd a larger quota (--quota-backend-bytes), "+
				"or defragment it", s.DbSize, s.DbSizeQuota)
		}
	}
	if _, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		return fmt.Errorf("taking the alarm back: %w", err)
	}
	return nil
}

// isTooManyOps and isTooLarge tell the two limits of etcd apart that operators have to raise.
func isTooManyOps(err error) bool { return errors.Is(err, rpctypes.ErrTooManyOps) }

func isTooLarge(err error) bool {
	// The limit of the gRPC server comes before etcd's own and has no error of its own.
	return errors.Is(err, rpctypes.ErrRequestTooLarge) ||
		status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "larger than max")
}
