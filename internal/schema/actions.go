package schema

import "net/http"

// The actions of all resources, and the requests that concern no collection.

// one is the shape of an object with one member that has to be given.
func one(name string, s Shape) *Shape {
	o := anObject(must(name, s))
	return &o
}

// aBinding is the binding of a port in a body, and in an answer.
func aBinding(op Op) *Shape { return one(PortBinding.Name, PortBinding.Declaration().Body(op)) }

func showsBinding() *Shape { return one(PortBinding.Name, PortBinding.Declaration().View()) }

var networkActions = []Action{
	{
		Name: "dhcp-agents", Method: http.MethodGet, Extension: "dhcp_agent_scheduler",
		Shows: "agents", Help: "Lists the DHCP agents that serve it.",
	},
}

var portActions = []Action{
	{
		Name: "bindings", Method: http.MethodGet, Extension: PortBinding.Extension,
		Answer: one(PortBinding.Plural, anArray(PortBinding.Declaration().View())), Help: "Lists its bindings.",
	},
	{
		Name: "bindings", Method: http.MethodPost, Extension: PortBinding.Extension,
		Body: aBinding(Create), Answer: showsBinding(), Help: "Adds a binding to a host.",
	},
	{
		Name: "bindings/{host}", Method: http.MethodGet, Extension: PortBinding.Extension,
		Answer: showsBinding(), Help: "Shows the binding to a host.",
	},
	{
		Name: "bindings/{host}", Method: http.MethodPut, Extension: PortBinding.Extension,
		Body: aBinding(Update), Answer: showsBinding(), Help: "Changes the binding to a host.",
	},
	{
		Name: "bindings/{host}", Method: http.MethodDelete, Extension: PortBinding.Extension,
		Help: "Removes the binding to a host.",
	},
	{
		Name: "bindings/{host}/activate", Method: http.MethodPut, Extension: PortBinding.Extension,
		Answer: showsBinding(), Help: "Puts the binding to a host in force.",
	},
}

// The bodies and answers of a router's actions.
var (
	interfaceNames = anObject(may("subnet_id", id().shape), may("port_id", id().shape))
	interfaceShown = anObject(
		may("id", id().shape), may("project_id", aText), may("tenant_id", aText), may("port_id", id().shape),
		may("network_id", id().shape), may("subnet_id", id().shape), may("subnet_ids", anArray(id().shape)),
		may("tags", anArray(aText)))
)

var routerActions = []Action{
	{
		Name: "add_router_interface", Body: &interfaceNames, Answer: &interfaceShown,
		Help: "Attaches it to a subnet, or to the subnet of a port.",
	},
	{
		Name: "remove_router_interface", Body: &interfaceNames, Answer: &interfaceShown,
		Help: "Detaches it from a subnet, or from the subnet of a port.",
	},
	{
		Name: "add_extraroutes", Body: one("routes", routes().shape), Wrapped: true, Shows: "router",
		Extension: "extraroute-atomic", Help: "Adds routes to those that it has.",
	},
	{
		Name: "remove_extraroutes", Body: one("routes", routes().shape), Wrapped: true, Shows: "router",
		Extension: "extraroute-atomic", Help: "Removes some of its routes.",
	},
	{
		Name: "l3-agents", Method: http.MethodGet, Extension: "l3_agent_scheduler", Shows: "agents",
		Help: "Lists the L3 agents that serve it.",
	},
}

var agentActions = []Action{
	{
		Name: "dhcp-networks", Method: http.MethodGet, Extension: "dhcp_agent_scheduler",
		Shows: "networks", Help: "Lists the networks that a DHCP agent serves.",
	},
	{
		Name: "dhcp-networks", Method: http.MethodPost, Extension: "dhcp_agent_scheduler",
		Body: one("network_id", id().shape), Help: "Lets a DHCP agent serve a network.",
	},
	{
		Name: "dhcp-networks/{served}", Method: http.MethodDelete, Extension: "dhcp_agent_scheduler",
		Help: "Lets a DHCP agent serve a network no longer.",
	},
	{
		Name: "l3-routers", Method: http.MethodGet, Extension: "l3_agent_scheduler",
		Shows: "routers", Help: "Lists the routers that an L3 agent serves.",
	},
	{
		Name: "l3-routers", Method: http.MethodPost, Extension: "l3_agent_scheduler",
		Body: one("router_id", id().shape), Help: "Lets an L3 agent serve a router.",
	},
	{
		Name: "l3-routers/{served}", Method: http.MethodDelete, Extension: "l3_agent_scheduler",
		Help: "Lets an L3 agent serve a router no longer.",
	},
}

var subnetPoolActions = []Action{
	{
		Name: "add_prefixes", Extension: "subnetpool-prefix-ops", Body: blocks("prefixes"), Answer: blocks("prefixes"),
		Help: "Adds address blocks to it.",
	},
	{
		Name: "remove_prefixes", Extension: "subnetpool-prefix-ops", Body: blocks("prefixes"), Answer: blocks("prefixes"),
		Help: "Removes address blocks from it.",
	},
	{
		Name: "onboard_network_subnets", Extension: "subnet_onboard", Body: one("network_id", id().shape),
		Answer: &onboarded, Help: "Takes the subnets of a network into it.",
	},
}

var onboarded = anArray(anObject(may("id", id().shape), may("cidr", prefix().shape)))

func blocks(name string) *Shape { return one(name, anArray(prefix().shape)) }

var addressGroupActions = []Action{
	{Name: "add_addresses", Body: blocks("addresses"), Shows: "address_group", Help: "Adds address blocks to it."},
	{
		Name: "remove_addresses", Body: blocks("addresses"), Shows: "address_group",
		Help: "Removes address blocks from it.",
	},
}

var trunkActions = []Action{
	{
		Name: "add_subports", Body: one("sub_ports", subPorts().shape), Shows: "trunk", Bare: true,
		Help: "Adds subports.",
	},
	{
		Name: "remove_subports", Body: one("sub_ports", subPorts().shape), Shows: "trunk", Bare: true,
		Help: "Removes subports.",
	},
	{
		Name: "get_subports", Method: http.MethodGet, Answer: one("sub_ports", subPorts().shape),
		Help: "Lists its subports.",
	},
}

var flavorActions = []Action{
	{
		Name: "service_profiles", Method: http.MethodPost, Body: oneProfile, Answer: oneProfile,
		Help: "Gives it a service profile.",
	},
	{
		Name: "service_profiles/{profile}", Method: http.MethodGet, Answer: oneProfile,
		Help: "Shows whether it has a service profile.",
	},
	{Name: "service_profiles/{profile}", Method: http.MethodDelete, Help: "Takes a service profile from it."},
}

var oneProfile = one("service_profile", *one("id", id().shape))

// Request declares a request that concerns no collection, at a path of its own.
type Request struct {
	Method, Path string // Path is below /v2.0, as in /quotas/{project}/details
	Extension    string
	Body, Answer *Shape // nil: there is none
	Help         string // one line for the command line and the API document
}

// Requests are all requests that concern no collection.
func Requests() []Request {
	const (
		get, put, del             = http.MethodGet, http.MethodPut, http.MethodDelete
		quotas, details, topology = "quotas", "quota_details", "auto-allocated-topology"
	)
	limits := one("quota", anObject()) // a member for each kind of object: network, port, …
	project := one("project", anObject(may("project_id", aText)))
	tenant := one("tenant", anObject(may("tenant_id", aText)))
	made := one("auto_allocated_topology", anObject(may("id", aText), may("project_id", aText), may("tenant_id", aText)))
	ruleType := one(QoSRuleType.Name, anObject(may("type", aText), may("drivers", anArray(anObject()))))
	return []Request{
		{
			Method: get, Path: "/quotas", Extension: quotas, Answer: one("quotas", anArray(anObject())),
			Help: "Lists the projects that have limits of their own.",
		},
		{
			Method: get, Path: "/quotas/project", Extension: quotas, Answer: project,
			Help: "Shows the id of the caller's project.",
		},
		{
			Method: get, Path: "/quotas/tenant", Extension: quotas, Answer: tenant,
			Help: "Shows the id of the caller's project by its old name.",
		},
		{
			Method: get, Path: "/quotas/{project}", Extension: quotas, Answer: limits,
			Help: "Shows the limits of a project.",
		},
		{
			Method: put, Path: "/quotas/{project}", Extension: quotas, Body: limits, Answer: limits,
			Help: "Changes the limits of a project; -1: none.",
		},
		{Method: del, Path: "/quotas/{project}", Extension: quotas, Help: "Gives a project the default limits."},
		{
			Method: get, Path: "/quotas/{project}/default", Extension: quotas, Answer: limits,
			Help: "Shows the default limits.",
		},
		{
			Method: get, Path: "/quotas/{project}/details", Extension: details, Answer: limits,
			Help: "Shows limits and use of a project.",
		},
		{
			Method: get, Path: "/auto-allocated-topology/{project}", Extension: topology,
			Answer: made, Help: "Makes a project its first network, or shows it.",
		},
		{
			Method: del, Path: "/auto-allocated-topology/{project}", Extension: topology,
			Help: "Removes what was made so.",
		},
		{
			Method: get, Path: QoSRuleType.Path + "/{type}", Extension: "qos-rule-type-details",
			Answer: ruleType, Help: "Shows the values that a type of QoS rules takes.",
		},
	}
}
