package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/dhcp"
	"github.com/neutrino-net/neutrino/internal/agent/filter"
	"github.com/neutrino-net/neutrino/internal/agent/gateway"
	"github.com/neutrino-net/neutrino/internal/agent/l2"
	"github.com/neutrino-net/neutrino/internal/agent/l3"
	"github.com/neutrino-net/neutrino/internal/agent/lease"
	"github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
	"github.com/neutrino-net/neutrino/internal/lifecycle"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	"github.com/neutrino-net/neutrino/internal/southbound/client"
	"github.com/neutrino-net/neutrino/internal/telemetry"
)

// AgentOptions configure an agent.
type AgentOptions struct {
	Server         string // host:port of the server's southbound
	Token          string // needed the first time only
	Host           string
	DataDir        string
	Roles          []model.Role
	TunnelIP       netip.Addr // the zero Addr: the address from which the server is reached
	BridgeMappings map[string]string
	// GatewayPort is the TCP port at which the hosts of gateway groups reach each other; 0: ctsync.DefaultPort.
	GatewayPort int
	// AvailabilityZone is that of the host; empty: the default zone.
	AvailabilityZone string
	Socket           string
	LogLimit         ruleset.Limit // of the packets that are recorded for each log
	Metrics          string        // host:port; empty: none
	Version          string
	Logger           *slog.Logger
}

// RunAgent runs an agent until ctx ends. What it has set up on the host stays.
func RunAgent(ctx context.Context, opts AgentOptions) error {
	if !opts.TunnelIP.IsValid() {
		ip, err := sourceAddress(ctx, opts.Server)
		if err != nil {
			return fmt.Errorf("finding out the address for tunnels (set it with --tunnel-ip): %w", err)
		}
		opts.TunnelIP = ip
	}
	registry := telemetry.NewRegistry()
	metrics := reconcile.NewMetrics(registry)
	core := agent.Options{
		Host: opts.Host, DataDir: opts.DataDir, Version: opts.Version, Roles: opts.Roles, TunnelIP: opts.TunnelIP,
		BridgeMappings: opts.BridgeMappings, Registry: registry, SocketPath: opts.Socket, Logger: opts.Logger,
		AvailabilityZone: opts.AvailabilityZone, Handlers: map[string]http.Handler{}, Contact: &agent.Contact{},
	}
	if slices.Contains(opts.Roles, model.RoleL2) {
		filters, err := filter.New(filter.Options{
			Metrics: metrics, Registry: registry, Logger: opts.Logger,
			LogDir: filepath.Join(opts.DataDir, "packet-log"), LogLimit: opts.LogLimit,
		})
		if err != nil {
			return fmt.Errorf("starting the filters: %w", err)
		}
		defer filters.Close()
		leases := lease.New(lease.Options{Contact: core.Contact, Metrics: metrics, Logger: opts.Logger})
		part, err := l2.New(l2.Options{
			TunnelIP: opts.TunnelIP, BridgeMappings: opts.BridgeMappings, Metrics: metrics, Logger: opts.Logger,
			Filters: func(ctx context.Context) error { return cmp.Or(filters.Await(ctx), leases.Await(ctx)) },
		})
		if err != nil {
			return fmt.Errorf("starting the l2 role: %w", err)
		}
		defer part.Close()
		core.Parts = append(core.Parts, filters, leases, part)
		core.Handlers[filter.ShowPattern] = filters.ShowHandler()
		core.Handlers[filter.LogPattern] = filters.LogHandler()
	}
	if slices.Contains(opts.Roles, model.RoleDHCP) {
		part, err := dhcp.New(dhcp.Options{DataDir: opts.DataDir, Logger: opts.Logger, Metrics: metrics})
		if err != nil {
			return fmt.Errorf("starting the dhcp role: %w", err)
		}
		defer part.Close()
		core.Parts = append(core.Parts, part)
		core.Handlers[dhcp.LogPattern] = part.LogHandler()
	}
	if slices.ContainsFunc(opts.Roles, model.Role.Routes) {
		gateways, routes, err := routing(opts, metrics)
		if err != nil {
			return fmt.Errorf("starting the l3 role: %w", err)
		}
		defer gateways.Close()
		defer routes.Close()
		core.Parts = append(core.Parts, gateways, routes)
	}
	a, err := agent.New(core)
	if err != nil {
		return err
	}
	uplink, err := client.New(client.Options{
		Server: opts.Server, Token: opts.Token, Host: opts.Host, DataDir: opts.DataDir,
		Hello: a.Hello, OnConnect: a.OnConnect, OnDisconnect: a.OnDisconnect, OnBatch: a.OnBatch, Logger: opts.Logger,
	})
	if err != nil {
		return err
	}
	if opts.Metrics == "" {
		return a.Run(ctx, uplink)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", opts.Metrics)
	if err != nil {
		return fmt.Errorf("opening the address of --metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	stack := lifecycle.New(opts.Logger)
	defer stack.Close()
	stack.Go("metrics", serveHTTP(listener, mux))
	stack.Go("agent", func(ctx context.Context) error { return a.Run(ctx, uplink) })
	return stack.Wait(ctx)
}

// routing makes the parts of the l3 role, of which the first says for which gateway groups the second routes.
func routing(opts AgentOptions, metrics *reconcile.Metrics) (*gateway.Part, *l3.Part, error) {
	dir, err := filepath.Abs(filepath.Join(opts.DataDir, "gateway"))
	if err != nil {
		return nil, nil, err
	}
	gateways, err := gateway.New(gateway.Options{
		Host: opts.Host, TunnelIP: opts.TunnelIP, BridgeMappings: opts.BridgeMappings, Dir: dir, Port: opts.GatewayPort,
		Identity: func() (tls.Certificate, *x509.CertPool, error) { return client.Identity(opts.DataDir) },
		Logger:   opts.Logger,
	})
	if err != nil {
		return nil, nil, err
	}
	routes, err := l3.New(l3.Options{Roles: gateways, Logger: opts.Logger, Metrics: metrics})
	if err != nil {
		gateways.Close()
		return nil, nil, err
	}
	gateways.Follow(routes)
	return gateways, routes, nil
}

// sourceAddress is the address of this host from which it reaches the server. No packet is sent.
func sourceAddress(ctx context.Context, server string) (netip.Addr, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", server)
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}
