package house

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/modules.txt anew")

const (
	module  = "github.com/neutrino-net/neutrino"
	root    = "../.."
	program = module + "/cmd/neutrino"

	maxFileLines     = 700
	maxFunctionLines = 100
)

// source is one Go file of the project.
type source struct {
	// name is the path from the root of the checkout; dir its directory there.
	name, dir string
	file      *ast.File
	lines     int
}

func (s source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

// sources parses all Go files but the generated ones.
func sources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	files := token.NewFileSet()
	var all []source
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() && (base == "testdata" || base == "tools" || len(base) > 2 && base[0] == '.') {
			return fs.SkipDir
		}
		if !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, ".pb.go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(files, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		relative := filepath.ToSlash(strings.TrimPrefix(filepath.Clean(name), filepath.Clean(root)+"/"))
		all = append(all, source{relative, path.Dir(relative), parsed, strings.Count(string(text), "\n")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("found %d files: is %s the root of the checkout?", len(all), root)
	}
	return files, all
}

// direction says that the packages below from must not import those below any of not. Paths are below internal/.
type direction struct {
	from, not []string
	why       string
}

// hostHalf is the part of the southbound that runs on the hosts; the rest of it is the server's.
const hostHalf = "southbound/client"

func directions() []direction {
	control := []string{
		"state", "service", "rest", "compile", "policy", "identity", "ipam", "ml2", "scheduler", "southbound",
	}
	return []direction{
		{
			from: []string{"agent", "dataplane", "netlinkx", "reconcile", "plug"}, not: control,
			why: "a host knows documents, and nothing of the control plane",
		},
		{
			from: control, not: []string{"agent", "dataplane", "netlinkx", "plug"},
			why: "the control plane touches no kernel",
		},
		{from: []string{"service", "ipam", "ml2", "scheduler"}, not: []string{"rest"}, why: "the rules know no HTTP"},
		{from: []string{"state"}, not: []string{"service", "rest", "compile"}, why: "the state knows no rules"},
		{from: []string{"dataplane", "netlinkx", "reconcile"}, not: []string{"agent"}, why: "drivers know no documents"},
		{from: []string{"model"}, not: []string{""}, why: "the nouns import the standard library only"},
		{
			from: []string{"schema", "reconcile", "fault"}, not: append([]string{"app", "cli", "lab", "agent", "plug"}, control...),
			why: "they are below everybody",
		},
		{from: []string{"app"}, not: []string{"cli", "lab"}, why: "what is wired does not know who starts it"},
		{
			from: []string{"lab"}, not: append([]string{"agent", "dataplane", "app", "plug"}, control...),
			why: "the lab uses the product from outside, as a user does",
		},
	}
}

// below says whether the package is that one or lies in it; everything lies in the empty one. The host's half of the
// southbound is a package of its own.
func below(pkg, parent string) bool {
	if pkg == hostHalf && parent == "southbound" {
		return false
	}
	return parent == "" || pkg == parent || strings.HasPrefix(pkg, parent+"/")
}

func TestImportsGoOneWay(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		pkg, ours := strings.CutPrefix(s.dir, "internal/")
		if !ours || s.test() {
			continue
		}
		for _, spec := range s.file.Imports {
			imported, ours := strings.CutPrefix(importPath(spec), module+"/internal/")
			if !ours {
				continue
			}
			for _, d := range directions() {
				applies := slices.ContainsFunc(d.from, func(p string) bool { return below(pkg, p) })
				// Within one of its own parts a package may import what it likes.
				forbidden := slices.ContainsFunc(d.not, func(p string) bool {
					return below(imported, p) && !(p != "" && below(pkg, p))
				})
				if applies && forbidden {
					t.Errorf("%s imports %s, but %s", s.name, imported, d.why)
				}
			}
		}
	}
}

func importPath(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return ""
	}
	return p
}

// What is not to be imported at all, and why.
var forbidden = map[string]string{
	"C":                          "the binary is built without cgo",
	"github.com/spf13/viper":     "configuration is typed",
	"github.com/stretchr":        "tests use testing and go-cmp",
	"github.com/onsi":            "tests use testing and go-cmp",
	"github.com/google/gopacket": "it is no longer kept",
	"github.com/sirupsen/logrus": "logs are written by log/slog",
	"github.com/pkg/errors":      "errors are wrapped by fmt.Errorf",
	"math/rand":                  "use math/rand/v2",
}

func TestNothingForbiddenIsImported(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		for _, spec := range s.file.Imports {
			for p, why := range forbidden {
				imported := importPath(spec)
				if imported == p || strings.HasPrefix(imported, p+"/") && p != "math/rand" {
					t.Errorf("%s imports %s: %s", s.name, imported, why)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	_, all := sources(t)
	comments := map[string][]string{}
	for _, s := range all {
		if s.test() && s.dir != "test" && !onlyTests(all, s.dir) {
			continue
		}
		if _, ok := comments[s.dir]; !ok {
			comments[s.dir] = nil
		}
		if s.file.Doc != nil && strings.TrimSpace(s.file.Doc.Text()) != "" {
			comments[s.dir] = append(comments[s.dir], s.name)
		}
	}
	for dir, files := range comments {
		if len(files) != 1 {
			t.Errorf("%s has %d package comments, not one: %v", dir, len(files), files)
		}
	}
}

// onlyTests says whether a directory has nothing but tests.
func onlyTests(all []source, dir string) bool {
	return !slices.ContainsFunc(all, func(s source) bool { return s.dir == dir && !s.test() })
}

func TestFilesAndFunctionsAreShort(t *testing.T) {
	files, all := sources(t)
	for _, s := range all {
		if s.lines > maxFileLines {
			t.Errorf("%s has %d lines, more than %d: which part of it is a noun of its own?", s.name, s.lines, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			lines := files.Position(f.End()).Line - files.Position(f.Pos()).Line + 1
			if lines > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, more than %d", s.name, f.Name.Name, lines, maxFunctionLines)
			}
		}
	}
}

func TestPackagesHaveNamesThatSaySomething(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		switch name := s.file.Name.Name; name {
		case "util", "utils", "common", "helpers", "misc":
			t.Errorf("%s: package %s is a drawer, not a noun", s.name, name)
		}
	}
}

// TestTheBinaryLinksWhatIsListed makes a new dependency, also an indirect one, a line that a reviewer sees.
func TestTheBinaryLinksWhatIsListed(t *testing.T) {
	const list = "testdata/modules.txt"
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", program)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	linked := strings.Fields(string(out))
	slices.Sort(linked)
	linked = slices.Compact(linked)
	if *update {
		if err := os.WriteFile(list, []byte(strings.Join(linked, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Fields(string(text)), linked); diff != "" {
		t.Errorf("the modules linked into the binary are not those of %s (go test ./internal/house -update):\n%s", list, diff)
	}
}
