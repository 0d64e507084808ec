package etcdlog

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// failure is where etcd's own end is caught. Where etcd cannot go on (its log cannot be written, for instance) it calls
// Fatal or Panic of its logger and relies on not coming back. The logger then freezes the caller for ever: nothing of
// etcd runs past the point where it has given up, and the rest of the process can still answer.
type failure struct {
	stopped chan struct{}
	once    sync.Once
	reason  error       // set before stopped is closed
	closing atomic.Bool // etcd is being stopped, which it reports as errors
}

func newFailure() *failure { return &failure{stopped: make(chan struct{})} }

func (f *failure) err() error {
	select {
	case <-f.stopped:
		return f.reason
	default:
		return nil
	}
}

// OnWrite implements zapcore.CheckWriteHook.
func (f *failure) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	f.once.Do(func() {
		f.reason = fmt.Errorf("etcd has failed and must be started again: %s", describe(entry.Message, fields))
		close(f.stopped)
	})
	select {}
}

// zapLogger returns a logger for etcd that hands warnings and errors on to the logger, and its end to f.
func zapLogger(logger *slog.Logger, f *failure) *zap.Logger {
	core := &slogCore{logger: logger.With("component", "etcd"), closing: &f.closing}
	return zap.New(core, zap.WithFatalHook(f), zap.WithPanicHook(f))
}

// tooEarly is an error of every new etcd in its first seconds; it then tries again.
const tooEarly = "failed to update storage version"

// slogCore is a zapcore.Core that writes to a slog.Logger, one level lower: what is a warning to an operator of etcd
// clusters (a port that two protocols share, a slow disk) is a detail here, where requests that fail say so themselves.
type slogCore struct {
	logger  *slog.Logger
	fields  []zapcore.Field
	closing *atomic.Bool
}

// Enabled implements zapcore.Core: below a warning, etcd tells too much.
func (c *slogCore) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

// With implements zapcore.Core.
func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{
		logger: c.logger, closing: c.closing,
		fields: append(c.fields[:len(c.fields):len(c.fields)], fields...),
	}
}

// Check implements zapcore.Core.
func (c *slogCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c *slogCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelDebug
	switch {
	case entry.Level > zapcore.ErrorLevel:
		level = slog.LevelError
	case entry.Level == zapcore.ErrorLevel && entry.Message != tooEarly && !c.closing.Load():
		level = slog.LevelWarn
	}
	//nolint:sloglint // the message is etcd's
	c.logger.Log(context.Background(), level, entry.Message, attributes(c.fields, fields)...)
	return nil
}

// Sync implements zapcore.Core.
func (c *slogCore) Sync() error { return nil }

func attributes(groups ...[]zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	for _, fields := range groups {
		for _, f := range fields {
			f.AddTo(enc)
		}
	}
	attrs := make([]any, 0, len(enc.Fields))
	for _, k := range slices.Sorted(maps.Keys(enc.Fields)) {
		attrs = append(attrs, slog.Any(k, enc.Fields[k]))
	}
	return attrs
}

// describe is one line for a message and the error among its fields.
func describe(message string, fields []zapcore.Field) string {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok {
			return message + ": " + err.Error()
		}
	}
	return message
}
