package gateway_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/filter"
	"github.com/neutrino-net/neutrino/internal/agent/gateway"
	"github.com/neutrino-net/neutrino/internal/agent/l2"
	"github.com/neutrino-net/neutrino/internal/agent/l3"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/reconcile"
	"github.com/neutrino-net/neutrino/internal/southbound/client"
)

// childEnv tells the test's own program to be the agent of a host: it is killed, and started again, as a real one.
const childEnv = "NEUTRINO_TEST_AGENT"

// child is what the agent of a host has to know.
type child struct {
	Host, Server, Dir string
	TunnelIP          netip.Addr
	Mappings          map[string]string
	Quiet             bool
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := runChild(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runChild is the agent, with the parts that wire and route.
func runChild(text string) error {
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	level := slog.LevelDebug
	if c.Quiet {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	registry := prometheus.NewRegistry()
	metrics := reconcile.NewMetrics(registry)
	filters, err := filter.New(filter.Options{Metrics: metrics, Registry: registry, Logger: log})
	if err != nil {
		return err
	}
	wires, err := l2.New(l2.Options{
		TunnelIP: c.TunnelIP, BridgeMappings: c.Mappings, Metrics: metrics, Logger: log, Filters: filters.Await,
	})
	if err != nil {
		return err
	}
	gateways, err := gateway.New(gateway.Options{
		Host: c.Host, TunnelIP: c.TunnelIP, BridgeMappings: c.Mappings, Dir: filepath.Join(c.Dir, "gateway"), Logger: log,
		Identity: func() (tls.Certificate, *x509.CertPool, error) { return client.Identity(c.Dir) },
	})
	if err != nil {
		return err
	}
	routes, err := l3.New(l3.Options{Roles: gateways, Metrics: metrics, Logger: log})
	if err != nil {
		return err
	}
	gateways.Follow(routes)
	a, err := agent.New(agent.Options{
		Host: c.Host, DataDir: c.Dir, Roles: []model.Role{model.RoleL2, model.RoleL3}, TunnelIP: c.TunnelIP,
		BridgeMappings: c.Mappings, Parts: []agent.Part{filters, wires, gateways, routes}, Registry: registry,
		SocketPath: filepath.Join(c.Dir, "s"), Logger: log,
	})
	if err != nil {
		return err
	}
	uplink, err := client.New(client.Options{
		Server: c.Server, Host: c.Host, DataDir: c.Dir, Logger: log,
		Hello: a.Hello, OnConnect: a.OnConnect, OnDisconnect: a.OnDisconnect, OnBatch: a.OnBatch,
	})
	if err != nil {
		return err
	}
	return a.Run(ctx, uplink)
}
