package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/neutrino-net/neutrino/internal/lab"
)

func newLabStatusCommand(flags *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the hosts of the lab, what runs on them, and what the API knows",
		Long:  "Show the hosts of the lab, what runs on them, and what the API knows. The exit code is 0 when all is well.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := flags.open(nil)
			if err != nil {
				return err
			}
			s, err := l.Status(cmd.Context())
			if err != nil {
				return err
			}
			if s == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "there is no lab %q: neutrino lab up%s\n", l.Name(), nameSuffix(l))
				return exitError(1)
			}
			showLabStatus(cmd, l, s)
			if !s.Healthy() {
				return exitError(1)
			}
			return nil
		},
	}
}

func showLabStatus(cmd *cobra.Command, l *lab.Lab, s *lab.Status) {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "lab %q   API http://%s   identity http://%s   clouds %s\n\n",
		l.Name(), s.Record.API, s.Record.Identity, s.Record.CloudsFile())
	rows := []table.Row{{"HOST", "ADDRESS", "RUNS", "PID", "STATE", "API SAYS", "NETNS", "LOG"}}
	for _, h := range s.Hosts {
		state := "running"
		if !h.Running {
			state = "ENDED"
		}
		runs := h.Process.Name
		if len(h.Roles) > 0 {
			runs += " (" + strings.Join(h.Roles, ", ") + ")"
		}
		if h.Outside {
			runs, state = "the internet, outside", ""
		}
		rows = append(rows, table.Row{h.Name, h.Address, runs, h.Process.PID, state, aliveness(s, h), h.Namespaces, h.Process.Log})
	}
	fmt.Fprintln(out, plainTable(rows))
	for _, m := range s.Missing {
		fmt.Fprintf(out, "\nGONE: namespace %s. The lab is beyond repair: neutrino lab down%s\n", m, nameSuffix(l))
	}
	if s.Trouble != nil {
		fmt.Fprintf(out, "\n%v\n", s.Trouble)
		return
	}
	if len(s.Ports) == 0 {
		return
	}
	names := map[string]string{}
	for _, n := range s.Networks {
		names[n.ID] = fmt.Sprintf("%s (%s %d)", n.Name, n.NetworkType, n.SegmentationID)
	}
	rows = []table.Row{{"PORT", "NETWORK", "ADDRESS", "HOST", "STATUS", "OWNER", "ID"}}
	for _, p := range s.Ports {
		rows = append(rows, table.Row{p.Name, names[p.NetworkID], p.Address(), p.Host, p.Status, p.DeviceOwner, p.ID})
	}
	fmt.Fprintf(out, "\n%s\n", plainTable(rows))
}

// aliveness sums up what the API says of a host's agents.
func aliveness(s *lab.Status, h lab.HostStatus) string {
	if len(h.Roles) == 0 {
		return ""
	}
	alive, known := 0, 0
	for _, a := range s.Agents {
		if a.Host == h.Name {
			known++
			if a.Alive {
				alive++
			}
		}
	}
	return fmt.Sprintf("%d of %d alive", alive, max(known, len(h.Roles)))
}

// plainTable renders rows, the first of which is the heading, in columns without lines.
func plainTable(rows []table.Row) string {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	t.SetStyle(style)
	t.AppendRows(rows)
	return t.Render()
}

func newLabShellCommand(flags *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "shell HOST",
		Short: "Open a shell on a host of the lab",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			h, err := flags.host(args[0])
			if err != nil {
				return err
			}
			shell := os.Getenv("SHELL")
			if shell == "" {
				shell = "/bin/sh"
			}
			argv := []string{shell}
			if filepath.Base(shell) == "bash" {
				rc, err := bashRC(h, "[lab:"+h.Name+`] \w # `)
				if err != nil {
					return err
				}
				argv = append(argv, "--rcfile", rc)
			}
			return h.Exec(argv, "PS1=[lab:"+h.Name+"] # ")
		},
	}
}

// bashRC writes the start file of the shell into the host's own /run. Bash sets its prompt itself, after reading the
// user's files; so the hint where one is has to come after them.
func bashRC(h *lab.Host, prompt string) (path string, err error) {
	path = "/run/lab.bashrc"
	text := "[ -r ~/.bashrc ] && . ~/.bashrc\nPS1='" + prompt + "'\n"
	return path, h.Do(func() error { return os.WriteFile(path, []byte(text), 0o600) })
}
