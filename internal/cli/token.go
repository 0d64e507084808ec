package cli

import (
	"fmt"
	"os"
	"path/filepath"
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
	cmd.AddCommand(create)
	return cmd
}
