package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/filter"
)

func newFilterCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "filter", Short: "What the filters of this host do"}
	cmd.AddCommand(newFilterShowCommand(), newFilterLogCommand())
	return cmd
}

func newFilterShowCommand() *cobra.Command {
	var socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show PORT",
		Short: "Show the rules that are in force for a port, what they let pass, and what was dropped and why",
		Long: `Show the rules that are in force for a port, how much each of them has let pass, and how much was dropped and why.

It has to be called on the host of the port. A rule is shared by all ports of the host that have its security group, and
counts for all of them. Packets of connections that were let in before pass without asking a rule again.

Firewall groups come after the security groups: that of the port, and those of interfaces of distributed routers on its
network, which are asked about what these routers forward.`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&socket, "agent", agent.DefaultSocket, "the agent's socket")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client := agentClient(socket)
		defer client.CloseIdleConnections()
		var view filter.View
		path := "/v1/filters/" + url.PathEscape(args[0])
		if err := askAgent(cmd.Context(), client, path, "this host wires no ports", &view); err != nil {
			return fmt.Errorf("filter show %s: %w", args[0], err)
		}
		if asJSON {
			encoder := json.NewEncoder(cmd.OutOrStdout())
			encoder.SetIndent("", "  ")
			return encoder.Encode(view)
		}
		return printFilters(cmd.OutOrStdout(), view)
	}
	return cmd
}

func printFilters(w io.Writer, v filter.View) error {
	fmt.Fprintf(w, "port %s, device %s, network %s, connections in zone %d (%s family)\n", v.Port, v.Device, v.Network, v.Zone, v.Family)
	if len(v.Chains) > 0 {
		fmt.Fprintf(w, "chains %s\n", strings.Join(v.Chains, ", "))
	}
	switch {
	case v.Problem != "":
		fmt.Fprintf(w, "problem: %s\n", v.Problem)
	case !v.Filtered:
		fmt.Fprintln(w, "not filtered: it has no port security, or is a service of the network's own")
	case !v.Stateful:
		fmt.Fprintln(w, "stateless: answers need rules of their own")
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(v.Rules) > 0 {
		fmt.Fprintln(table, "DIRECTION\tRULE\tSECURITY GROUP\tSET\tMEMBERS\tPACKETS\tBYTES")
	}
	for _, r := range v.Rules {
		set, members := "-", "-"
		if r.Set != "" {
			set, members = r.Set, fmt.Sprint(r.Members)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%d\n", r.Direction, r.Rule, r.Group, set, members, r.Packets, r.Bytes)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(v.Firewalls) > 0 {
		fmt.Fprintln(table, "\nFIREWALL\tRULE\tACTION\tGROUP\tINTERFACE\tPACKETS\tBYTES")
	}
	for _, r := range v.Firewalls {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%d\n", r.Direction, cmp.Or(r.Rule, "(all)"), r.Action, r.Group,
			cmp.Or(r.Interface, "-"), r.Packets, r.Bytes)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(v.Drops) > 0 {
		fmt.Fprintln(table, "\nDROPPED\tREASON\tPACKETS\tBYTES")
	}
	for _, d := range v.Drops {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\n", d.Direction, d.Reason, d.Packets, d.Bytes)
	}
	return table.Flush()
}
