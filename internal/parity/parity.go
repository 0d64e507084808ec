// Package parity says how much of a fully configured Neutron is there, alias by alias, and writes it down as
// docs/parity.md.
//
//	aliases.txt  the extensions that a Neutron with all its services lists: alias and name
//	families.go  what hosts do for each of them, and the tests that prove it
//	parity.go    puts these together with what the API lists (schema.Extensions), and writes the page
//
// The column API cannot be wrong: it is the list that the server gives. The column data plane is what people here say;
// the tests beside it are checked to exist.
package parity

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/schema"
)

//go:embed aliases.txt
var aliases string

// Alias is an extension of Neutron.
type Alias struct{ Alias, Name string }

// Aliases are the extensions that a Neutron with all its services lists, in order.
func Aliases() []Alias {
	var all []Alias
	for line := range strings.Lines(aliases) {
		if alias, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			all = append(all, Alias{alias, strings.TrimSpace(name)})
		}
	}
	return all
}

// serves says whether the API lists the alias.
func serves(alias string) bool {
	return slices.ContainsFunc(schema.Extensions, func(e schema.ExtensionInfo) bool { return e.Alias == alias })
}

// familyOf is the family of an alias, or nil.
func familyOf(alias string) *Family {
	all := Families()
	i := slices.IndexFunc(all, func(f Family) bool { return slices.Contains(f.Aliases, alias) })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// Page is docs/parity.md.
func Page() string {
	var b strings.Builder
	served, planes := 0, map[Plane]int{}
	all := Aliases()
	for _, a := range all {
		if serves(a.Alias) {
			served++
		}
		if f := familyOf(a.Alias); f != nil {
			planes[f.Plane]++
		}
	}
	fmt.Fprintf(&b, "# What of Neutron is there\n\n"+
		"*Made by `make docs` from `internal/parity`; do not change it by hand.*\n\n"+
		"A Neutron with all its services lists %d extensions. Of these, %d are served here. Hosts carry out %d of them, %d are not\n"+
		"carried out yet, and %d ask nothing of hosts.\n\n"+
		"| alias | name | API | data plane | proved by |\n|---|---|---|---|---|\n",
		len(all), served, planes[Works], planes[NotYet], planes[Nothing])
	for _, a := range all {
		row(&b, a.Alias, a.Name)
	}
	b.WriteString("\n## Not in that list\n\nServed besides:\n\n| alias | name | API | data plane | proved by |\n|---|---|---|---|---|\n")
	for _, e := range schema.Extensions {
		if !slices.ContainsFunc(all, func(a Alias) bool { return a.Alias == e.Alias }) {
			row(&b, e.Alias, e.Name)
		}
	}
	b.WriteString("\n## Not served, and why\n\n")
	for _, a := range all {
		if reason := missing[a.Alias]; reason != "" {
			fmt.Fprintf(&b, "- `%s`: %s\n", a.Alias, reason)
		}
	}
	return b.String()
}

func row(b *strings.Builder, alias, name string) {
	api, plane, tests := "no", string(Nothing), ""
	if serves(alias) {
		api = "yes"
	}
	if f := familyOf(alias); f != nil {
		plane = string(f.Plane)
		if f.Note != "" {
			plane += ": " + f.Note
		}
		names := make([]string, len(f.Tests))
		for i, t := range f.Tests {
			names[i] = "`" + t[strings.LastIndexByte(t, '/')+1:] + "`"
		}
		tests = strings.Join(names, ", ")
	}
	fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", alias, name, api, plane, tests)
}
