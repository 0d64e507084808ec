// Package app puts the programs together: which parts there are, in which order they start, and who is handed to whom.
// There is no logic here but wiring.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"

	"github.com/neutrino-net/neutrino/internal/compile"
	"github.com/neutrino-net/neutrino/internal/gatewaygroup"
	"github.com/neutrino-net/neutrino/internal/identity"
	"github.com/neutrino-net/neutrino/internal/lifecycle"
	"github.com/neutrino-net/neutrino/internal/ml2/typedriver"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/nova"
	"github.com/neutrino-net/neutrino/internal/pki"
	"github.com/neutrino-net/neutrino/internal/policy"
	"github.com/neutrino-net/neutrino/internal/rest"
	"github.com/neutrino-net/neutrino/internal/scheduler"
	agentrules "github.com/neutrino-net/neutrino/internal/service/agent"
	"github.com/neutrino-net/neutrino/internal/service/dhcp"
	"github.com/neutrino-net/neutrino/internal/service/l3"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/port"
	"github.com/neutrino-net/neutrino/internal/service/quota"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/service/subnet"
	"github.com/neutrino-net/neutrino/internal/southbound"
	"github.com/neutrino-net/neutrino/internal/state"
	"github.com/neutrino-net/neutrino/internal/state/etcdlog"
	"github.com/neutrino-net/neutrino/internal/telemetry"
)

// ServerOptions configure a server.
type ServerOptions struct {
	DataDir    string
	API        string // host:port
	Identity   string // host:port
	Southbound string // host:port
	// APIURL and IdentityURL are what clients are told; by default http:// and the address.
	APIURL, IdentityURL string
	Auth                string // embedded or none
	PolicyFile          string // empty: the default rules
	// Quotas are the defaults that differ from Neutron's, as in port=1000.
	Quotas []string

	TenantNetworkTypes []string
	VNIRanges          string
	FlatNetworks       []string
	VLANRanges         []string
	UnderlayMTU        int
	// LeaseDuration is how long DHCP leases run, in whole seconds; DNSDomain is that of networks without one.
	LeaseDuration time.Duration
	DNSDomain     string
	// RouterMoveAfter is after how long without a word from their host routers move to another; 0: they wait for it.
	RouterMoveAfter time.Duration
	// GatewayHosts is how many hosts a highly available router is on, 2 or 3; GatewayInterval how often the one that is
	// active says so to the others.
	GatewayHosts    int
	GatewayInterval time.Duration
	// NovaURL is Nova's API, with the version, which is told of the ports of its servers; empty: nobody is told.
	NovaURL string

	Version string
	Logger  *slog.Logger
	// Ready is called once, with one line, when the server answers.
	Ready func(line string)
}

// RunServer runs a server until ctx ends.
func RunServer(ctx context.Context, opts ServerOptions) error {
	stack := lifecycle.New(opts.Logger)
	defer stack.Close()
	s := &server{ServerOptions: opts, stack: stack, registry: telemetry.NewRegistry(), started: time.Now()}
	for _, start := range []func(context.Context) error{
		s.openListeners, s.openState, s.makeRules, s.openIdentity, s.openNova, s.makeAPI, s.serve,
	} {
		if err := start(ctx); err != nil {
			return err
		}
	}
	login := "identity at " + s.IdentityURL + "/v3"
	if s.Auth == "none" {
		login = "no login"
	}
	opts.Ready(fmt.Sprintf("neutrino %s: networking API at %s, %s, hosts join at %s, settings of clients in %s",
		opts.Version, s.APIURL, login, s.southbound.Addr(), filepath.Join(opts.DataDir, "openrc")))
	return stack.Wait(ctx)
}

// server is what the steps of the start hand to each other.
type server struct {
	ServerOptions
	stack    *lifecycle.Stack
	registry *prometheus.Registry
	started  time.Time

	api, identity, southbound net.Listener
	// links is how links in answers begin; empty: as the client wrote the address.
	links         string
	etcd          *etcdlog.Embedded
	store         *state.Store
	hosts         *hosts
	types         *typedriver.Manager
	networks      *network.Rules
	dhcp          *dhcp.Service
	l3            *l3.Service
	authenticator identity.Authenticator
	identityAPI   http.Handler
	rest          *rest.API
	sharing       *rbac.Rules
	quotas        *quota.Service
	compiler      *compile.Compiler
	// nova is nil where there is no Nova.
	nova *nova.Notifier
}

func (s *server) openListeners(ctx context.Context) error {
	// What is above the directory may be shared with the agent of this machine, whose dnsmasq has to pass.
	if err := os.MkdirAll(filepath.Dir(s.DataDir), 0o755); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	if err := os.MkdirAll(s.DataDir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	sockets, err := inherited()
	if err != nil {
		return err
	}
	for _, l := range []struct {
		name, address string
		into          *net.Listener
	}{{"api", s.API, &s.api}, {"identity", s.Identity, &s.identity}, {"southbound", s.Southbound, &s.southbound}} {
		if *l.into, err = listen(ctx, sockets, l.name, l.address); err != nil {
			return err
		}
		s.stack.Push("listener of "+l.name, func() { (*l.into).Close() })
	}
	s.links = s.APIURL
	return errors.Join(setURL(&s.APIURL, s.API, "--api"), setURL(&s.IdentityURL, s.Identity, "--identity"))
}

// setURL fills in what clients are told: that of the address, unless the operator has said it.
func setURL(url *string, address, flag string) error {
	if *url != "" {
		*url = strings.TrimRight(*url, "/")
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s %s: %w", flag, address, err)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		return fmt.Errorf("%s %s is every address of this machine: say with %s-url at which of them clients are to call", flag, address, flag)
	}
	*url = "http://" + address
	return nil
}

func (s *server) openState(ctx context.Context) error {
	etcd, err := etcdlog.StartEmbedded(ctx, etcdlog.EmbeddedOptions{
		Dir: filepath.Join(s.DataDir, "etcd"), Logger: s.Logger, ClientSocket: true,
	})
	if err != nil {
		return err
	}
	s.etcd = etcd
	s.stack.Push("etcd", func() {
		if err := etcd.Close(); err != nil {
			s.Logger.Error("stopping etcd", "error", err)
		}
	})
	log := etcdlog.New(etcd.LogOptions())
	s.stack.Push("log", log.Close)
	s.store, err = state.Open(ctx, state.Options{
		Log: log, Logger: s.Logger, Observe: observeCommits(s.registry),
		Derive: s.novaOutbox(),
	})
	if err != nil {
		return err
	}
	s.stack.Push("state", s.store.Close)
	debug.FreeOSMemory() // loading a large state leaves as much garbage as state
	s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "neutrino_commit_waiting", Help: "Requests that wait to be committed.",
	}, func() float64 { return float64(s.store.Waiting()) }))
	return nil
}

// observeCommits makes the metrics of commits.
func observeCommits(r prometheus.Registerer) func(functions int, ran, appended time.Duration) {
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "neutrino_commit_duration_seconds", Help: "How long a commit took: running its functions, and making it durable.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12),
	}, []string{"step"})
	size := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "neutrino_commit_functions", Help: "How many requests were committed together.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 10),
	})
	r.MustRegister(latency, size)
	run, durable := latency.WithLabelValues("run"), latency.WithLabelValues("append")
	return func(functions int, ran, appended time.Duration) {
		run.Observe(ran.Seconds())
		durable.Observe(appended.Seconds())
		size.Observe(float64(functions))
	}
}

func (s *server) makeRules(context.Context) error {
	var err error
	if s.types, err = s.typeDrivers(); err != nil {
		return err
	}
	authority, err := pki.Open(s.DataDir, pki.Options{})
	if err != nil {
		return err
	}
	s.hosts = &hosts{store: s.store}
	s.hosts.ports = port.New(port.Options{Liveness: s.hosts, DNSDomain: s.DNSDomain})
	s.hosts.agents = agentrules.New(s.hosts)
	s.networks = network.New(s.types)
	s.dhcp = dhcp.New(dhcp.Options{Ports: s.hosts.ports, Liveness: s.hosts})
	if after := s.RouterMoveAfter; after != 0 && after < l3.MinMoveAfter {
		return fmt.Errorf("--router-move-after %s is neither 0 nor at least %s", after, l3.MinMoveAfter)
	}
	if err := s.checkGateways(); err != nil {
		return err
	}
	s.l3 = l3.New(l3.Options{
		Ports: s.hosts.ports, Liveness: s.hosts, Started: s.started, MoveAfter: s.RouterMoveAfter,
		Groups: gatewaygroup.Options{Size: s.GatewayHosts},
	})
	s.compiler = compile.New(compile.Options{
		LeaseSeconds: uint32(s.LeaseDuration / time.Second), DNSDomain: s.DNSDomain,
		RouterLease: l3.LeaseFor(s.RouterMoveAfter), GatewayInterval: s.GatewayInterval,
	})
	s.hosts.Server, err = southbound.NewServer(southbound.Options{
		Store: s.store, Authority: authority, Reporter: s.hosts, Logger: s.Logger, Metrics: s.registry,
		Compiler: s.compiler,
	})
	return err
}

// checkGateways fills in what was not said of highly available routers. There may be two hundred groups on a host, which
// bounds how often they advertise themselves; and VRRP counts up to 40.95 s.
func (s *server) checkGateways() error {
	const shortest, longest, unit = 100 * time.Millisecond, 40 * time.Second, 10 * time.Millisecond
	s.GatewayHosts = cmp.Or(s.GatewayHosts, gatewaygroup.DefaultSize)
	s.GatewayInterval = cmp.Or(s.GatewayInterval, compile.DefaultGatewayInterval)
	if n := s.GatewayHosts; n < 2 || n > gatewaygroup.DefaultSize {
		return fmt.Errorf("--max-l3-agents-per-router %d is neither 2 nor 3", n)
	}
	if every := s.GatewayInterval; every < shortest || every > longest || every%unit != 0 {
		return fmt.Errorf("--ha-vrrp-advert-interval %s is not between %s and %s, in steps of %s", every, shortest, longest, unit)
	}
	return nil
}

func (s *server) typeDrivers() (*typedriver.Manager, error) {
	o := typedriver.Options{FlatNetworks: s.FlatNetworks, UnderlayMTU: s.UnderlayMTU}
	for _, name := range s.TenantNetworkTypes {
		o.TenantNetworkTypes = append(o.TenantNetworkTypes, model.NetworkType(name))
	}
	var err error
	if o.VNIRanges, err = typedriver.ParseRanges(s.VNIRanges); err != nil {
		return nil, fmt.Errorf("--vni-ranges: %w", err)
	}
	if o.VLANRanges, err = typedriver.ParseVLANRanges(s.VLANRanges); err != nil {
		return nil, fmt.Errorf("--network-vlan-ranges: %w", err)
	}
	return typedriver.New(o)
}

func (s *server) openIdentity(ctx context.Context) error {
	switch s.Auth {
	case "none":
		if !loopback(s.api) || !loopback(s.identity) {
			return errors.New("--auth none makes everybody the administrator, so --api and --identity must be addresses of loopback")
		}
		s.authenticator = identity.Anyone{}
		s.identityAPI = http.NotFoundHandler()
		return identity.WriteOpenClients(s.DataDir, s.APIURL)
	case "embedded":
		e, err := identity.Open(identity.Options{
			Dir: s.DataDir, IdentityURL: s.IdentityURL, NetworkURL: s.APIURL, Logger: s.Logger,
		})
		if err != nil {
			return err
		}
		s.authenticator, s.identityAPI = e, e.Handler()
		return e.WriteClients(ctx)
	}
	return fmt.Errorf("--auth %q is not one of embedded, none", s.Auth)
}

func (s *server) makeAPI(ctx context.Context) error {
	var overrides map[string]string
	var err error
	if s.PolicyFile != "" {
		if overrides, err = policy.LoadOverrides(s.PolicyFile); err != nil {
			return err
		}
	}
	rules, err := policy.New(policy.Options{Overrides: overrides})
	if err != nil {
		return err
	}
	if err := s.makeQuotas(); err != nil {
		return err
	}
	s.rest, err = rest.New(rest.Options{
		Store: s.store, Authenticator: s.authenticator, Policy: rules, RulesOverridden: len(overrides) > 0, Quotas: s.quotas,
		Logger: s.Logger, Registerer: s.registry, IdentityURL: s.IdentityURL, APIURL: s.links,
	})
	if err != nil {
		return err
	}
	s.operations()
	s.serveDocument()
	s.makeSharing()
	return errors.Join(
		rest.Register(s.rest, s.networkCollection()),
		rest.Register(s.rest, rest.Subnets(subnet.Rules{})),
		s.portAPI(),
		rest.Register(s.rest, s.agentCollection()),
		s.routingAPI(),
		s.addressingAPI(ctx),
		s.securityAPI(),
		s.qosAPI(),
		s.servicesAPI(),
		s.firewallAPI(),
		s.coreAPI(),
	)
}

func (s *server) serve(context.Context) error {
	s.stack.Go("southbound", func(ctx context.Context) error { return s.hosts.Serve(ctx, s.southbound) })
	for name, work := range map[string]scheduler.Work{
		"DHCP scheduler": scheduler.Networks(s.dhcp), "router scheduler": scheduler.Routers(s.l3, s.hosts),
	} {
		s.stack.Go(name, scheduler.New(scheduler.Options{Store: s.store, Work: work, Logger: s.Logger}).Run)
	}
	if s.nova != nil {
		s.stack.Go("nova", s.nova.Run)
	}
	s.stack.Go("identity API", serveHTTP(netutil.LimitListener(s.identity, maxConnections), s.identityAPI))
	s.stack.Go("networking API", serveHTTP(netutil.LimitListener(s.api, maxConnections), s.rest.Handler()))
	s.stack.Go("etcd", func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-s.etcd.Stopped():
			return s.etcd.Err()
		}
	})
	return nil
}

// maxConnections bounds the connections of clients to one API. A client that idles loses its connection after a while;
// further ones wait in the backlog of the kernel until then.
const maxConnections = 4096

// serveHTTP serves until the context ends, and lets requests that are under way finish.
func serveHTTP(l net.Listener, h http.Handler) func(context.Context) error {
	return func(ctx context.Context) error {
		server := &http.Server{
			Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
			// A client that does not take its answer holds a list of up to 10 MB in memory.
			WriteTimeout:   2 * time.Minute,
			MaxHeaderBytes: 64 << 10,
		}
		failed := make(chan error, 1)
		go func() { failed <- server.Serve(l) }()
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		}
		stop, cancel := context.WithTimeout(context.Background(), lifecycle.StopTimeout/2)
		defer cancel()
		if err := server.Shutdown(stop); err != nil {
			return server.Close()
		}
		return nil
	}
}
