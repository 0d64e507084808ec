// Package tour walks through what the product does, on a lab that is up: a network is made as any OpenStack client
// makes it, two workloads on two hosts get their addresses by DHCP, reach each other through the overlay, and what is
// damaged by hand heals; then networks meet in a router, which also leads to the internet and back, and another router
// loses the host that forwards for it.
//
// tour.go runs steps and tells of them; steps.go holds the steps in their order, routing.go and takeover.go those about
// routers; expect.go waits for facts and says what was seen instead; ping.go is the echo that the workloads send, web.go
// are the pages that they fetch; screen.go is how it looks.
package tour

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/neutrino-net/neutrino/internal/lab"
	"github.com/neutrino-net/neutrino/internal/lab/cloud"
)

// Options says which lab is shown, and to whom.
type Options struct {
	Lab *lab.Lab
	Out io.Writer
	// Colour allows escape sequences.
	Colour bool
	// Version is that of the program, for the summary.
	Version string
	// Up is how long it took to bring the lab up; shown as the first row of the summary. Zero when it was up before.
	Up time.Duration
}

// ErrFailed is returned when a step failed; what there is to know has been printed.
var ErrFailed = errors.New("the tour failed")

// step is one stop of the tour.
type step struct {
	title string
	// why says in one line what the step is good for.
	why string
	// run does it. It calls t.typed with each command that a user would type, and t.say with what came of it.
	run func(ctx context.Context, t *tour) error
}

// tour is what the steps share.
type tour struct {
	lab    *lab.Lab
	record *lab.Record
	screen *screen
	// demo and admin are the two users: the project's own one, and the cloud's administrator.
	demo, admin *cloud.Client

	network   cloud.Network
	workloads []*workload
	// suffix is at the end of the names of what this tour makes, if an earlier one has taken the plain ones.
	suffix  string
	routing routing
}

// workload is what the tour plugs into the network: a namespace in a host that plays a virtual machine.
type workload struct {
	name, host string
	port       cloud.Port
}

// Run walks the whole tour. It prints everything, and returns ErrFailed when a step did not come out as it should.
func Run(ctx context.Context, o Options) error {
	record, err := o.Lab.Load()
	if err != nil {
		return err
	}
	if record == nil {
		return fmt.Errorf("lab %q is not up", o.Lab.Name())
	}
	t := &tour{
		lab: o.Lab, record: record, screen: newScreen(o.Out, o.Colour),
		workloads: []*workload{{name: "vm1", host: "compute1"}, {name: "vm2", host: "compute2"}},
	}
	t.screen.introduce(record.CloudsFile())
	var times []stepTime
	if o.Up > 0 {
		times = append(times, stepTime{"lab up", o.Up})
	}
	for i, s := range steps() {
		t.screen.begin(i+1, s.title, s.why)
		began := time.Now()
		err := s.run(ctx, t)
		took := time.Since(began)
		if err != nil {
			t.screen.fail(t.explain(ctx, err), took)
			return ErrFailed
		}
		t.screen.end(took)
		times = append(times, stepTime{s.title, took})
	}
	t.screen.summary(times, versions(ctx, o.Version))
	return nil
}

// typed shows a command of the kind that a user would type.
func (t *tour) typed(format string, args ...any) { t.screen.typed(fmt.Sprintf(format, args...)) }

// say shows a result.
func (t *tour) say(format string, args ...any) { t.screen.result(fmt.Sprintf(format, args...)) }

// host returns the host on which a workload lives.
func (t *tour) host(w *workload) (*lab.Host, error) { return t.lab.Host(w.host) }
