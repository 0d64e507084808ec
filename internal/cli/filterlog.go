package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/agent/filter"
	"github.com/neutrino-net/neutrino/internal/agent/packetlog"
)

// filterLogInterval is how often --follow asks.
const filterLogInterval = 500 * time.Millisecond

func newFilterLogCommand() *cobra.Command {
	var socket string
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use:   "log [PORT]",
		Short: "Show the packets that were recorded, of a port or of all",
		Long: `Show the newest packets that this host has recorded, of a port or of all, the oldest first.

Packets are recorded where a log asks for it (openstack network log create): of what a security group accepts, the first
packet of each connection, and what is dropped. It has to be called on the host of the port.`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringVar(&socket, "agent", agent.DefaultSocket, "the agent's socket")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on and show new packets as they come")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as lines of JSON, with all that is known")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client := agentClient(socket)
		defer client.CloseIdleConnections()
		port := ""
		if len(args) > 0 {
			port = args[0]
		}
		view, err := fetchFilterLog(cmd.Context(), client, port)
		if err != nil {
			return fmt.Errorf("filter log: %w", err)
		}
		out := cmd.OutOrStdout()
		if err := printFilterLog(out, view.Records, asJSON); err != nil {
			return err
		}
		if !asJSON {
			printLogState(out, view)
		}
		if !follow {
			return nil
		}
		return followFilterLog(cmd.Context(), out, client, port, asJSON, view.Records)
	}
	return cmd
}

func fetchFilterLog(ctx context.Context, client *http.Client, port string) (view filter.LogView, err error) {
	query := url.Values{"port": {port}}
	err = askAgent(ctx, client, "/v1/filter-log?"+query.Encode(), "this host wires no ports", &view)
	return view, err
}

func printLogState(w io.Writer, v filter.LogView) {
	switch {
	case v.Problem != "":
		fmt.Fprintf(w, "problem: %s\n", v.Problem)
	case v.Logs == 0:
		fmt.Fprintln(w, "no log asks this host to record anything")
	case len(v.Records) == 0:
		fmt.Fprintln(w, "nothing has been recorded yet")
	}
}

func printFilterLog(w io.Writer, records []packetlog.Record, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		for _, r := range records {
			if err := encoder.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	if len(records) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TIME\tEVENT\tDIRECTION\tPORT\tPROTOCOL\tSOURCE\tDESTINATION\tBY\tLOG")
	for _, r := range records {
		fmt.Fprintln(table, filterLogLine(r))
	}
	return table.Flush()
}

func filterLogLine(r packetlog.Record) string {
	protocol := cmp.Or(r.Protocol, r.EtherType)
	if r.ICMPType != nil && r.ICMPCode != nil {
		protocol += fmt.Sprintf(" %d/%d", *r.ICMPType, *r.ICMPCode)
	}
	by := r.Reason
	switch {
	case by == "" && r.Rule != "":
		by = "rule " + r.Rule
	case by == "":
		by = "group " + r.SecurityGroup
	}
	end := func(ip netip.Addr, port *uint16, mac string) string {
		switch {
		case !ip.IsValid():
			return mac
		case port == nil:
			return ip.String()
		}
		return netip.AddrPortFrom(ip, *port).String()
	}
	line := []string{
		r.Time.Local().Format(time.DateTime + ".000"), r.Event, r.Direction, r.Port, protocol,
		end(r.Source, r.SourcePort, r.SourceMAC), end(r.Destination, r.DestinationPort, r.DestinationMAC), by, r.Log,
	}
	for i, text := range line {
		line[i] = strings.Trim(strconv.Quote(text), `"`) // the file may have been written by others
	}
	return strings.Join(line, "\t")
}

// followFilterLog prints what is recorded after the records that were shown, until ctx ends.
func followFilterLog(ctx context.Context, w io.Writer, client *http.Client, port string, asJSON bool, shown []packetlog.Record) error {
	tick := time.NewTicker(filterLogInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		next, err := fetchFilterLog(ctx, client, port)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("filter log: %w", err)
		}
		for _, r := range next.Records[behind(shown, next.Records):] {
			if asJSON {
				err = printFilterLog(w, []packetlog.Record{r}, true)
			} else {
				_, err = fmt.Fprintln(w, filterLogLine(r))
			}
			if err != nil {
				return err
			}
		}
		if len(next.Records) > 0 {
			shown = next.Records
		}
	}
}

// behind returns where in now the records begin that have come after the last one of before.
func behind(before, now []packetlog.Record) int {
	if len(before) == 0 {
		return 0
	}
	last := before[len(before)-1]
	for i := len(now) - 1; i >= 0; i-- {
		if r := now[i]; r.Time.Equal(last.Time) && r.Log == last.Log && r.Port == last.Port {
			return i + 1
		}
	}
	return 0
}
