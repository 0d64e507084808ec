package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/neutrino-net/neutrino/internal/lab/cloud"
)

// The ports at which OpenStack's clients expect the two services, and the one to which the agents connect.
const (
	apiPort        = 9696
	identityPort   = 5000
	southboundPort = 9697
)

// The names of the daemons.
const (
	serverName = "server"
	agentName  = "agent"
)

// startTimeout bounds the wait for the server to answer and for the agents to be alive.
const startTimeout = 30 * time.Second

// Up builds the lab, or makes whole the one that is there, and waits until the server answers and all agents are alive.
// It says whether anything had to be done. A lab that cannot be built leaves nothing behind.
func (l *Lab) Up(ctx context.Context) (changed bool, err error) {
	unlock, err := l.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	record, err := l.Load()
	if err != nil {
		return false, err
	}
	boot, err := bootID()
	if err != nil {
		return false, err
	}
	if record != nil && record.Complete && record.BootID == boot {
		return l.repair(ctx, record)
	}
	if record != nil {
		l.say("removing what an earlier lab %q has left", l.name)
	}
	if err := l.clear(ctx); err != nil {
		return false, err
	}
	if err := l.build(ctx, boot); err != nil {
		// Interrupted or not, what was begun is taken down.
		return false, errors.Join(err, l.remove(context.WithoutCancel(ctx)))
	}
	return true, nil
}

// build makes the lab from nothing. The record is there before the first thing that it speaks of.
func (l *Lab) build(ctx context.Context, boot string) error {
	record := &Record{BootID: boot, Dir: filepath.Join(l.dir, l.name)}
	if err := l.save(record); err != nil {
		return err
	}
	if err := makeDir(record.Dir); err != nil {
		return err
	}
	l.say("making %d hosts out of namespaces, and the wires between them", len(Topology()))
	if err := l.mountPinDir(); err != nil {
		return err
	}
	for _, spec := range Topology() {
		if err := os.MkdirAll(record.HostDir(spec.Name), 0o755); err != nil {
			return err
		}
		if err := l.createHost(spec.Name); err != nil {
			return err
		}
		if err := l.addOthers(spec); err != nil {
			return err
		}
	}
	for _, w := range wires() {
		if err := l.createWire(w, Topology()); err != nil {
			return fmt.Errorf("the wire %s: %w", w.namespace, err)
		}
	}
	if err := l.startAll(ctx, record); err != nil {
		return err
	}
	record.Complete = true
	return l.save(record)
}

// repair starts again what has died. Namespaces cannot be replaced under running programs: without them it says so.
func (l *Lab) repair(ctx context.Context, record *Record) (changed bool, err error) {
	if missing := l.missing(); len(missing) > 0 {
		return false, fmt.Errorf("lab %q is broken (gone: %s); remove it with: neutrino lab down --name %s",
			l.name, strings.Join(missing, ", "), l.name)
	}
	before := slices.Clone(record.Processes)
	if err := l.startAll(ctx, record); err != nil {
		return false, err
	}
	return !slices.Equal(before, record.Processes), l.save(record)
}

// missing returns the pins that should be there and are not.
func (l *Lab) missing() []string {
	var gone []string
	check := func(name, kind string) {
		if _, ok := nsOf(l.pin(name, kind)); !ok {
			gone = append(gone, name+"."+kind)
		}
	}
	for _, h := range Topology() {
		for _, k := range kinds() {
			check(h.Name, k.name)
		}
	}
	for _, w := range wires() {
		check(w.namespace, "net")
	}
	return gone
}

// startAll starts every daemon that does not run, and waits until all of them work together.
func (l *Lab) startAll(ctx context.Context, record *Record) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout,
		fmt.Errorf("the lab did not come up within %s", startTimeout))
	defer cancel()
	if err := l.endOutdated(ctx, record); err != nil {
		return err
	}
	for _, p := range record.Processes {
		if err := p.awaitEnd(ctx); err != nil {
			return fmt.Errorf("waiting for the end of the %s on %s: %w", p.Name, p.Host, err)
		}
	}
	server := serverSpec()
	if p, ok := record.Process(server.Name, serverName); !ok || !p.Alive() {
		if err := l.startServer(ctx, record, server); err != nil {
			return err
		}
	}
	if err := l.awaitServer(ctx, record); err != nil {
		return err
	}
	if err := l.startAgents(ctx, record, server); err != nil {
		return err
	}
	return l.awaitAgents(ctx, record)
}

// endOutdated ends the daemons whose program has been built anew since they were started.
func (l *Lab) endOutdated(ctx context.Context, record *Record) error {
	outdated := slices.DeleteFunc(slices.Clone(record.Processes), func(p Process) bool {
		program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.PID))
		return err != nil || !p.Alive() || !strings.HasSuffix(program, " (deleted)")
	})
	if len(outdated) == 0 {
		return nil
	}
	l.say("the program was built anew: starting %d processes again", len(outdated))
	if err := endAll(ctx, nil, outdated, grace); err != nil {
		return fmt.Errorf("ending processes of an older program: %w", err)
	}
	return nil
}

// startServer starts the server with sockets of the machine's own loopback, so that the API is reachable from outside
// the lab while the server itself lives in a host.
func (l *Lab) startServer(ctx context.Context, record *Record, spec Spec) error {
	api, err := l.listen(ctx, "networking API", record.API, l.apiPort)
	if err != nil {
		return err
	}
	defer api.Close()
	identity, err := l.listen(ctx, "identity API", record.Identity, l.identityPort)
	if err != nil {
		return err
	}
	defer identity.Close()
	record.API, record.Identity = api.Addr().String(), identity.Addr().String()
	d := daemon{
		name: serverName,
		log:  filepath.Join(record.HostDir(spec.Name), "server.log"),
		argv: append([]string{
			l.binary, "server", "--data", record.HostDir(spec.Name), "--api", record.API, "--identity", record.Identity,
			"--southbound", southbound(spec),
		}, l.serverArgs...),
	}
	for _, s := range []struct {
		name     string
		listener *net.TCPListener
	}{{"api", api}, {"identity", identity}} {
		file, err := s.listener.File()
		if err != nil {
			return err
		}
		defer file.Close()
		d.sockets = append(d.sockets, namedSocket{s.name, file})
	}
	l.say("starting the server on %s (API http://%s, identity http://%s)", spec.Name, record.API, record.Identity)
	return l.startRecorded(record, spec, d)
}

func southbound(server Spec) string { return fmt.Sprintf("%s:%d", server.Address, southboundPort) }

// listen opens a socket on the machine's loopback: at the recorded address or, for a lab that had none yet, at the
// usual port or the first free one after it.
func (l *Lab) listen(ctx context.Context, what, recorded string, usual int) (*net.TCPListener, error) {
	var config net.ListenConfig
	const attempts = 100
	var lastErr error
	for port := usual; port < usual+attempts; port++ {
		if port == southboundPort {
			continue // free on the loopback, but known to people as that of the hosts
		}
		address := recorded
		if address == "" {
			address = fmt.Sprintf("127.0.0.1:%d", port)
		}
		listener, err := config.Listen(ctx, "tcp4", address)
		if err == nil {
			if recorded == "" && port != usual {
				l.say("port %d is busy: the %s is at %s", usual, what, address)
			}
			return listener.(*net.TCPListener), nil
		}
		lastErr = err
		if recorded != "" {
			break
		}
	}
	return nil, fmt.Errorf("opening a socket for the %s: %w", what, lastErr)
}

// startRecorded starts a daemon and puts it on record.
func (l *Lab) startRecorded(record *Record, spec Spec, d daemon) error {
	host, err := l.Host(spec.Name)
	if err != nil {
		return err
	}
	process, err := host.start(d)
	if err != nil {
		return err
	}
	record.put(process)
	return l.save(record)
}

// awaitServer waits for the server's first answer. No polling is needed as long as it starts: the socket is open
// already, so the request waits in its queue.
func (l *Lab) awaitServer(ctx context.Context, record *Record) error {
	server := serverSpec()
	process, _ := record.Process(server.Name, serverName)
	client := &http.Client{}
	defer client.CloseIdleConnections()
	return l.awaitAlive(ctx, process, "answer", func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+record.API+"/", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode >= http.StatusInternalServerError {
			return fmt.Errorf("GET http://%s/: %s", record.API, response.Status)
		}
		_, err = os.Stat(record.CloudsFile())
		return err
	})
}

// awaitAlive calls ready until it succeeds, as long as the process lives and time is left.
func (l *Lab) awaitAlive(ctx context.Context, p Process, verb string, ready func(context.Context) error) error {
	for {
		err := l.tryOnce(ctx, ready)
		if err == nil {
			return nil
		}
		reap(p.PID)
		if !p.Alive() {
			return fmt.Errorf("the %s on %s has ended; the end of %s:\n%s", p.Name, p.Host, p.Log, Tail(p.Log, 20))
		}
		if late := pause(ctx, 10*time.Millisecond); late != nil {
			return fmt.Errorf("the %s on %s does not %s: %w (%w); the end of %s:\n%s",
				p.Name, p.Host, verb, late, err, p.Log, Tail(p.Log, 20))
		}
	}
}

// tryOnce bounds one attempt, so that a daemon's death in the middle of it is noticed.
func (l *Lab) tryOnce(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return ready(ctx)
}

// startAgents starts the agents that do not run, each with a join token of its own.
func (l *Lab) startAgents(ctx context.Context, record *Record, server Spec) error {
	control, err := l.Host(server.Name)
	if err != nil {
		return err
	}
	var down []Spec
	for _, spec := range Topology() {
		if p, ok := record.Process(spec.Name, agentName); len(spec.Roles) > 0 && (!ok || !p.Alive()) {
			down = append(down, spec)
		}
	}
	if len(down) > 0 {
		l.say("starting %d agents, each joining with a one-time token", len(down))
	}
	tokens := make([]string, len(down))
	var group errgroup.Group
	for i, spec := range down {
		group.Go(func() error {
			out, err := control.Run(ctx, l.binary, "token", "create", spec.Name,
				"--data", record.HostDir(server.Name), "--roles", strings.Join(spec.Roles, ","))
			tokens[i] = strings.TrimSpace(out)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("making join tokens: %w", err)
	}
	for i, spec := range down {
		if err := l.startRecorded(record, spec, agentDaemon(l.binary, record, server, spec, tokens[i])); err != nil {
			return err
		}
	}
	return nil
}

func agentDaemon(binary string, record *Record, server, spec Spec, token string) daemon {
	return daemon{
		name: agentName,
		log:  filepath.Join(record.HostDir(spec.Name), "agent.log"),
		argv: []string{
			binary, "agent", "--server", southbound(server), "--token", token, "--host", spec.Name,
			"--data", record.HostDir(spec.Name), "--roles", strings.Join(spec.Roles, ","),
			"--tunnel-ip", spec.Address.String(), "--bridge-mappings", PhysicalNetwork + ":" + ExternalDevice,
		},
	}
}

// awaitAgents waits until the API shows every agent of the lab as alive.
func (l *Lab) awaitAgents(ctx context.Context, record *Record) error {
	client, err := cloud.Login(ctx, record.CloudsFile(), "admin")
	if err != nil {
		return err
	}
	for _, spec := range Topology() {
		p, ok := record.Process(spec.Name, agentName)
		if !ok {
			continue
		}
		err := l.awaitAlive(ctx, p, "join", func(ctx context.Context) error {
			agents, err := client.Agents(ctx)
			if err != nil {
				return err
			}
			if n := aliveAt(agents, spec.Name); n < len(spec.Roles) {
				return fmt.Errorf("the API shows %d of its %d roles as alive", n, len(spec.Roles))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// aliveAt counts the agents of a host that are alive.
func aliveAt(agents []cloud.Agent, host string) int {
	n := 0
	for _, a := range agents {
		if a.Host == host && a.Alive {
			n++
		}
	}
	return n
}
