// Package cli is the command line of the program: one file for each verb. The verbs only read flags and print; what they
// do is in the packages that they call.
package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/neutrino-net/neutrino/internal/cli/openstack"
	"github.com/neutrino-net/neutrino/internal/telemetry"
)

// version is set when the program is linked.
var version = "dev"

// exitError ends the program with a code of its own; everything has been said already.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Main runs the command line and returns the exit code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRootCommand(args)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	}
	fmt.Fprintln(os.Stderr, "neutrino:", err)
	return 1
}

func newRootCommand(args []string) *cobra.Command {
	root := &cobra.Command{
		Use:           "neutrino",
		Short:         "OpenStack networking in one program",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		newServerCommand(),
		newTokenCommand(),
		newAgentCommand(),
		newStatusCommand(),
		newPlugCommand(),
		newUnplugCommand(),
		newDHCPLogCommand(),
		newFilterCommand(),
		newLabCommand(),
	)
	root.AddGroup(&cobra.Group{ID: openstack.Group, Title: "The networking API, with the words of the openstack command:"})
	root.AddCommand(openstack.Commands(args...)...)
	return root
}

// logFlags adds the flags of the log; the function it returns makes the logger once they are parsed.
func logFlags(cmd *cobra.Command) func() (*slog.Logger, error) {
	var opts telemetry.LogOptions
	cmd.Flags().StringVar(&opts.Level, "log-level", "info", "what is logged: debug, info, warn or error")
	cmd.Flags().StringVar(&opts.Format, "log-format", "auto", "text, json, or auto: coloured text on a terminal")
	return func() (*slog.Logger, error) { return telemetry.NewLogger(os.Stderr, opts) }
}

// needRoot returns an error that says what root is needed for.
func needRoot(what string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s needs root: run it with sudo", what)
	}
	return nil
}

// limitMemory asks the garbage collector to keep small what is small at rest: with a soft limit in bytes, below which it
// works as usual, and with a target that is a little tighter than Go's default.
func limitMemory(percent int) { debug.SetGCPercent(percent) }
