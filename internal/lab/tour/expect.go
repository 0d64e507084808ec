package tour

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/neutrino-net/neutrino/internal/lab"
)

// failure is what a step says when something was not as expected.
type failure struct {
	expected, seen string
	// host is where to look further.
	host string
}

func (f *failure) Error() string { return fmt.Sprintf("expected %s, saw %s", f.expected, f.seen) }

// patience is how long a fact may take to come true. The tour shows how fast things are; this only bounds it.
const patience = 8 * time.Second

// eventually waits until check succeeds. The error of the last check is what was seen instead.
func eventually(ctx context.Context, host, expected string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.Canceled) {
				return context.Canceled // interrupted: nothing is wrong with the product
			}
			return &failure{expected: fmt.Sprintf("%s within %s", expected, patience), seen: err.Error(), host: host}
		case <-ticker.C:
		}
	}
}

// explain turns the error of a step into the paragraphs that help: what was expected and seen, the ends of the logs that
// matter, and how to go on.
func (t *tour) explain(ctx context.Context, err error) []paragraph {
	if ctx.Err() != nil {
		return []paragraph{{"interrupted", ""}}
	}
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{expected: "the command to succeed", seen: err.Error()}
	}
	said := []paragraph{{"expected", f.expected}, {"seen", f.seen}}
	for _, p := range t.logsOf(f.host) {
		said = append(said, paragraph{"end of " + p.Log, lab.Tail(p.Log, 12)})
	}
	host := f.host
	if host == "" {
		host = "control"
	}
	hint := []string{
		"neutrino lab status" + t.nameFlag() + "     what runs, and what the API shows",
		"neutrino lab shell " + host + t.nameFlag() + "     a shell in the host: ip link, bridge fdb, ip netns",
	}
	return append(said, paragraph{"look further", strings.Join(hint, "\n")})
}

// logsOf returns the daemons whose logs may say why: those of the host and the server. Without a host: the server.
func (t *tour) logsOf(host string) []lab.Process {
	var found []lab.Process
	for _, p := range t.record.Processes {
		if p.Host == host || p.Name == "server" {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b lab.Process) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// nameFlag is what a command line needs to mean this lab.
func (t *tour) nameFlag() string {
	if t.lab.Name() == lab.DefaultName {
		return ""
	}
	return " --name " + t.lab.Name()
}
