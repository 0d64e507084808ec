// Package nft keeps nftables tables of ours as they are wanted, by the program nft: once for a whole batch of tables, in
// one transaction, so that there is no moment without rules.
//
// A table is ours by its name. It is written and compared as a whole, and nothing outside of it is ever read or changed.
//
//	Client   runs nft: Replace writes tables, List reads them back
//	Keeper   writes tables that never change, and repairs them
//	Watch    hears when somebody changes a table of ours
package nft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

// ErrNotInstalled says that the host has no nft.
var ErrNotInstalled = errors.New("nft is not installed: install the package nftables")

// timeout bounds a run of nft. It takes milliseconds; whoever ended it soon on a machine that is very busy would only have it
// begin anew.
const timeout = 30 * time.Second

// Table is a table of ours.
type Table struct {
	Family string // "inet", "arp", "bridge" …
	Name   string
	// Rules is what stands between the table's braces, in the language of nft, as `nft -nn list table` prints it:
	// then a table that a former process wrote is known to be right, and is not written anew.
	Rules string
}

func (t Table) id() string { return t.Family + " " + t.Name }

func (t Table) String() string {
	return fmt.Sprintf("table %s {\n%s\n}\n", t.id(), strings.Trim(t.Rules, "\n"))
}

// Client runs nft. The zero value works in the namespace of the process.
type Client struct {
	// Namespace is where it works; nil: the namespace of the process.
	Namespace *netns.Handle
	// Program is the path or name of nft; empty: nft, looked up in PATH.
	Program string
}

// Replace makes the tables what is given, all at once: a packet sees the old rules or the new ones.
func (c *Client) Replace(ctx context.Context, tables ...Table) error {
	var script strings.Builder
	for _, t := range tables {
		// Only a table that is there can be deleted, hence the first line.
		fmt.Fprintf(&script, "table %s\ndelete table %s\n%s", t.id(), t.id(), t)
	}
	if _, err := c.run(ctx, script.String(), "-f", "-"); err != nil {
		return fmt.Errorf("write nftables tables: %w", err)
	}
	return nil
}

// List returns the tables as the kernel has them, as text. The error does not tell a table that is missing from other
// trouble: for both the answer is to write it.
func (c *Client) List(ctx context.Context, tables ...Table) (string, error) {
	var all strings.Builder
	for _, t := range tables {
		// One by one: of several in one run, nft finds only the last.
		text, err := c.run(ctx, "", "-nn", "list", "table", t.Family, t.Name)
		if err != nil {
			return "", fmt.Errorf("read the nftables table %s: %w", t.id(), err)
		}
		all.WriteString(text)
	}
	return all.String(), nil
}

// Run applies a script in the language of nft, all of it or nothing. Whoever makes it answers for every name in it.
func (c *Client) Run(ctx context.Context, script string) error {
	_, err := c.run(ctx, script, "-f", "-")
	return err
}

// Ask returns what nft prints for a command that changes nothing.
func (c *Client) Ask(ctx context.Context, args ...string) (string, error) {
	return c.run(ctx, "", args...)
}

func (c *Client) run(ctx context.Context, input string, args ...string) (string, error) {
	program := c.Program
	if program == "" {
		program = "nft"
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", ErrNotInstalled
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var out, problems bytes.Buffer
	run := func() error {
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &problems
		cmd.WaitDelay = time.Second
		return cmd.Run()
	}
	if c.Namespace == nil {
		err = run()
	} else {
		err = netns.Do(c.Namespace, run)
	}
	if err != nil {
		return "", fmt.Errorf("nft: %w: %s", err, firstLine(problems.String()))
	}
	return out.String(), nil
}

// firstLine is the sentence of nft on what is wrong; the lines after it point at the place.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
