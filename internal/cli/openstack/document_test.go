package openstack

import (
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the list of commands in docs/cli.md anew")

// document is the page of the command line; what follows the heading is made from the commands.
const (
	document = "../../../docs/cli.md"
	heading  = "## All commands\n"
)

func TestTheDocumentListsTheCommands(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := strings.Cut(string(text), heading)
	if !ok {
		t.Fatalf("%s has no heading %q", document, heading)
	}
	want := before + heading + "\n" + listing()
	if *update {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if string(text) != want && !*update {
		t.Errorf("%s does not list the commands that there are: go test ./internal/cli/openstack -run Document -update", document)
	}
}

// listing are the words of all commands, those with the same beginning on one line.
func listing() string {
	verbs := map[string][]string{}
	var walk func(words string, cmd *cobra.Command)
	walk = func(words string, cmd *cobra.Command) {
		for _, below := range cmd.Commands() {
			if !below.HasSubCommands() {
				verbs[words] = append(verbs[words], below.Name())
			} else {
				walk(words+" "+below.Name(), below)
			}
		}
	}
	for _, top := range Commands() {
		walk(top.Name(), top)
	}
	var lines []string
	for words, names := range verbs {
		sort.Strings(names)
		lines = append(lines, fmt.Sprintf("- `%s` %s\n", words, strings.Join(names, ", ")))
	}
	sort.Strings(lines)
	return strings.Join(lines, "")
}
