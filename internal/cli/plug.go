package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/neutrino-net/neutrino/internal/plug"
)

func newPlugCommand() *cobra.Command {
	var opts plug.Options
	var dhcp, noAddress bool
	cmd := &cobra.Command{
		Use:   "plug PORT --netns NAME",
		Short: "Put a port into a network namespace, as a workload",
		Long: `Put a port into a network namespace: what a hypervisor does for a virtual machine.

The port has to be bound to this host. The namespace is made if there is none. The command ends when the agent has wired
the port, so that traffic flows as far as its security groups allow. Called again, it repairs what is not as it should be.`,
		Example: "  neutrino plug 2a4f… --netns web --dhcp\n  ip netns exec web ping 10.0.0.1",
		Args:    cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&opts.Netns, "netns", "", "the name of the namespace (required)")
	f.StringVar(&opts.Device, "device", plug.DefaultDevice, "the name of the device in the namespace")
	f.BoolVar(&dhcp, "dhcp", false, "ask for the addresses by DHCP (default: set those of the port)")
	f.BoolVar(&noAddress, "no-address", false, "set no addresses")
	f.StringVar(&opts.Agent, "agent", plug.DefaultAgent, "the agent's socket")
	f.DurationVar(&opts.Timeout, "timeout", plug.DefaultTimeout, "how long to wait")
	_ = cmd.MarkFlagRequired("netns")
	cmd.MarkFlagsMutuallyExclusive("dhcp", "no-address")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needRoot("plug makes devices and namespaces, which"); err != nil {
			return err
		}
		opts.Port = args[0]
		switch {
		case dhcp:
			opts.Addressing = plug.DHCP
		case noAddress:
			opts.Addressing = plug.None
		}
		result, err := plug.Plug(cmd.Context(), opts)
		if err != nil {
			return fmt.Errorf("plug %s: %w", opts.Port, err)
		}
		printPlugged(cmd.OutOrStdout(), result)
		return nil
	}
	return cmd
}

func printPlugged(w io.Writer, r plug.Result) {
	verb := "plugged"
	if r.Already && r.Repaired {
		verb = "was plugged already, repaired:"
	} else if r.Already {
		verb = "was plugged already:"
	}
	addresses := "no address"
	if len(r.Addresses) > 0 {
		addresses = fmt.Sprint(r.Addresses)
		addresses = strings.Trim(addresses, "[]")
	}
	fmt.Fprintf(w, "port %s %s %s in %s (%s, %s, MTU %d), wired after %v\n",
		r.Port, verb, r.Device, r.Netns, r.MAC, addresses, r.MTU, r.Wired.Round(time.Millisecond))
	if l := r.Lease; l != nil {
		fmt.Fprintf(w, "DHCP: %v from %v for %v, after %v\n", l.Address, l.Server, l.Duration, l.Took.Round(time.Millisecond))
		for _, route := range l.Routes {
			fmt.Fprintf(w, "      route to %v via %v\n", route.Destination, route.Via)
		}
		// What a server calls itself is printed quoted: whoever answers DHCP may be anybody.
		fmt.Fprintf(w, "      nameservers %v, domain %q, name %q, MTU %d\n", l.DNS, l.Domain, l.Name, l.MTU)
	}
}

func newUnplugCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unplug PORT",
		Short: "Take a port out of its network namespace",
		Long:  "Take a port out of its network namespace. The namespace goes too if plug has made it and no other port is in it.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot("unplug removes devices and namespaces, which"); err != nil {
				return err
			}
			done, err := plug.Unplug(args[0])
			if err != nil {
				return fmt.Errorf("unplug %s: %w", args[0], err)
			}
			if done.Device == "" {
				return errors.New("the port is not plugged on this host")
			}
			line := "removed the device " + done.Device
			if done.Netns != "" {
				line += " and the namespace " + done.Netns
			}
			fmt.Fprintln(cmd.OutOrStdout(), line)
			return nil
		},
	}
}
