// Package rest serves the networking API v2.0 over HTTP. What it serves is declared in package schema; what must hold is
// decided by the rules (Rules); who may is decided by package policy. This package only brings them together.
//
// The way of a request, and the order in which to read:
//
//	serve.go      every request: its id, panics, metrics, the access log; finding the endpoint; who calls
//	body.go       a POST or PUT: bounds, JSON, the single object or the list in it
//	query.go      a GET: filters, fields, sorting, paging
//	collection.go what is known of a collection, prepared once at the start
//	scope.go      a collection as one request finds it: which caller, which snapshot, below which parent
//	authorize.go  the policy actions of a request, and what a caller who may not is told
//	create.go, item.go, tags.go, list.go   the operations
//	action.go     what else can be done with an object, and requests that concern no collection
//	view.go       objects as JSON
//	answer.go     writing answers; the one place where errors become status codes
//	discovery.go  versions, resources, extensions
//	neutron.go    the collections themselves: networks, subnets, ports, agents
//	addressing.go address scopes, subnet pools, segments, zones, what addresses are left
//
// # How a family of resources is served
//
// A plain collection is a Resource (package schema), its table and its rules; see neutron.go. Where that is not enough:
//
// Another path than /v2.0/<plural>, other policy actions than create_<name>, a quota: fields of schema.Resource.
//
//	var QoSPolicy = (&Resource[model.QoSPolicy]{
//		Name: "policy", Plural: "policies", Kind: "QosPolicy", Path: "/qos/policies", Quota: "qos_policy", …
//
// A sub-collection, as /qos/policies/{id}/dscp_marking_rules: Resource.Below is the path of the parents, which must be
// registered before, and Collection.Under ties objects to theirs. A parent that the caller may not see is missing. Its id
// is filled in before the rules run; policy rules find its fields as ext_parent:project_id. An object without an owner
// of its own gets the parent's.
//
//	Resource: Below: "/qos/policies", Path: "/dscp_marking_rules", Policy: "policy_dscp_marking_rule", …
//	Under: &Under[model.DSCPRule]{
//		ParentID: func(r *model.DSCPRule) *string { return &r.PolicyID },
//		Index:    state.DSCPRulesByPolicy,
//	},
//
// Objects that paths name otherwise than by id, as /ports/{id}/bindings/{host}: Under.Find. Rules.Create may change the
// id that the object was given, for instance into "<port>:<host>".
//
// Actions, as PUT /v2.0/routers/{id}/add_router_interface: Collection.Actions. Caller and object are authorised before.
// What there is is declared in schema/actions.go; here are the rules that do it.
//
//	Actions: []Action[model.Router]{{
//		Name: "add_router_interface",
//		Do: func(tx *state.Tx, c *auth.Caller, r *model.Router, in Input) (any, error) {
//			return routers.AddInterface(tx, c, r, in.Body) // an *model.Router, a map[string]any, or nil
//		},
//	}},
//
// Lists of other objects and their changes (GET and POST /v2.0/agents/{id}/dhcp-networks, DELETE of one of them) are
// actions, too; their answer is Listed{"networks", ids}.
//
// A collection without a table, as network-ip-availabilities: Collection.All (and One) instead of Table. T embeds
// model.Meta; its ID is what the path calls the object. Resource.ListOnly: there is only the list.
//
//	Collection[model.Zone]{Resource: schema.Zone, All: func(r state.Reader, c *auth.Caller) iter.Seq[*model.Zone] {…}}
//
// Requests that concern no collection, as /quotas/{project}/details or /auto-allocated-topology/{project}: Operate,
// declared as a schema.Request.
//
// An attribute that depends on the caller, as shared: Collection.For.
//
//	For: func(r state.Reader, c *auth.Caller) func(*model.Network) *model.Network {…} // called once a request
//
// Two rules keep it safe. Nothing is answered from an object before the caller was found to be allowed to see it: an
// object that exists but may not be seen is answered exactly like one that does not exist. And every decision about a
// write is taken inside its transaction, on the state that the write will change.
package rest
