package schema

import "net/http"

// The actions of all resources, and the requests that concern no collection.

var networkActions = []Action{
	{
		Name: "dhcp-agents", Method: http.MethodGet, Extension: "dhcp_agent_scheduler",
		Help: "Lists the DHCP agents that serve it.",
	},
}

var portActions = []Action{
	{Name: "bindings", Method: http.MethodGet, Extension: PortBinding.Extension, Help: "Lists its bindings."},
	{Name: "bindings", Method: http.MethodPost, Extension: PortBinding.Extension, Help: "Adds a binding to a host."},
	{Name: "bindings/{host}", Method: http.MethodGet, Extension: PortBinding.Extension, Help: "Shows the binding to a host."},
	{Name: "bindings/{host}", Method: http.MethodPut, Extension: PortBinding.Extension, Help: "Changes the binding to a host."},
	{Name: "bindings/{host}", Method: http.MethodDelete, Extension: PortBinding.Extension, Help: "Removes the binding to a host."},
	{
		Name: "bindings/{host}/activate", Method: http.MethodPut, Extension: PortBinding.Extension,
		Help: "Puts the binding to a host in force.",
	},
}

var routerActions = []Action{
	{Name: "add_router_interface", Help: "Attaches it to a subnet, or to the subnet of a port."},
	{Name: "remove_router_interface", Help: "Detaches it from a subnet, or from the subnet of a port."},
	{Name: "add_extraroutes", Wrapped: true, Extension: "extraroute-atomic", Help: "Adds routes to those that it has."},
	{Name: "remove_extraroutes", Wrapped: true, Extension: "extraroute-atomic", Help: "Removes some of its routes."},
	{Name: "l3-agents", Method: http.MethodGet, Extension: "l3_agent_scheduler", Help: "Lists the L3 agents that serve it."},
}

var agentActions = []Action{
	{
		Name: "dhcp-networks", Method: http.MethodGet, Extension: "dhcp_agent_scheduler",
		Help: "Lists the networks that a DHCP agent serves.",
	},
	{
		Name: "dhcp-networks", Method: http.MethodPost, Extension: "dhcp_agent_scheduler",
		Help: "Lets a DHCP agent serve a network.",
	},
	{
		Name: "dhcp-networks/{served}", Method: http.MethodDelete, Extension: "dhcp_agent_scheduler",
		Help: "Lets a DHCP agent serve a network no longer.",
	},
	{
		Name: "l3-routers", Method: http.MethodGet, Extension: "l3_agent_scheduler",
		Help: "Lists the routers that an L3 agent serves.",
	},
	{
		Name: "l3-routers", Method: http.MethodPost, Extension: "l3_agent_scheduler",
		Help: "Lets an L3 agent serve a router.",
	},
	{
		Name: "l3-routers/{served}", Method: http.MethodDelete, Extension: "l3_agent_scheduler",
		Help: "Lets an L3 agent serve a router no longer.",
	},
}

var subnetPoolActions = []Action{
	{Name: "add_prefixes", Extension: "subnetpool-prefix-ops", Help: "Adds address blocks to it."},
	{Name: "remove_prefixes", Extension: "subnetpool-prefix-ops", Help: "Removes address blocks from it."},
	{Name: "onboard_network_subnets", Extension: "subnet_onboard", Help: "Takes the subnets of a network into it."},
}

var addressGroupActions = []Action{
	{Name: "add_addresses", Help: "Adds address blocks to it."},
	{Name: "remove_addresses", Help: "Removes address blocks from it."},
}

var trunkActions = []Action{
	{Name: "add_subports", Help: "Adds subports."},
	{Name: "remove_subports", Help: "Removes subports."},
	{Name: "get_subports", Method: http.MethodGet, Help: "Lists its subports."},
}

var flavorActions = []Action{
	{Name: "service_profiles", Method: http.MethodPost, Help: "Gives it a service profile."},
	{Name: "service_profiles/{profile}", Method: http.MethodGet, Help: "Shows whether it has a service profile."},
	{Name: "service_profiles/{profile}", Method: http.MethodDelete, Help: "Takes a service profile from it."},
}

// Request declares a request that concerns no collection, at a path of its own.
type Request struct {
	Method, Path string // Path is below /v2.0, as in /quotas/{project}/details
	Extension    string
	Help         string // one line for the command line and the API document
}

// Requests are all requests that concern no collection.
func Requests() []Request {
	const quotas, details, topology = "quotas", "quota_details", "auto-allocated-topology"
	return []Request{
		{Method: http.MethodGet, Path: "/quotas", Extension: quotas, Help: "Lists the projects that have limits of their own."},
		{Method: http.MethodGet, Path: "/quotas/project", Extension: quotas, Help: "Shows the id of the caller's project."},
		{Method: http.MethodGet, Path: "/quotas/tenant", Extension: quotas, Help: "Shows the id of the caller's project by its old name."},
		{Method: http.MethodGet, Path: "/quotas/{project}", Extension: quotas, Help: "Shows the limits of a project."},
		{Method: http.MethodPut, Path: "/quotas/{project}", Extension: quotas, Help: "Changes the limits of a project; -1: none."},
		{Method: http.MethodDelete, Path: "/quotas/{project}", Extension: quotas, Help: "Gives a project the default limits."},
		{Method: http.MethodGet, Path: "/quotas/{project}/default", Extension: quotas, Help: "Shows the default limits."},
		{Method: http.MethodGet, Path: "/quotas/{project}/details", Extension: details, Help: "Shows limits and use of a project."},
		{
			Method: http.MethodGet, Path: "/auto-allocated-topology/{project}", Extension: topology,
			Help: "Makes a project its first network, or shows it.",
		},
		{
			Method: http.MethodDelete, Path: "/auto-allocated-topology/{project}", Extension: topology,
			Help: "Removes what was made so.",
		},
		{
			Method: http.MethodGet, Path: QoSRuleType.Path + "/{type}", Extension: "qos-rule-type-details",
			Help: "Shows the values that a type of QoS rules takes.",
		},
	}
}
