// Package rest serves the networking API v2.0 over HTTP. What it serves is declared in package schema; what must hold is
// decided by the rules (Rules); who may is decided by package policy. This package only brings them together.
//
// The way of a request, and the order in which to read:
//
//	serve.go      every request: its id, panics, metrics, the access log; finding the endpoint; who calls
//	body.go       a POST or PUT: bounds, JSON, the single object or the list in it
//	query.go      a GET: filters, fields, sorting, paging
//	collection.go what is known of a collection, prepared once at the start
//	authorize.go  the policy actions of a request, and what a caller who may not is told
//	create.go, item.go, tags.go, list.go   the operations
//	view.go       objects as JSON
//	answer.go     writing answers; the one place where errors become status codes
//	discovery.go  versions, resources, extensions
//	neutron.go    the collections themselves: networks, subnets, ports, agents
//
// Two rules keep it safe. Nothing is answered from an object before the caller was found to be allowed to see it: an
// object that exists but may not be seen is answered exactly like one that does not exist. And every decision about a
// write is taken inside its transaction, on the state that the write will change.
package rest
