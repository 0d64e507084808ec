package parity

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neutrino-net/neutrino/internal/schema"
)

var update = flag.Bool("update", false, "write the page anew")

const top = "../.."

func TestPageIsUpToDate(t *testing.T) {
	path := filepath.Join(top, "docs", "parity.md")
	if *update {
		if err := os.WriteFile(path, []byte(Page()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(page), Page()); diff != "" {
		t.Errorf("docs/parity.md is stale: run make docs\n%s", diff)
	}
}

func TestEveryAliasIsAccountedFor(t *testing.T) {
	for _, a := range Aliases() {
		switch {
		case serves(a.Alias) && familyOf(a.Alias) == nil:
			t.Errorf("%s is served, but is in no family", a.Alias)
		case !serves(a.Alias) && missing[a.Alias] == "":
			t.Errorf("%s is not served, and nobody says why", a.Alias)
		case serves(a.Alias) && missing[a.Alias] != "":
			t.Errorf("%s is served, but said to be missing", a.Alias)
		}
	}
	for _, e := range schema.Extensions {
		if familyOf(e.Alias) == nil {
			t.Errorf("%s is served, but is in no family", e.Alias)
		}
	}
	seen := map[string]bool{}
	for _, f := range Families() {
		for _, alias := range f.Aliases {
			if seen[alias] {
				t.Errorf("%s is in two families", alias)
			}
			if seen[alias] = true; !serves(alias) {
				t.Errorf("%s is in a family, but not served", alias)
			}
		}
	}
}

func TestTheTestsThatProveItExist(t *testing.T) {
	known := map[string][]string{}
	for _, f := range Families() {
		if len(f.Tests) == 0 {
			t.Errorf("nothing proves %v", f.Aliases)
		}
		for _, name := range f.Tests {
			dir, test, _ := strings.Cut(name, ".")
			if _, ok := known[dir]; !ok {
				known[dir] = tests(t, dir)
			}
			if !slices.Contains(known[dir], test) {
				t.Errorf("%v: there is no test %s", f.Aliases, name)
			}
		}
	}
}

// tests are the names of the tests of a package.
func tests(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(top, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}
