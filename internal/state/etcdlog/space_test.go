package etcdlog_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	"github.com/neutrino-net/neutrino/internal/state/etcdlog"
	"github.com/neutrino-net/neutrino/internal/testkit"
)

// smallDisk mounts a file system of its own for the test.
func smallDisk(t *testing.T, mebibytes int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a small file system: run it as root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mebibytes)); err != nil {
		t.Fatalf("mounting a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting the small file system: %v", err)
		}
	})
	return dir
}

// settled waits until etcd has written down in its database what its log has already. Where it has not when the space is
// taken by others, it ends, and says so; that is not what these tests are about.
func settled(t *testing.T, dir string) {
	t.Helper()
	const quiet = 500 * time.Millisecond // it writes each 100 ms
	path, last, since := filepath.Join(dir, "member/snap/db"), time.Time{}, time.Now()
	testkit.Eventually(t, time.Minute, "nothing written any more", func() bool {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if !info.ModTime().Equal(last) {
			last, since = info.ModTime(), time.Now()
		}
		return time.Since(since) > quiet
	})
}

// fillDisk takes all the space that is left.
func fillDisk(t *testing.T, dir string) (ballast string) {
	t.Helper()
	ballast = filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, block := range [][]byte{make([]byte, 1<<20), make([]byte, 4096)} {
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	return ballast
}

func put300(ctx context.Context, s *state.Store, id string) error {
	_, err := s.Update(ctx, func(tx *state.Tx) error {
		state.Networks.Put(tx, &model.Network{Meta: model.Meta{ID: id, Description: strings.Repeat("x", 300<<10)}})
		return nil
	})
	return err
}

// A disk that fills up refuses writes, loses nothing that was acknowledged, and takes writes again when there is space.
func TestAFullDiskRefusesWritesUntilThereIsSpace(t *testing.T) {
	disk := smallDisk(t, 320)
	dir := filepath.Join(disk, "etcd")
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: dir})
	s := openStore(t, newLog(t, e.LogOptions()))
	ctx := t.Context()
	if err := put300(ctx, s, "before"); err != nil {
		t.Fatal(err)
	}
	settled(t, dir)
	ballast := fillDisk(t, disk)
	for i := range 20 {
		if err := put300(ctx, s, fmt.Sprint("full-", i)); !errors.Is(err, state.ErrUnavailable) {
			t.Fatalf("on a full disk: %v", err)
		}
	}
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("Err says %v", err)
	}
	if n := state.Networks.Len(s.Read()); n != 1 {
		t.Errorf("readers see %d networks, want 1", n)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, "well, with space on the disk", func() bool { return s.Err() == nil })
	if err := put300(ctx, s, "after"); err != nil {
		t.Fatal(err)
	}
	if err := e.Err(); err != nil {
		t.Fatalf("etcd has failed: %v", err)
	}
	got, _ := entries(t, newLog(t, e.LogOptions()))
	if len(got) != 2 || got["network/before"] == "" || got["network/after"] == "" {
		t.Errorf("etcd has %d networks, want those acknowledged: before, after", len(got))
	}
}

// Our own writes fill the disk: they are refused while etcd still has the space that it needs.
func TestWritesStopBeforeTheDiskIsFull(t *testing.T) {
	disk := smallDisk(t, 256)
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: filepath.Join(disk, "etcd"), Reserve: 32 << 20})
	s := openStore(t, newLog(t, e.LogOptions()))
	acknowledged := 0
	var err error
	for err == nil && acknowledged < 1000 {
		if err = put300(t.Context(), s, fmt.Sprint(acknowledged)); err == nil {
			acknowledged++
		}
	}
	if !errors.Is(err, state.ErrUnavailable) || e.Err() != nil {
		t.Fatalf("after %d writes: %v; etcd: %v", acknowledged, err, e.Err())
	}
	if got, _ := entries(t, newLog(t, e.LogOptions())); len(got) != acknowledged {
		t.Errorf("etcd has %d networks, %d were acknowledged", len(got), acknowledged)
	}
}

// etcd's own quota is used up by old revisions: the log makes space, takes the alarm back, and the write is made.
func TestAUsedUpQuotaIsReclaimed(t *testing.T) {
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: t.TempDir(), Quota: 24 << 20})
	s := openStore(t, newLog(t, e.LogOptions()))
	for i := range 150 { // 45 MiB of revisions of one object
		if err := put300(t.Context(), s, "same"); err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
	}
}

// The quota is used up by objects that are there: writes are refused until the quota is larger. (Objects cannot be
// deleted then, either: every commit also puts a head.)
func TestAUsedUpQuotaRefusesWritesUntilItIsLarger(t *testing.T) {
	dir := t.TempDir()
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: dir, Quota: 16 << 20})
	l := newLog(t, e.LogOptions())
	entries(t, l)
	big := strings.Repeat("1", 300<<10)
	var err error
	n := 0
	for ; n < 1000 && err == nil; n++ { // etcd learns of the size that it has ten times a second
		_, err = l.Append(t.Context(), []state.Entry{put(fmt.Sprint(n), big)})
	}
	if err == nil || errors.Is(err, state.ErrFenced) || errors.Is(err, state.ErrUnavailable) {
		t.Fatalf("after %d writes: %v", n, err)
	}
	l.Close()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	e = startEtcd(t, etcdlog.EmbeddedOptions{Dir: dir, Quota: 64 << 20})
	l = newLog(t, e.LogOptions())
	if got, _ := entries(t, l); len(got) != n-1 {
		t.Errorf("etcd has %d objects, %d were acknowledged", len(got), n-1)
	}
	if _, err := l.Append(t.Context(), []state.Entry{put("after", big)}); err != nil {
		t.Errorf("with a larger quota: %v", err)
	}
}

func TestLimitsOfAnOutsideEtcdAreNamed(t *testing.T) {
	tests := []struct {
		name      string
		configure func(*embed.Config)
		want      string
	}{
		{"default", func(*embed.Config) {}, "--max-txn-ops=4104"},
		{"operations raised", func(c *embed.Config) { c.MaxTxnOps = etcdlog.MaxTxnOps }, "--max-request-bytes=8388608"},
		{"both raised", func(c *embed.Config) {
			c.MaxTxnOps = etcdlog.MaxTxnOps
			c.MaxRequestBytes = etcdlog.MaxRequestBytes
		}, ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			client := dial(t, outsideEtcd(t, tc.configure))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err := etcdlog.CheckLimits(ctx, client)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("the error is %v, want %q", err, tc.want)
			}
			if tc.want == "" {
				largestCommit(t, newLog(t, etcdlog.Options{Client: client}))
			}
		})
	}
}

// largestCommit appends the largest batch that the state makes.
func largestCommit(t *testing.T, l *etcdlog.Log) {
	t.Helper()
	entries(t, l)
	value := strings.Repeat("1", state.MaxBatchBytes/state.MaxBatchEntries-75)
	var batch []state.Entry
	size := 0
	for i := range state.MaxBatchEntries {
		e := put(fmt.Sprintf("%036d", i), value)
		size += len(e.Kind) + len(e.ID) + len(e.Value) + 32
		batch = append(batch, e)
	}
	if size > state.MaxBatchBytes || size < state.MaxBatchBytes*99/100 {
		t.Fatalf("the batch has %d bytes, the largest %d", size, state.MaxBatchBytes)
	}
	if _, err := l.Append(t.Context(), batch); err != nil {
		t.Errorf("the largest commit: %v", err)
	}
}

// outsideEtcd starts an etcd with etcd's own defaults, and returns its endpoint.
func outsideEtcd(t *testing.T, configure func(*embed.Config)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := embed.NewConfig()
	c.Dir = dir
	c.LogLevel = "fatal"
	c.ListenPeerUrls = nil
	c.ListenClientUrls = []url.URL{{Scheme: "unix", Path: filepath.Join(dir, "client.sock")}}
	c.AdvertiseClientUrls = c.ListenClientUrls
	c.TickMs, c.ElectionMs = 20, 100
	configure(c)
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return "unix://" + filepath.Join(dir, "client.sock")
}

// Without a reserve etcd itself meets the full disk, and gives up: the process lives on, nothing is acknowledged any
// more, and a new start finds everything that was.
func TestEtcdThatFailsAcknowledgesNothingAndLosesNothing(t *testing.T) {
	disk := smallDisk(t, 160)
	dir := filepath.Join(disk, "etcd")
	e := startEtcd(t, etcdlog.EmbeddedOptions{Dir: dir, Reserve: -1})
	s := openStore(t, newLog(t, e.LogOptions()))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var acknowledged []string
	var err error
	for n := 0; err == nil; n++ {
		id := fmt.Sprint(n)
		if err = put300(ctx, s, id); err == nil {
			acknowledged = append(acknowledged, id)
		}
	}
	if !errors.Is(err, state.ErrUnavailable) {
		t.Errorf("the write that failed: %v", err)
	}
	select {
	case <-e.Stopped():
		t.Logf("after %d writes: %v", len(acknowledged), e.Err())
	case <-ctx.Done():
		t.Fatalf("after %d writes: %v, but etcd has not failed", len(acknowledged), err)
	}
	if err := put300(ctx, s, "later"); !errors.Is(err, state.ErrUnavailable) || ctx.Err() != nil {
		t.Errorf("a later write: %v", err)
	}
	if n := state.Networks.Len(s.Read()); n != len(acknowledged) {
		t.Errorf("readers see %d networks, %d were acknowledged", n, len(acknowledged))
	}

	// What a new process would find: this one holds the directory until it ends.
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(dir, "member"))); err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "etcd")
	if err := os.Mkdir(again, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(copied, filepath.Join(again, "member")); err != nil {
		t.Fatal(err)
	}
	got, _ := entries(t, newLog(t, startEtcd(t, etcdlog.EmbeddedOptions{Dir: again}).LogOptions()))
	for _, id := range acknowledged {
		if got["network/"+id] == "" {
			t.Errorf("network %s was acknowledged and is lost", id)
		}
	}
}
