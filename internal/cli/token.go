package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/neutrino-net/neutrino/internal/pki"
)

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Tokens with which hosts join"}
	var data string
	var ttl time.Duration
	var roles []string
	create := &cobra.Command{
		Use:   "create HOST",
		Short: "Print a token with which the host can join, once",
		Long: `Print a token with which the agent of the host can join, once and within the time given.

It has to run where the server's data directory is; the server need not run.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			// A mistyped directory must not become one with an authority of its own.
			if _, err := os.Stat(filepath.Join(data, "pki")); err != nil {
				return fmt.Errorf("there is no authority in %s: it is made when the server starts for the first time", data)
			}
			if _, err := parseRoles(roles); err != nil {
				return err
			}
			token, err := pki.Mint(data, args[0], ttl, roles...)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), token)
			return nil
		},
	}
	create.Flags().StringVar(&data, "data", "", "the server's data directory (required)")
	create.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long the token can be used")
	create.Flags().StringSliceVar(&roles, "roles", nil, "what the host may do, as in l2,dhcp (default: everything)")
	_ = create.MarkFlagRequired("data")
	cmd.AddCommand(create, newTokenRevokeCommand())
	return cmd
}

func newTokenRevokeCommand() *cobra.Command {
	var server, token string
	cmd := &cobra.Command{
		Use:   "revoke HOST",
		Short: "Shut a host out: its certificates are good for nothing from now on",
		Long: `Shut a host out: its stream ends and its certificates are good for nothing from now on. What it has set up stays as it
is. It can join again with a new token.

It needs an administrator's token in OS_TOKEN, for instance of: openstack token issue -f value -c id`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := http.NewRequestWithContext(cmd.Context(), http.MethodDelete, server+"/hosts/"+url.PathEscape(args[0]), nil)
			if err != nil {
				return err
			}
			req.Header.Set("X-Auth-Token", token)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusNoContent {
				text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
				return fmt.Errorf("%s", strings.TrimSpace(string(text)))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "the host %s is shut out\n", args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&server, "server", "http://127.0.0.1:9696", "the address of the networking API")
	cmd.Flags().StringVar(&token, "token", os.Getenv("OS_TOKEN"), "an administrator's token")
	return cmd
}
