package cli

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/ctsync"
	"github.com/neutrino-net/neutrino/internal/app"
	"github.com/neutrino-net/neutrino/internal/model"
)

func newAgentCommand() *cobra.Command {
	var opts app.AgentOptions
	var roles, mappings []string
	var tunnelIP string
	cmd := &cobra.Command{
		Use:   "agent --server ADDR --data DIR",
		Short: "Run the agent of a host: it makes the host's networks real",
		Long: `Run the agent of this host. It wires the ports that are bound to the host, serves DHCP and routes.

The first time, it joins with a token from "neutrino token create HOST"; after that it has a certificate in its data
directory. What it set up stays in force when it ends, and is adopted when it starts again.`,
		Args: cobra.NoArgs,
	}
	makeLogger := logFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&opts.Server, "server", "", "the address of the server's southbound, as in 192.0.2.10:9697 (required)")
	f.StringVar(&opts.Token, "token", "", "the token to join with; needed the first time only (or in the environment, NEUTRINO_TOKEN)")
	f.StringVar(&opts.Host, "host", "", "the name of the host, as ports are bound to it (default: the host name)")
	f.StringVar(&opts.DataDir, "data", "/var/lib/neutrino/agent", "the directory of the certificate, the cached view and the DHCP servers' files")
	f.StringSliceVar(&roles, "roles", []string{"l2", "dhcp"}, "what the host does: l2 (wires ports), dhcp (serves DHCP), l3 (routes), dvr (routes for its own workloads only, by distributed routers)")
	f.StringVar(&tunnelIP, "tunnel-ip", "", "the address of the host for tunnels (default: the address from which it reaches the server)")
	f.StringVar(&opts.Socket, "socket", agent.DefaultSocket, "the socket for commands on this host")
	f.StringVar(&opts.Metrics, "metrics", "", "an address at which Prometheus finds /metrics, as in 127.0.0.1:9698 (default: on the socket only)")
	f.StringSliceVar(&mappings, "bridge-mappings", nil, "the interfaces of physical networks, as in physnet1:eth1")
	f.IntVar(&opts.GatewayPort, "gateway-port", ctsync.DefaultPort, "the TCP port, at the address for tunnels, by which hosts with highly available routers reach each other; the same on all")
	f.StringVar(&opts.AvailabilityZone, "availability-zone", model.DefaultZone, "the zone of the host, for networks and routers that ask for one")
	f.Uint64Var(&opts.LogLimit.PerSecond, "log-rate-limit", 100, "how many packets of a log are recorded in a second")
	f.Uint32Var(&opts.LogLimit.Burst, "log-burst-limit", 25, "how many packets of a log are recorded at once")
	_ = cmd.MarkFlagRequired("server")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if err := needRoot("the agent changes devices and namespaces, which"); err != nil {
			return err
		}
		if opts.Logger, err = makeLogger(); err != nil {
			return err
		}
		if opts.Roles, err = parseRoles(roles); err != nil {
			return err
		}
		if opts.BridgeMappings, err = parseMappings(mappings); err != nil {
			return err
		}
		if tunnelIP != "" {
			if opts.TunnelIP, err = netip.ParseAddr(tunnelIP); err != nil {
				return fmt.Errorf("--tunnel-ip: %w", err)
			}
		}
		if _, _, err := net.SplitHostPort(opts.Server); err != nil {
			opts.Server = net.JoinHostPort(strings.Trim(opts.Server, "[]"), "9697")
		}
		if opts.LogLimit.PerSecond == 0 || opts.LogLimit.Burst == 0 {
			return fmt.Errorf("--log-rate-limit, --log-burst-limit: at least 1 is needed")
		}
		if opts.Token == "" {
			opts.Token = os.Getenv("NEUTRINO_TOKEN")
		}
		if opts.Host == "" {
			if opts.Host, err = os.Hostname(); err != nil {
				return fmt.Errorf("finding out the name of this host: %w", err)
			}
		}
		opts.Version = version
		limitMemory(50)
		return app.RunAgent(cmd.Context(), opts)
	}
	return cmd
}

func parseRoles(names []string) ([]model.Role, error) {
	var roles []model.Role
	for _, name := range names {
		switch role := model.Role(name); role {
		case model.RoleL2, model.RoleDHCP, model.RoleL3, model.RoleDVR:
			roles = append(roles, role)
		default:
			return nil, fmt.Errorf("--roles: %q is not one of l2, dhcp, l3, dvr", name)
		}
	}
	return roles, nil
}

func parseMappings(texts []string) (map[string]string, error) {
	mappings := map[string]string{}
	for _, text := range texts {
		physnet, device, ok := strings.Cut(text, ":")
		if !ok || physnet == "" || device == "" {
			return nil, fmt.Errorf("--bridge-mappings: %q is not of the form PHYSNET:INTERFACE", text)
		}
		mappings[physnet] = device
	}
	return mappings, nil
}
