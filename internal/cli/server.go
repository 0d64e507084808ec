package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/neutrino-net/neutrino/internal/app"
	"github.com/neutrino-net/neutrino/internal/compile"
	"github.com/neutrino-net/neutrino/internal/gatewaygroup"
)

func newServerCommand() *cobra.Command {
	var opts app.ServerOptions
	cmd := &cobra.Command{
		Use:   "server --data DIR",
		Short: "Run the server: the networking API, identity, and the control plane",
		Long: `Run the server. It keeps its state (an embedded etcd) in the data directory, and writes there what clients need:
openrc ("source openrc" for the administrator, "source openrc demo" for a plain project) and clouds.yaml (the clouds admin
and demo). It prints one line when it answers.

Hosts join at the address of --southbound with tokens that "neutrino token create HOST --data DIR" makes.

With --nova-url, Nova is called with the token of a login at the Keystone that OS_AUTH_URL and the other usual variables of
the environment name, or, if they name none, as the embedded user service. That user needs the role that Nova's policy asks
for external events: service, or admin in older releases.

With systemd's socket activation, the sockets named "api" and "identity" are used instead of opening new ones.`,
		Args: cobra.NoArgs,
	}
	makeLogger := logFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&opts.DataDir, "data", "", "the directory of the state (required)")
	f.StringVar(&opts.API, "api", "127.0.0.1:9696", "where the networking API listens")
	f.StringVar(&opts.Identity, "identity", "127.0.0.1:5000", "where the identity API listens")
	f.StringVar(&opts.APIURL, "api-url", "", "how clients reach the networking API, for instance through a TLS proxy (default: http:// and the address)")
	f.StringVar(&opts.IdentityURL, "identity-url", "", "how clients reach the identity API (default: http:// and the address)")
	f.StringVar(&opts.Southbound, "southbound", "127.0.0.1:9697", "where the agents of the hosts connect")
	f.StringVar(&opts.Auth, "auth", "embedded", "who callers are: embedded (users in the data directory), or none (everybody is the administrator; loopback only)")
	f.StringVar(&opts.PolicyFile, "policy", "", "a YAML file of policy rules that replace the default ones")
	f.StringSliceVar(&opts.Quotas, "quota", nil, "how many objects of a kind a project may have unless it is set for the project, as in port=1000 (-1: any number)")
	f.StringSliceVar(&opts.TenantNetworkTypes, "tenant-network-types", []string{"vxlan"}, "the types of networks made without a type, in order of preference")
	f.StringVar(&opts.VNIRanges, "vni-ranges", "1:16777215", "the VNIs of networks made without one, as in 1:1000,5000:6000")
	f.StringSliceVar(&opts.FlatNetworks, "flat-networks", []string{"*"}, "the physical networks that may carry a flat network; *: all")
	f.StringSliceVar(&opts.VLANRanges, "network-vlan-ranges", nil, "the physical networks that may carry VLANs, and the VLANs of networks made without one, as in physnet1:100:199")
	f.DurationVar(&opts.RouterMoveAfter, "router-move-after", 0, "after how long without a word from their host routers move to another, at least 90s; 0: never. Then hosts that do not hear from the server stop routing shortly before")
	f.IntVar(&opts.GatewayHosts, "max-l3-agents-per-router", gatewaygroup.DefaultSize, "on how many hosts highly available routers are, 2 or 3; one of them at a time forwards")
	f.DurationVar(&opts.GatewayInterval, "ha-vrrp-advert-interval", compile.DefaultGatewayInterval, "how often that host tells the others that it is there, at least 100ms. When it dies, one of them takes over after four such intervals: with 200ms in less than a second")
	f.DurationVar(&opts.LeaseDuration, "dhcp-lease-duration", 24*time.Hour, "how long DHCP leases run")
	f.StringVar(&opts.DNSDomain, "dns-domain", "openstacklocal", "the domain that DHCP tells workloads of networks without one")
	f.StringVar(&opts.NovaURL, "nova-url", "", "Nova's API, as in http://nova:8774/v2.1: it is told when ports of its servers are plugged, unplugged, changed and deleted")
	f.IntVar(&opts.UnderlayMTU, "underlay-mtu", 1500, "the MTU between the hosts, in bytes")
	_ = cmd.MarkFlagRequired("data")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		logger, err := makeLogger()
		if err != nil {
			return err
		}
		if opts.LeaseDuration < 2*time.Minute {
			return fmt.Errorf("--dhcp-lease-duration %v is shorter than two minutes, the shortest that DHCP servers give", opts.LeaseDuration)
		}
		opts.Logger, opts.Version = logger, version
		opts.Ready = func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) }
		limitMemory(40)
		return app.RunServer(cmd.Context(), opts)
	}
	return cmd
}
