package etcdlog_test

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// lossyKV loses the answer to the first transaction after lost was set, and calls lost then. While refusal is set, it
// refuses every transaction.
type lossyKV struct {
	clientv3.KV
	execute bool // whether the transaction is executed before its answer is lost
	lost    func()
	refusal error
	sent    int // transactions
}

func (k *lossyKV) Txn(ctx context.Context) clientv3.Txn { return &lossyTxn{Txn: k.KV.Txn(ctx), kv: k} }

type lossyTxn struct {
	clientv3.Txn
	kv *lossyKV
}

func (t *lossyTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { t.Txn = t.Txn.If(cs...); return t }
func (t *lossyTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(ops...); return t }
func (t *lossyTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(ops...); return t }

func (t *lossyTxn) Commit() (*clientv3.TxnResponse, error) {
	t.kv.sent++
	if t.kv.refusal != nil {
		return nil, t.kv.refusal
	}
	lost := t.kv.lost
	if lost == nil {
		return t.Txn.Commit()
	}
	t.kv.lost = nil
	if t.kv.execute {
		if resp, err := t.Txn.Commit(); err != nil {
			return resp, err
		}
	}
	lost()
	return nil, status.Error(codes.Unavailable, "the answer was lost")
}
