package filter

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/packetlog"
	"github.com/neutrino-net/neutrino/internal/dataplane/conntrack"
	"github.com/neutrino-net/neutrino/internal/dataplane/nflog"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// recorder writes down the packets that the kernel hands over, while any port is concerned by a log. What a packet is about
// is asked of the documents once more: a line is only written for a log that concerns the port now.
type recorder struct {
	part *Part
	file *packetlog.File
	// on says that there is something to record; a change is told by changed.
	on      atomic.Bool
	changed chan struct{}
	// trouble is why nothing is recorded; nil: it is.
	trouble atomic.Pointer[error]

	// Of the goroutine that reads:
	devices  map[int]string // by index
	looks    *rate.Limiter  // of looking at devices for the sake of one that is not known
	limiters map[string]*rate.Limiter
}

// recordRetry is the pause after trouble.
const recordRetry = 5 * time.Second

func newRecorder(p *Part) *recorder {
	return &recorder{
		part: p, file: packetlog.New(p.options.LogDir, packetlog.DefaultSize, packetlog.DefaultFiles),
		changed: make(chan struct{}, 1), devices: map[int]string{}, limiters: map[string]*rate.Limiter{},
		looks: rate.NewLimiter(1, 10), // many devices may come within a second
	}
}

// want says whether there is anything to record.
func (r *recorder) want(on bool) {
	if r.on.Swap(on) != on {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
}

// run reads while there is something to record, until ctx ends.
func (r *recorder) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if !r.on.Load() {
			r.wait(ctx, 0)
			continue
		}
		err := r.follow(ctx)
		if err == nil {
			continue
		}
		if errors.Is(err, unix.EPERM) {
			err = errors.Join(errors.New("another process reads the packets"), err)
		}
		if r.trouble.Swap(&err) == nil {
			r.part.options.Logger.Error("packets are not recorded", "part", name, "error", err)
		}
		r.wait(ctx, recordRetry)
	}
	return nil
}

// wait returns when ctx ends, when something has changed, or after the time, unless that is 0.
func (r *recorder) wait(ctx context.Context, longest time.Duration) {
	if longest != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, longest)
		defer cancel()
	}
	select {
	case <-ctx.Done():
	case <-r.changed:
	}
}

// follow reads until there is nothing to record any more.
func (r *recorder) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil && r.on.Load() {
			r.wait(ctx, 0)
		}
		cancel()
	}()
	defer func() {
		cancel()
		<-done
		r.file.Close()
	}()
	return nflog.Follow(ctx, r.part.options.Namespace, recordGroup, recordSize, func() { r.trouble.Store(nil) }, r.take)
}

// take writes down a packet.
func (r *recorder) take(p nflog.Packet) {
	now := time.Now()
	if p.Lost {
		r.part.options.Logger.Warn("recorded packets were lost: they came too fast", "part", name)
		return
	}
	what := strings.Fields(p.Prefix)
	if len(what) != 3 {
		return
	}
	egress := what[1] == reason{egress: true}.direction()
	index := p.Out
	if egress {
		index = p.In
	}
	device := r.device(index, now)
	if device == "" {
		return
	}
	base := packetlog.Record{Time: now, Direction: what[1], Packet: packetlog.Parse(p.Link, p.EtherType, p.Payload)}
	if what[0] == "drop" {
		base.Event, base.Reason = packetlog.Drop, what[2]
	} else {
		base.Event, base.SecurityGroup = packetlog.Accept, what[2]
	}
	for _, record := range r.part.records(device, base) {
		if !r.limiter(record).AllowN(now, 1) {
			continue
		}
		if err := r.file.Write(record); err != nil {
			if r.trouble.Swap(&err) == nil {
				r.part.options.Logger.Error("packets are not recorded", "part", name, "error", err)
			}
			return
		}
		r.trouble.Store(nil)
	}
}

// limiter is that of a log. Ports with several logs share no limit in the kernel with those that have one of them only.
func (r *recorder) limiter(record packetlog.Record) *rate.Limiter {
	key := record.Event + record.Log
	l := r.limiters[key]
	if l == nil {
		const many = 10000
		if len(r.limiters) > many { // those of logs that are gone
			clear(r.limiters)
		}
		limit := r.part.options.LogLimit
		l = rate.NewLimiter(rate.Limit(limit.PerSecond), int(limit.Burst))
		r.limiters[key] = l
	}
	return l
}

// device is the name of the device with the index.
func (r *recorder) device(index int, now time.Time) string {
	if name := r.devices[index]; name != "" || index == 0 || !r.looks.AllowN(now, 1) {
		return name
	}
	r.part.mu.Lock()
	links, err := r.part.handle.Links()
	r.part.mu.Unlock()
	if err != nil {
		return ""
	}
	clear(r.devices)
	for name, l := range links {
		r.devices[l.Index] = name
	}
	return r.devices[index]
}

// records are the lines about a packet of a device: one for each log that asks for it.
func (p *Part) records(device string, base packetlog.Record) (all []packetlog.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		return nil
	}
	s := p.state
	key := s.devices[device]
	if s.ports[key] == nil {
		return nil
	}
	base.Port = s.ports[key].id
	if base.Event == packetlog.Accept {
		base.Rule = s.ruleOf(base)
	}
	for _, l := range s.logs.ports[key] {
		if base.Event == packetlog.Drop && !l.drop || base.Event == packetlog.Accept && !l.accepts(base.SecurityGroup) {
			continue
		}
		base.Log, base.Project = l.id, l.project
		all = append(all, base)
	}
	return all
}

// ruleOf is the rule of the record's group that accepts the packet. The kernel says which group it was.
func (s *state) ruleOf(r packetlog.Record) string {
	g := s.groups[r.SecurityGroup]
	if g == nil {
		return ""
	}
	egress, remote := r.Direction == reason{egress: true}.direction(), r.Source
	if egress {
		remote = r.Destination
	}
	x := conntrack.Connection{Protocol: r.Number}
	if r.DestinationPort != nil {
		x.Port = *r.DestinationPort
	}
	if r.ICMPType != nil {
		x.Type, x.Code = *r.ICMPType, *r.ICMPCode
	}
	c := &cutter{state: s}
	for _, rule := range g.rules {
		if rule.egress == egress && c.matches(rule, x, remote) {
			return rule.id
		}
	}
	return ""
}

// logTroubles tell why logs are not carried out.
func (p *Part) logTroubles() (all []agent.Status) {
	err := p.state.logs.refused
	if trouble := p.recorder.trouble.Load(); err == nil && trouble != nil {
		err = *trouble
	}
	for key := range p.state.logs.all {
		if err != nil {
			all = append(all, agent.Status{Key: key, State: sb.ObjectStatus_STATE_ERROR, Reason: err.Error()})
		}
	}
	return all
}

// LogPattern is where the agent's socket tells what has been recorded, of a port if the query says "port=ID".
const LogPattern = "GET /v1/filter-log"

// maxRecords bounds an answer.
const maxRecords = 1000

// LogView is what has been recorded.
type LogView struct {
	// Logs is how many logs this host knows.
	Logs int `json:"logs"`
	// Problem is why nothing is recorded, if so.
	Problem string `json:"problem,omitempty"`
	// Records are the newest ones, the oldest first.
	Records []packetlog.Record `json:"records"`
}

// LogHandler answers LogPattern with a LogView.
func (p *Part) LogHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := LogView{Records: []packetlog.Record{}}
		p.mu.Lock()
		if p.state != nil {
			v.Logs = len(p.state.logs.all)
			if troubles := p.logTroubles(); len(troubles) > 0 {
				v.Problem = troubles[0].Reason
			}
		}
		p.mu.Unlock()
		records, err := p.recorder.file.Read(r.URL.Query().Get("port"), maxRecords)
		v.Records = append(v.Records, records...)
		w.Header().Set("Content-Type", "application/json")
		var body any = v
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			body = map[string]string{"error": err.Error()}
		}
		// An error here means that the one who asked has gone.
		_ = json.NewEncoder(w).Encode(body)
	})
}
