// Package lifecycle starts the parts of a program in order and stops them in reverse.
//
// A program pushes its parts onto a Stack as it makes them. Wait returns when the context ends or when a part that runs
// in the background fails; Close stops everything, the newest first, each within a bounded time. So whatever a part
// was built on is still there while it stops.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// StopTimeout bounds how long a part may take to stop.
const StopTimeout = 10 * time.Second

// Stack is the parts of a program in order of their start. It is for one goroutine.
type Stack struct {
	Logger *slog.Logger
	parts  []part
	failed chan error
}

type part struct {
	name string
	stop func()
}

// New makes an empty stack.
func New(logger *slog.Logger) *Stack {
	return &Stack{Logger: logger, failed: make(chan error, 1)}
}

// Push adds a part that has been started; stop ends it.
func (s *Stack) Push(name string, stop func()) {
	s.parts = append(s.parts, part{name, stop})
}

// Go runs a part in the background. Its context ends when the part is to stop; when it returns before that, Wait does.
func (s *Stack) Go(name string, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := run(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		select {
		case s.failed <- fmt.Errorf("%s: %w", name, err):
		default:
		}
	}()
	s.Push(name, func() {
		cancel()
		<-done
	})
}

// Wait returns nil when ctx ends, or the error of the first part that failed.
func (s *Stack) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return err
	}
}

// Close stops all parts, the newest first. A part that does not stop in time is logged and left behind.
func (s *Stack) Close() {
	for i := len(s.parts) - 1; i >= 0; i-- {
		p := s.parts[i]
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.stop()
		}()
		select {
		case <-done:
		case <-time.After(StopTimeout):
			s.Logger.Error("a part did not stop in time", "part", p.name, "timeout", StopTimeout)
		}
	}
	s.parts = nil
}
