// Package lab makes a small cloud out of one machine: several hosts, each a set of kernel namespaces, with the real
// server and real agents running in them.
//
// It is the demonstration, the tutorial, and the ground on which the end-to-end tests stand. To read it in order:
//
//   - topology.go says which hosts there are, and on which wires.
//   - namespace.go makes the namespaces of a host, pins them in the file system, and enters them.
//   - wire.go joins the hosts: a bridge in a namespace of its own, and a veth pair to each host.
//   - process.go starts daemons in a host, and finds whatever lives in a set of namespaces.
//   - record.go is what the lab remembers between two commands, and the lock that keeps two commands apart.
//   - up.go, down.go and status.go are the verbs.
//
// # What a host is
//
// A host has a network, a mount and a UTS namespace of its own. Its mounts are private, its /run is an empty tmpfs and
// its /sys shows its own devices; everything else is the machine's. So the programs of several hosts keep their sockets,
// their named network namespaces and their bridges apart, and `ip netns list` on compute1 shows what compute1 has.
//
// No process is needed to keep a host alive: its namespaces are pinned by bind mounts below /run/neutrino/lab/NAME/ns.
// The lab touches the network namespace of the machine nowhere: all its devices live in its own namespaces and
// disappear with them. That is what makes [Lab.Down] dependable. Whatever was killed, and whenever, what is left can be
// found from the pins alone: every process which lives in one of those namespaces belongs to the lab, and nothing else
// does.
package lab
