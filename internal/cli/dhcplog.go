package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/dhcp"
)

// dhcpLogInterval is how often --follow asks; dnsmasq writes times in whole seconds.
const dhcpLogInterval = 500 * time.Millisecond

func newDHCPLogCommand() *cobra.Command {
	var socket string
	var follow bool
	cmd := &cobra.Command{
		Use:   "dhcp-log PORT",
		Short: "Show what a port and its DHCP server have said to each other",
		Long: `Show what a port and its DHCP server have said to each other, and which of the four steps are missing:
DISCOVER (the port asks), OFFER (the server offers), REQUEST (the port accepts), ACK (the server confirms).

It has to be called on a host that serves DHCP to the port's network.`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&socket, "agent", agent.DefaultSocket, "the agent's socket")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on and show new messages as they come")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client := agentClient(socket)
		defer client.CloseIdleConnections()
		log, err := fetchDHCPLog(cmd.Context(), client, args[0])
		if err != nil {
			return fmt.Errorf("dhcp-log %s: %w", args[0], err)
		}
		out := cmd.OutOrStdout()
		if !follow {
			printDHCPLog(out, log)
			return nil
		}
		return followDHCPLog(cmd.Context(), out, client, log)
	}
	return cmd
}

func fetchDHCPLog(ctx context.Context, client *http.Client, port string) (log dhcp.Log, err error) {
	err = askAgent(ctx, client, "/v1/dhcp-log/"+url.PathEscape(port), "this host does not serve DHCP", &log)
	return log, err
}

func printDHCPLog(w io.Writer, log dhcp.Log) {
	fmt.Fprintf(w, "port %s, MAC %s, network %s\n", log.Port, log.MAC, log.Network)
	if len(log.Messages) > 0 {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "TIME\tMESSAGE\tADDRESS\tNOTE")
		for _, m := range log.Messages {
			fmt.Fprintln(table, dhcpLogLine(m))
		}
		_ = table.Flush() // the terminal is gone: nobody left to tell
	}
	switch {
	case len(log.Messages) == 0:
		fmt.Fprintln(w, "no message of this port has reached the server: it has not asked, or its DISCOVER got lost on the way")
	case len(log.Missing) == 0:
		fmt.Fprintln(w, "the last exchange is complete")
	default:
		fmt.Fprintf(w, "missing in the last exchange: %s\n", strings.Join(log.Missing, ", "))
	}
}

// dhcpLogLine quotes what is not printable: part of it is what a workload has sent.
func dhcpLogLine(m dhcp.LogMessage) string {
	note := strings.Trim(fmt.Sprintf("%q", m.Note), `"`)
	return strings.Join([]string{m.Time.Local().Format(time.DateTime), m.Type, m.Address, note}, "\t")
}

// followDHCPLog prints the messages that come after those in log, until ctx ends.
func followDHCPLog(ctx context.Context, w io.Writer, client *http.Client, log dhcp.Log) error {
	printDHCPLog(w, log)
	shown := log.Messages
	tick := time.NewTicker(dhcpLogInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		next, err := fetchDHCPLog(ctx, client, log.Port)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("dhcp-log %s: %w", log.Port, err)
		}
		for _, m := range next.Messages[newFrom(shown, next.Messages):] {
			fmt.Fprintln(w, dhcpLogLine(m))
		}
		shown = next.Messages
	}
}

// newFrom returns where in now the messages begin that are not in before. The oldest messages of before may have been
// dropped from now: the longest end of before with which now begins is what both have.
func newFrom(before, now []dhcp.LogMessage) int {
	for skip := range before {
		common := before[skip:]
		if len(common) <= len(now) && equalMessages(common, now[:len(common)]) {
			return len(common)
		}
	}
	return 0
}

func equalMessages(a, b []dhcp.LogMessage) bool {
	for i := range a {
		if !a[i].Time.Equal(b[i].Time) || a[i].Type != b[i].Type || a[i].Address != b[i].Address || a[i].Note != b[i].Note {
			return false
		}
	}
	return true
}
