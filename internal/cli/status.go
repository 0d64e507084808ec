package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/neutrino-net/neutrino/internal/agent"
	"github.com/neutrino-net/neutrino/internal/app"
)

func newStatusCommand() *cobra.Command {
	var server, socket, token string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the server and this host's agent are",
		Long: `Show the server (its state, its hosts and how far each of them has come) and the agent of this host (its parts, and
what could not be done). On a machine that runs only one of them, only that one is shown.

The server answers this machine without a token; from elsewhere, set OS_TOKEN to an administrator's.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
			defer cancel()
			out := cmd.OutOrStdout()
			serverErr := serverStatus(ctx, out, server, token)
			agentErr := agentStatus(ctx, out, socket)
			if serverErr != nil && agentErr != nil {
				return fmt.Errorf("neither a server nor an agent answers here: %w; %w", serverErr, agentErr)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&server, "server", "http://127.0.0.1:9696", "the address of the networking API")
	cmd.Flags().StringVar(&socket, "agent", agent.DefaultSocket, "the agent's socket")
	cmd.Flags().StringVar(&token, "token", os.Getenv("OS_TOKEN"), "an administrator's token, for a server elsewhere")
	return cmd
}

// get fetches JSON.
func get(ctx context.Context, client *http.Client, url, token string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return errors.New(resp.Status + ": " + string(text))
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

func serverStatus(ctx context.Context, out io.Writer, url, token string) error {
	var st app.ServerStatus
	if err := get(ctx, http.DefaultClient, url+"/status", token, &st); err != nil {
		return fmt.Errorf("the server at %s: %w", url, err)
	}
	state := "ready"
	if st.Problem != "" {
		state = "NOT READY: " + st.Problem
	}
	fmt.Fprintf(out, "Server %s, up %s, %s. Revision %d.\n", st.Version, time.Since(st.Started).Round(time.Second), state, st.Revision)
	kinds := make([]string, 0, len(st.Counts))
	for kind := range st.Counts {
		kinds = append(kinds, kind)
	}
	sort.Strings(kinds)
	for _, kind := range kinds {
		fmt.Fprintf(out, "  %-9s %d\n", kind, st.Counts[kind])
	}
	t := newTable(out, "Host", "Connected", "Heard", "Documents", "Applied", "Behind")
	for _, h := range st.Hosts {
		t.AppendRow(table.Row{
			h.Host, yesNo(h.Connected), time.Since(h.LastHeard).Round(time.Second).String() + " ago", h.Documents,
			h.AppliedRevision, fmt.Sprintf("%.1f s", h.LagSeconds),
		})
	}
	t.Render()
	return nil
}

func agentStatus(ctx context.Context, out io.Writer, socket string) error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	var st agent.HostStatus
	if err := get(ctx, client, "http://agent/v1/status", "", &st); err != nil {
		return fmt.Errorf("the agent at %s: %w", socket, err)
	}
	link := "connected to the server"
	if st.Connected != nil && !*st.Connected {
		link = "NOT connected to the server"
	}
	fmt.Fprintf(out, "Agent of %s, %s. Revision %d, %d documents.\n", st.Host, link, st.Revision, st.Documents)
	if !st.Complete {
		fmt.Fprintln(out, "It does not know yet what the host has to do, and touches nothing.")
	}
	t := newTable(out, "Part", "Last pass", "Took", "In error", "Trouble")
	for _, p := range st.Parts {
		last := "none yet"
		if !p.LastReconcile.IsZero() {
			last = time.Since(p.LastReconcile).Round(time.Second).String() + " ago"
		}
		t.AppendRow(table.Row{
			p.Name, last,
			fmt.Sprintf("%.1f ms", p.Milliseconds), p.FailedObjects, p.Error,
		})
	}
	t.Render()
	if len(st.Groups) > 0 {
		t := newTable(out, "Gateway group", "This host", "Owner", "Takeovers")
		for _, g := range st.Groups {
			role := "standby"
			if g.Active {
				role = "active"
			}
			t.AppendRow(table.Row{g.Number, role, g.Owner, g.Epoch})
		}
		t.Render()
	}
	for _, e := range st.Errors {
		fmt.Fprintf(out, "  %s: %s\n", e.Key, e.Reason)
	}
	return nil
}

func newTable(out io.Writer, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.AppendHeader(header)
	return t
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
