// Package lease is the part of the agent that stops ports which may have been given to another host.
//
// A router moves away from a host that is not heard of any more. But that host may well live, cut off from the server, or
// without an agent, and go on to route: then two hosts would answer for the router's addresses. So such ports are held on
// a lease (Port.lease_seconds). While the host hears from the server, the lease is renewed all the time; when it does
// not, or when there is no agent to renew it, the lease runs out in the kernel itself, and the ports send nothing more.
//
// All of it is one nftables table of the bridge family:
//
//	set held    the types of frames, each with a timeout: the lease. Without contact they are gone.
//	set leased  the devices of ports that need a lease: what they send passes while its type is held
//	set gone    devices that have lost their port a moment ago: they send nothing, until they are out of their bridge
//
// The lease is one for the host, and the shortest that any port asks for.
package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
	"github.com/neutrino-net/neutrino/internal/dataplane/nft"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

const (
	name = "lease"
	// beat is how often the lease is looked after, at least four times while it runs.
	beat = 4 * time.Second
	// auditAfter is how long the table is believed to be right.
	auditAfter = 20 * time.Second
	// lingering is how long a device that has lost its port stays stopped.
	lingering = time.Minute
)

// Options configure the part.
type Options struct {
	// Namespace is where the part works; nil: the namespace of the process.
	Namespace *netns.Handle
	// Contact says whether the host hears from the server. Required.
	Contact interface {
		Held(view *agent.View, now time.Time) bool
	}
	// NFT is the program; empty: nft, looked up in PATH.
	NFT string
	// Metrics counts repaired drift. Required.
	Metrics *reconcile.Metrics
	// Logger is required.
	Logger *slog.Logger
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Part implements agent.Part.
type Part struct {
	options Options
	nft     *nft.Client
	// gone are devices that have lost their port, with the time since when.
	gone   map[string]time.Time
	leased map[string]bool
	// applied is what the table was made of, right how the kernel then told it, and looked when it was last compared.
	applied string
	right   string
	looked  time.Time
	// began says that a pass has been made, renewed when the lease was renewed last, lapsed that it has run out.
	began   bool
	renewed time.Time
	lapsed  bool

	// failed is why the table is not in place, told once the first pass is over.
	mu      sync.Mutex
	failed  error
	decided chan struct{}
	decide  sync.Once
}

var _ agent.Part = (*Part)(nil)

// New makes the part. Nothing is touched before the first pass.
func New(options Options) *Part {
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Part{
		options: options, nft: &nft.Client{Namespace: options.Namespace, Program: options.NFT},
		gone: map[string]time.Time{}, leased: map[string]bool{}, decided: make(chan struct{}),
		failed: errors.New("the leases of ports have not been looked after"),
	}
}

// Name is "lease".
func (p *Part) Name() string { return name }

// Await waits until the first pass is over. The error is why ports that need a lease could send without one: then no port
// should be let into a bridge.
func (p *Part) Await(ctx context.Context) error {
	select {
	case <-p.decided:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// Watch asks for a pass at each beat.
func (p *Part) Watch(ctx context.Context, changed func()) error {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			changed()
		}
	}
}

// Reconcile puts the table in place and renews the lease.
func (p *Part) Reconcile(ctx context.Context, view *agent.View) ([]agent.Status, error) {
	defer p.decide.Do(func() { close(p.decided) })
	keys, devices, lease := wanted(view)
	held := p.options.Contact.Held(view, p.options.Now())
	err := p.ensure(ctx, devices, lease, held)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p.mu.Lock()
	p.failed = err
	p.mu.Unlock()
	statuses := make([]agent.Status, 0, len(keys))
	for _, key := range keys {
		s := agent.Status{Key: key, State: sb.ObjectStatus_STATE_DONE}
		if err != nil {
			s.State, s.Reason = sb.ObjectStatus_STATE_ERROR, err.Error()
		}
		statuses = append(statuses, s)
	}
	return statuses, nil
}

// devicePattern are the names that a port's device may have.
var devicePattern = regexp.MustCompile(`^tap[0-9A-Za-z-]{1,11}$`)

// wanted are the ports of the view that need a lease: the keys of their documents, their devices, and the shortest lease
// that any of them asks for. Devices whose name is none are for the l2 part to refuse.
func wanted(view *agent.View) (keys []string, devices map[string]bool, lease time.Duration) {
	devices = map[string]bool{}
	for d := range view.All() {
		body := d.GetPort()
		if body.GetLeaseSeconds() == 0 || !devicePattern.MatchString(body.GetDevice()) {
			continue
		}
		keys = append(keys, d.Key)
		devices[body.Device] = true
		if asked := time.Duration(body.LeaseSeconds) * time.Second; lease == 0 || asked < lease {
			lease = asked
		}
	}
	return keys, devices, lease
}

// ensure makes the table as it is wanted. Without ports that need a lease there is none.
func (p *Part) ensure(ctx context.Context, devices map[string]bool, lease time.Duration, held bool) error {
	now := p.options.Now()
	p.linger(devices, now)
	if len(devices) == 0 && len(p.gone) == 0 {
		return p.remove(ctx)
	}
	script := table(devices, p.gone)
	switch {
	case script != p.applied:
		if err := p.write(ctx, script); err != nil {
			return err
		}
	case now.Sub(p.looked) > auditAfter:
		if err := p.audit(ctx, script); err != nil {
			return err
		}
	}
	return p.renew(ctx, held, lease, now)
}

// linger moves devices that have lost their port to those that are gone, and forgets them after a while.
func (p *Part) linger(devices map[string]bool, now time.Time) {
	for device := range p.leased {
		if !devices[device] {
			p.gone[device] = now
		}
	}
	maps.DeleteFunc(p.gone, func(device string, since time.Time) bool {
		return devices[device] || now.Sub(since) > lingering
	})
	p.leased = devices
}

// write makes the table what the script says, and keeps the lease that there is.
func (p *Part) write(ctx context.Context, script string) error {
	p.applied = ""
	if err := p.nft.Run(ctx, script); err != nil {
		return fmt.Errorf("write the nftables table %s: %w", tableName, err)
	}
	right, err := p.read(ctx)
	if err != nil {
		return err
	}
	p.applied, p.right, p.looked = script, right, p.options.Now()
	return nil
}

// audit looks whether the table is still what it was, and repairs it.
func (p *Part) audit(ctx context.Context, script string) error {
	have, err := p.read(ctx)
	if err == nil && have == p.right {
		p.looked = p.options.Now()
		return nil
	}
	if err := p.write(ctx, script); err != nil {
		return err
	}
	p.options.Metrics.Drift(name, "nftables")
	p.options.Logger.Warn("repaired drift",
		"part", name, "kind", "nftables", "object", tableName, "difference", "changed or missing")
	p.renewed = time.Time{} // the lease may have gone with the table
	return nil
}

// read tells the table without the lease, whose time changes.
func (p *Part) read(ctx context.Context) (string, error) {
	var all strings.Builder
	for _, args := range [][]string{
		{"-nn", "-t", "list", "table", family, tableName},
		{"-nn", "list", "set", family, tableName, setLeased}, {"-nn", "list", "set", family, tableName, setGone},
	} {
		text, err := p.nft.Ask(ctx, args...)
		if err != nil {
			return "", fmt.Errorf("read the nftables table %s: %w", tableName, err)
		}
		all.WriteString(text)
	}
	return all.String(), nil
}

// renew gives the lease its full time again, if the host hears from the server.
func (p *Part) renew(ctx context.Context, held bool, lease time.Duration, now time.Time) error {
	if lease == 0 || held && now.Sub(p.renewed) < min(beat/2, lease/8) {
		return nil
	}
	if !held {
		if lapsed := now.Sub(p.renewed) > lease; lapsed && !p.lapsed {
			p.lapsed = true
			p.options.Logger.Warn("the host does not hear from the server: the ports of its routers are stopped, "+
				"since another host may serve them", "ports", len(p.leased))
		}
		return nil
	}
	if err := p.nft.Run(ctx, renewal(lease)); err != nil {
		return fmt.Errorf("renew the lease of the host's routers: %w", err)
	}
	if p.lapsed {
		p.options.Logger.Info("the host hears from the server again: the ports of its routers are let go")
	}
	p.renewed, p.lapsed = now, false
	return nil
}

// remove removes the table, if it is there.
func (p *Part) remove(ctx context.Context) error {
	if p.began && p.applied == "" {
		return nil
	}
	if _, err := p.nft.Ask(ctx, "-t", "list", "table", family, tableName); err != nil && ctx.Err() == nil {
		p.began = true // there is none
		return nil
	}
	if err := p.nft.Run(ctx, removal()); err != nil {
		return fmt.Errorf("remove the nftables table %s: %w", tableName, err)
	}
	p.began, p.applied, p.renewed = true, "", time.Time{}
	return nil
}

// The table. Its rules come before all others of the family (-310), those of the filters too.
const (
	family    = "bridge"
	tableName = "neutrino-lease"
	setHeld   = "held"
	setLeased = "leased"
	setGone   = "gone"
)

// table is the script that makes the table, whatever was there before, and leaves the lease alone.
func table(leased map[string]bool, gone map[string]time.Time) string {
	var b strings.Builder
	b.WriteString(`add table bridge neutrino-lease
add set bridge neutrino-lease held { type ether_type; flags timeout; }
add set bridge neutrino-lease leased { type ifname; }
add set bridge neutrino-lease gone { type ifname; }
add chain bridge neutrino-lease prerouting { type filter hook prerouting priority -310; policy accept; }
flush chain bridge neutrino-lease prerouting
add rule bridge neutrino-lease prerouting iifname @gone drop
add rule bridge neutrino-lease prerouting iifname @leased ether type != @held drop
flush set bridge neutrino-lease leased
flush set bridge neutrino-lease gone
`)
	elements(&b, setLeased, slices.Sorted(maps.Keys(leased)))
	elements(&b, setGone, slices.Sorted(maps.Keys(gone)))
	return b.String()
}

// elements writes the elements of a set of devices, whose names match devicePattern.
func elements(b *strings.Builder, set string, devices []string) {
	if len(devices) == 0 {
		return
	}
	fmt.Fprintf(b, "add element bridge neutrino-lease %s { \"%s\" }\n", set, strings.Join(devices, `", "`))
}

// renewal is the script that gives the lease its full time: in one transaction, so that there is no moment without it.
func renewal(lease time.Duration) string {
	seconds := int(lease / time.Second)
	return fmt.Sprintf("flush set bridge neutrino-lease held\n"+
		"add element bridge neutrino-lease held { ip timeout %[1]ds, arp timeout %[1]ds, ip6 timeout %[1]ds }\n", seconds)
}

func removal() string { return "add table bridge neutrino-lease\ndelete table bridge neutrino-lease\n" }
