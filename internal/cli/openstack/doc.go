// Package openstack is the command line of the networking API: `neutrino network create`, `neutrino port list`, with
// the
// words, options and columns of the openstack command, for hosts that do not have that command, and in milliseconds.
//
// It is made from the declarations in package schema. A kind (kind.go) joins a declaration with the words that people
// use for it; option.go derives its options from the attributes, and the tables in kinds_*.go name only what cannot be
// derived: the client's own spellings, its columns, the order of its arguments. From a kind come the commands create,
// list, show, set, unset and delete (command.go, verbs.go); what else can be done with an object is an action
// (action.go).
//
// Reading order: kind.go, option.go, kinds_core.go, command.go, verbs.go, value.go; then session.go and cloud.go (who
// is
// asked, and as whom), find.go (names become ids) and output.go (tables, JSON, YAML, CSV).
package openstack
