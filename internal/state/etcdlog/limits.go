package etcdlog

import (
	"context"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/neutrino-net/neutrino/internal/state"
)

// The limits that an etcd needs so that every commit fits: the largest batch and the log's own two keys; the objects,
// their keys and the encoding around them.
const (
	MaxTxnOps       = state.MaxBatchEntries + 8
	MaxRequestBytes = state.MaxBatchBytes + 2<<20
	// a commit has the two operations of head and record besides the batch, and at most this much besides its bytes
	ownOps   = 2
	ownBytes = 4 << 10
)

// ConfigureClient sets in the configuration of a client what the log needs: room for the largest commit, and to be
// connected soon after etcd is back. The client logs nothing: the log tells of what was not answered.
func ConfigureClient(c *clientv3.Config) {
	c.MaxCallSendMsgSize = MaxRequestBytes
	c.Logger = zap.NewNop()
	c.DialOptions = append(c.DialOptions, grpc.WithConnectParams(grpc.ConnectParams{
		Backoff: backoff.Config{
			BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: lastBackoff,
		},
		MinConnectTimeout: defaultAttemptTimeout,
	}))
}

// CheckLimits finds out whether etcd accepts the largest commits, by sending transactions of that size that change
// nothing. Its error names the flag of etcd that has to be set. An etcd that is embedded here need not be checked.
func CheckLimits(ctx context.Context, c *clientv3.Client) error {
	never := clientv3.Compare(clientv3.CreateRevision(headKey), "<", 0)
	gets := make([]clientv3.Op, state.MaxBatchEntries+ownOps)
	for i := range gets {
		gets[i] = clientv3.OpGet(headKey)
	}
	if _, err := c.Txn(ctx).If(never).Then(gets...).Commit(); isTooManyOps(err) {
		return fmt.Errorf("etcd refuses transactions of %d operations: start it with --max-txn-ops=%d", len(gets), MaxTxnOps)
	} else if err != nil {
		return fmt.Errorf("checking how many operations etcd accepts in a transaction: %w", err)
	}
	large := clientv3.OpPut(metaPrefix+"limits", strings.Repeat("x", state.MaxBatchBytes+ownBytes))
	if _, err := c.Txn(ctx).If(never).Then(large).Commit(); isTooLarge(err) {
		return fmt.Errorf("etcd refuses requests of %d bytes: start it with --max-request-bytes=%d", state.MaxBatchBytes,
			MaxRequestBytes)
	} else if err != nil {
		return fmt.Errorf("checking how large a request etcd accepts: %w", err)
	}
	return nil
}
