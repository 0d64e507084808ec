package schema

// ExtensionInfo describes an extension of the API, as GET /v2.0/extensions shows it.
type ExtensionInfo struct {
	Alias       string `json:"alias"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Updated     string `json:"updated"`
	Links       []any  `json:"links"`
}

// Extensions are the extensions that are served. An alias stands here as soon as the API behaves as it promises.
var Extensions = []ExtensionInfo{
	{Alias: "address-group", Name: "Address group", Description: "Sets of address blocks that security group rules refer to."},
	{Alias: "agent", Name: "agent", Description: "The agents of the hosts, and whether they are alive."},
	{Alias: "binding", Name: "Port Binding", Description: "Ties ports to hosts."},
	{Alias: "empty-string-filtering", Name: "Empty String Filtering Extension", Description: "Filters match empty strings."},
	{Alias: "external-net", Name: "Neutron external network", Description: "Marks the networks that lead outside."},
	{Alias: "filter-validation", Name: "Filter parameters validation", Description: "Unknown filters are refused."},
	{Alias: "flavors", Name: "Neutron Service Flavors", Description: "Choices of how a service is provided."},
	{Alias: "ip-substring-filtering", Name: "IP address substring filtering", Description: "Finds ports by a part of an address."},
	{Alias: "local_ip", Name: "Local IP", Description: "Addresses that mean another port on each host."},
	{Alias: "logging", Name: "Logging API Extension", Description: "Logs of the packets that security groups accept or drop."},
	{Alias: "metering", Name: "Neutron Metering", Description: "Labels under which traffic of routers is counted."},
	{Alias: "metering_source_and_destination_fields", Name: "Neutron Metering with source and destination filtering", Description: "Counts by source and destination."},
	{Alias: "net-mtu", Name: "Network MTU", Description: "Shows the MTU of a network."},
	{Alias: "net-mtu-writable", Name: "Network MTU (writable)", Description: "Sets the MTU of a network."},
	{Alias: "pagination", Name: "Pagination support", Description: "Lists in pages: limit, marker, page_reverse."},
	{Alias: "port-status-reason", Name: "Port status reason", Description: "Says why a port is not ACTIVE."},
	{Alias: "project-id", Name: "project_id field enabled", Description: "Resources show project_id besides tenant_id."},
	{Alias: "provider", Name: "Provider Network", Description: "The segment of a network: type, physical network, id."},
	{Alias: "qos", Name: "Quality of Service", Description: "Policies that limit, guarantee and mark traffic."},
	{Alias: "qos-bw-limit-direction", Name: "Direction for QoS bandwidth limit rule", Description: "Limits for what workloads receive."},
	{Alias: "qos-bw-minimum-ingress", Name: "Ingress direction for QoS minimum bandwidth rule", Description: "Guarantees for what workloads receive."},
	{Alias: "qos-default", Name: "QoS default policy", Description: "A policy that new networks of a project get."},
	{Alias: "qos-port-network-policy", Name: "QoS port network policy ID", Description: "Ports show the policy of their network."},
	{Alias: "qos-pps", Name: "QoS Rule Type Packet per Second Extension", Description: "Limits of packets a second."},
	{Alias: "qos-pps-minimum", Name: "QoS minimum packet rate rule", Description: "Guarantees of packets a second."},
	{Alias: "qos-pps-minimum-rule-alias", Name: "QoS minimum packet rate rule alias", Description: "Finds these guarantees by their ids alone."},
	{Alias: "qos-rule-type-details", Name: "Details of QoS rule types", Description: "Shows the values that rules take."},
	{Alias: "qos-rule-type-filter", Name: "Allow to filter the list of QoS rule types", Description: "Lists all types of rules, or all that are supported."},
	{Alias: "qos-rules-alias", Name: "Quality of Service rules alias API", Description: "Finds rules by their ids alone."},
	{Alias: "rbac-address-group", Name: "Add address_group type to RBAC", Description: "Shares address groups with other projects."},
	{Alias: "rbac-security-groups", Name: "Add security_group type to network RBAC", Description: "Shares security groups with other projects."},
	{Alias: "revision-if-match", Name: "If-Match constraints based on revision_number", Description: "Changes only what has not changed meanwhile."},
	{Alias: "security-group", Name: "security-group", Description: "Says which traffic may pass the ports."},
	{Alias: "security-groups-normalized-cidr", Name: "Normalized CIDR field for security group rules", Description: "Rules show their address block without host bits."},
	{Alias: "security-groups-remote-address-group", Name: "Remote address group id field for security group rules", Description: "Rules may name an address group as the other end."},
	{Alias: "security-groups-rules-belongs-to-default-sg", Name: "Security group rule belongs to the project's default security group", Description: "Rules say whether their group is a default group."},
	{Alias: "security-groups-shared-filtering", Name: "Security group filtering on the shared field", Description: "Finds the security groups that are shared."},
	{Alias: "service-type", Name: "Neutron Service Type Management", Description: "The ways to provide a service."},
	{Alias: "sorting", Name: "Sorting support", Description: "Sorts lists: sort_key, sort_dir."},
	{Alias: "standard-attr-description", Name: "standard-attr-description", Description: "Resources have a description."},
	{Alias: "standard-attr-revisions", Name: "Resource revision numbers", Description: "Resources have a revision number."},
	{Alias: "standard-attr-tag", Name: "Tag support", Description: "Resources have tags: network, subnet, port."},
	{Alias: "standard-attr-timestamp", Name: "Resource timestamps", Description: "Resources show when they were made and changed."},
	{Alias: "stateful-security-group", Name: "Stateful security group", Description: "Says whether answers to allowed traffic pass, too."},
}
