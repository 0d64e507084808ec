package etcdlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"golang.org/x/sys/unix"
)

// DefaultReserve is the space on the disk that is kept free of commits: etcd's log grows by segments of 64 MiB, its
// database by 16 MiB, and it ends its process when it cannot write. It is sized so that a commit which begins with this
// much free space cannot run into a full disk.
const DefaultReserve = 112 << 20

const (
	defaultQuota = 8 << 30 // bytes of the database at which etcd refuses further puts
	maxSocket    = 107     // length of a unix socket's path
	startTimeout = 60 * time.Second
	closeTimeout = 15 * time.Second
)

// EmbeddedOptions configure an Embedded.
type EmbeddedOptions struct {
	// Dir is where etcd keeps its data. It is made, with mode 0700. Required.
	Dir string
	// Logger gets etcd's warnings and errors. Default: slog.Default().
	Logger *slog.Logger
	// Quota is how large the database may grow, in bytes. Default: 8 GiB.
	Quota int64
	// Reserve is the free space below which Space refuses writes, in bytes. Default: DefaultReserve; negative: none.
	Reserve int64
	// ClientSocket makes etcd listen on the socket client.sock in Dir, for etcdctl.
	ClientSocket bool
}

// Embedded is an etcd of one member in this process. Only this process talks to it, by function calls: it listens
// nowhere, unless EmbeddedOptions.ClientSocket says so.
//
// etcd ends its process when it cannot write its own log. Here it does not: the part of it that has failed stops where
// it is, Stopped is closed, and Err says why. What is in memory can still be read, but nothing is written any more, and
// the process has to be started again. Space prevents the usual reason, a disk that fills up.
type Embedded struct {
	opts   EmbeddedOptions
	lock   *os.File
	etcd   *embed.Etcd
	client *clientv3.Client

	failure *failure
	close   sync.Once
}

// StartEmbedded starts etcd in opts.Dir, and returns when it can be written. Close stops it.
func StartEmbedded(ctx context.Context, opts EmbeddedOptions) (*Embedded, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Quota == 0 {
		opts.Quota = defaultQuota
	}
	if opts.Reserve == 0 {
		opts.Reserve = DefaultReserve
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	if err := os.Chmod(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("protecting the data directory: %w", err)
	}
	lock, err := lockDir(opts.Dir)
	if err != nil {
		return nil, err
	}
	e := &Embedded{opts: opts, lock: lock, failure: newFailure()}
	if err := e.start(ctx); err != nil {
		e.Close()
		return nil, fmt.Errorf("starting etcd in %s: %w", opts.Dir, err)
	}
	return e, nil
}

// start runs etcd. A start that fails for good never returns (failure.go), so it has a goroutine of its own.
func (e *Embedded) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	type result struct {
		etcd *embed.Etcd
		err  error
	}
	if err := e.beginFirstStart(); err != nil {
		return err
	}
	started := make(chan result, 1)
	go func() {
		etcd, err := embed.StartEtcd(e.config())
		started <- result{etcd, err}
	}()
	select {
	case r := <-started:
		if r.err != nil {
			return r.err
		}
		e.etcd = r.etcd
	case <-e.failure.stopped:
		return e.Err()
	}
	select {
	case <-e.etcd.Server.ReadyNotify():
	case <-e.etcd.Server.StopNotify():
		return errors.New("it stopped while it was starting")
	case <-e.failure.stopped:
		return e.Err()
	case <-ctx.Done():
		return fmt.Errorf("waiting until it is ready: %w", ctx.Err())
	}
	if err := e.endFirstStart(); err != nil {
		return err
	}
	e.client = v3client.New(e.etcd.Server)
	return e.protectSocket()
}

// An etcd that is killed in its first moments leaves a log without members, with which it waits forever for its own
// election. So the first start leaves a mark until it is over: nothing can have been written before, and the next start
// begins again. A directory without the mark, one that was restored for instance, is never emptied.
func (e *Embedded) firstStart() string { return filepath.Join(e.opts.Dir, "first-start") }

func (e *Embedded) beginFirstStart() error {
	member := filepath.Join(e.opts.Dir, "member")
	switch _, err := os.Stat(e.firstStart()); {
	case err == nil:
		if err := os.RemoveAll(member); err != nil {
			return fmt.Errorf("removing what a first start has left that was cut short: %w", err)
		}
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	if _, err := os.Stat(member); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return e.changeMark(os.WriteFile(e.firstStart(), nil, 0o600))
}

func (e *Embedded) endFirstStart() error {
	err := os.Remove(e.firstStart())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return e.changeMark(err)
}

// changeMark makes what was done to the mark durable before anything else happens.
func (e *Embedded) changeMark(err error) error {
	if err == nil {
		var dir *os.File
		if dir, err = os.Open(e.opts.Dir); err == nil {
			err = errors.Join(dir.Sync(), dir.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("marking the first start: %w", err)
	}
	return nil
}

// protectSocket leaves the socket to the owner. Until then the mode of the directory has done so.
func (e *Embedded) protectSocket() error {
	if len(e.etcd.Clients) == 0 {
		return nil
	}
	if err := os.Chmod(e.socket(), 0o600); err != nil {
		return fmt.Errorf("protecting the socket: %w", err)
	}
	return nil
}

func (e *Embedded) socket() string { return filepath.Join(e.opts.Dir, "client.sock") }

// config is etcd's configuration. fsync stays on: what is acknowledged is on the disk.
func (e *Embedded) config() *embed.Config {
	c := embed.NewConfig()
	c.Name = "neutrino"
	c.Dir = e.opts.Dir
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(e.opts.Logger, e.failure))

	// A single member has no peers: it listens for none, and the address it advertises is never used.
	c.ListenPeerUrls = nil
	c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:0"}}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.ListenClientUrls = nil
	c.AdvertiseClientUrls = nil
	if socket := e.socket(); e.opts.ClientSocket && len(socket) <= maxSocket {
		c.ListenClientUrls = []url.URL{{Scheme: "unix", Path: socket}}
		c.AdvertiseClientUrls = c.ListenClientUrls
	} else if e.opts.ClientSocket {
		e.opts.Logger.Warn("etcd has no socket for etcdctl: its path would be too long", "path", socket)
	}
	c.EnableGRPCGateway = false

	// Alone, a member need not wait for others before it elects itself.
	c.TickMs = 20
	c.ElectionMs = 100

	c.QuotaBackendBytes = e.opts.Quota
	c.MaxTxnOps = MaxTxnOps
	c.MaxRequestBytes = MaxRequestBytes
	// What is not in a snapshot of raft yet is in memory, and no follower will ask for older entries.
	c.SnapshotCount = 1000
	c.SnapshotCatchUpEntries = 10
	return c
}

// lockDir makes sure that no other process uses the directory. The lock ends with the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another process uses the data directory %s", dir)
		}
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	return f, nil
}

// Client returns the connection to etcd. It ends with Close.
func (e *Embedded) Client() *clientv3.Client { return e.client }

// LogOptions are the options of a log on this etcd.
func (e *Embedded) LogOptions() Options {
	return Options{
		Client: e.client, Logger: e.opts.Logger, Space: e.Space, Reclaim: e.Reclaim, Lost: e.failure.stopped,
	}
}

// Stopped is closed when etcd has failed for good.
func (e *Embedded) Stopped() <-chan struct{} { return e.failure.stopped }

// Err says why etcd has failed for good, or nil.
func (e *Embedded) Err() error { return e.failure.err() }

// Space says that the disk has too little space left for another commit, or that etcd has failed, or nil.
func (e *Embedded) Space() error {
	if err := e.Err(); err != nil {
		return err
	}
	if e.opts.Reserve < 0 {
		return nil
	}
	var s unix.Statfs_t
	if err := unix.Statfs(e.opts.Dir, &s); err != nil {
		return fmt.Errorf("asking for the space left in %s: %w", e.opts.Dir, err)
	}
	if left := int64(s.Bavail) * s.Bsize; left < e.opts.Reserve {
		return fmt.Errorf("the disk is full: %s has %d MiB left, %d are needed", e.opts.Dir, left>>20, e.opts.Reserve>>20)
	}
	return nil
}

// Reclaim gives the space of deleted revisions back, by writing the database anew. Nothing else is answered meanwhile.
func (e *Embedded) Reclaim(context.Context) error {
	if err := e.Space(); err != nil {
		return err
	}
	// Not by the client: inside the process, its Defragment panics (etcd 3.7.3 has no health notifier there).
	return e.etcd.Server.Backend().Defrag()
}

// Close stops etcd and flushes what it holds. After a failure there is nothing to flush: what was acknowledged is on
// the disk, and the directory stays locked until the process ends.
func (e *Embedded) Close() error {
	var err error
	e.close.Do(func() { err = e.stop() })
	return err
}

func (e *Embedded) stop() error {
	if err := e.Err(); err != nil {
		return fmt.Errorf("etcd had failed before it was stopped: %w", err)
	}
	e.failure.closing.Store(true)
	if e.client != nil {
		e.client.Close()
	}
	if e.etcd != nil {
		done := make(chan struct{})
		go func() {
			e.etcd.Close()
			close(done)
		}()
		timeout := time.NewTimer(closeTimeout)
		defer timeout.Stop()
		select {
		case <-done:
		case <-e.failure.stopped:
			return fmt.Errorf("stopping etcd: %w", e.Err())
		case <-timeout.C:
			return fmt.Errorf("stopping etcd: it has not stopped within %v", closeTimeout)
		}
	}
	if err := e.lock.Close(); err != nil {
		return fmt.Errorf("unlocking the data directory: %w", err)
	}
	return nil
}
