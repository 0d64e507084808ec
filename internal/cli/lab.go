package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/neutrino-net/neutrino/internal/lab"
	"github.com/neutrino-net/neutrino/internal/lab/tour"
)

// labFlags are the flags that all lab verbs have.
type labFlags struct{ name, dir string }

func newLabCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "A cloud of five hosts on this machine",
		Long: `A cloud of five hosts on this machine, each a set of kernel namespaces: control runs the server, network, network2,
compute1 and compute2 run agents. A further one, internet, lies outside behind their physical network. The API answers on
the machine's own loopback, so that the openstack command works from outside. Everything it makes is removed by
"neutrino lab down", whatever happened in between.`,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return needRoot("neutrino lab makes network and mount namespaces, and")
		},
	}
	var flags labFlags
	cmd.PersistentFlags().StringVar(&flags.name, "name", lab.DefaultName, "which lab, where there are several")
	cmd.AddCommand(
		newLabUpCommand(&flags), newLabDownCommand(&flags), newLabStatusCommand(&flags), newLabRunCommand(&flags),
		newLabShellCommand(&flags), newLabExecCommand(&flags), newLabListCommand(),
	)
	return cmd
}

// dirFlag adds the flag that says where a new lab keeps its data.
func dirFlag(cmd *cobra.Command, flags *labFlags) {
	cmd.Flags().StringVar(&flags.dir, "dir", lab.DefaultDir, "where a lab that is made keeps its data and logs")
}

// open returns the lab that the flags mean.
func (f *labFlags) open(progress func(string)) (*lab.Lab, error) {
	return lab.New(lab.Options{Name: f.name, Dir: f.dir, Progress: progress})
}

// printer prints lines of progress.
func printer(cmd *cobra.Command) func(string) {
	return func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) }
}

func newLabUpCommand(flags *labFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build the lab, or start again what has died in it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := flags.open(printer(cmd))
			if err != nil {
				return err
			}
			began := time.Now()
			changed, err := l.Up(cmd.Context())
			if err != nil {
				return err
			}
			if !changed {
				fmt.Fprintf(cmd.OutOrStdout(), "lab %q is up and healthy already\n", l.Name())
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "lab %q is up after %.1f s\n", l.Name(), time.Since(began).Seconds())
			}
			return goOn(cmd, l)
		},
	}
	dirFlag(cmd, flags)
	return cmd
}

// goOn prints what to type next.
func goOn(cmd *cobra.Command, l *lab.Lab) error {
	record, err := l.Load()
	if err != nil || record == nil {
		return err
	}
	suffix := nameSuffix(l)
	client := ""
	if _, err := exec.LookPath("openstack"); err != nil {
		client = "\n  apt-get install python3-openstackclient"
	}
	fmt.Fprintf(cmd.OutOrStdout(), `
The lab stays up. To go on:%[4]s
  export OS_CLIENT_CONFIG_FILE=%[1]s OS_CLOUD=demo
  openstack network list
  %[2]s lab shell compute1%[3]s     a shell on a host: ip link, bridge fdb show, ip netns
  %[2]s lab status%[3]s
  %[2]s lab down%[3]s               remove everything
`, record.CloudsFile(), ownName(), suffix, client)
	return nil
}

// nameSuffix is what a command line needs to mean this lab.
func nameSuffix(l *lab.Lab) string {
	if l.Name() == lab.DefaultName {
		return ""
	}
	return " --name " + l.Name()
}

// ownName is how the user has called this program.
func ownName() string {
	if filepath.IsAbs(os.Args[0]) {
		return filepath.Base(os.Args[0])
	}
	return os.Args[0]
}

func newLabDownCommand(flags *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove the lab with everything in it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := flags.open(printer(cmd))
			if err != nil {
				return err
			}
			removed, err := l.Down(cmd.Context())
			if err != nil {
				return err
			}
			if removed {
				fmt.Fprintf(cmd.OutOrStdout(), "lab %q is removed\n", l.Name())
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "there is no lab %q\n", l.Name())
			}
			return nil
		},
	}
}

func newLabRunCommand(flags *labFlags) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Bring the lab up if needed, and walk through what it can do",
		Long: `Bring the lab up if needed, and walk through what it can do: a network, two workloads on two hosts, their
addresses by DHCP, a ping through the overlay, and how damage heals. Every step shows the command that you would type.

The lab stays up afterwards, unless --once says otherwise. The exit code is 0 only when every step came out as expected.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if once && !cmd.Flags().Changed("name") {
				// A lab of its own: what is removed at the end is never somebody's.
				flags.name = fmt.Sprintf("once-%d", os.Getpid())
			}
			l, err := flags.open(printer(cmd))
			if err != nil {
				return err
			}
			if once {
				defer func() {
					if downErr := removeLab(cmd, l); err == nil {
						err = downErr
					}
				}()
			}
			if err := upAndTour(cmd, l); err != nil {
				return err
			}
			if once {
				return nil
			}
			return goOn(cmd, l)
		},
	}
	dirFlag(cmd, flags)
	cmd.Flags().BoolVar(&once, "once", false, "remove the lab at the end, also when a step failed")
	return cmd
}

// removeLab takes the lab down even when the command was interrupted.
func removeLab(cmd *cobra.Command, l *lab.Lab) error {
	_, err := l.Down(context.WithoutCancel(cmd.Context()))
	return err
}

// upAndTour brings the lab up and walks the tour. What a failing step has to say has been printed when it returns.
func upAndTour(cmd *cobra.Command, l *lab.Lab) error {
	began := time.Now()
	if _, err := l.Up(cmd.Context()); err != nil {
		return err
	}
	err := tour.Run(cmd.Context(), tour.Options{
		Lab: l, Out: cmd.OutOrStdout(), Colour: isTerminal(os.Stdout), Version: version, Up: time.Since(began),
	})
	if errors.Is(err, tour.ErrFailed) {
		return exitError(1)
	}
	return err
}

// isTerminal says whether a person is reading.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""
}

func newLabListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the labs of this machine",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			names, err := lab.List(lab.DefaultRunDir)
			for _, name := range names {
				fmt.Fprintln(cmd.OutOrStdout(), name)
			}
			return err
		},
	}
}

func newLabExecCommand(flags *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "exec HOST -- COMMAND [ARGUMENT...]",
		Short:   "Run a command on a host of the lab",
		Example: "  neutrino lab exec compute1 -- bridge fdb show",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			h, err := flags.host(args[0])
			if err != nil {
				return err
			}
			return h.Exec(args[1:])
		},
	}
}

func (f *labFlags) host(name string) (*lab.Host, error) {
	l, err := f.open(nil)
	if err != nil {
		return nil, err
	}
	return l.Host(name)
}
