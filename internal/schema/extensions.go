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
	{Alias: "ip-substring-filtering", Name: "IP address substring filtering", Description: "Finds ports by a part of an address."},
	{Alias: "net-mtu", Name: "Network MTU", Description: "Shows the MTU of a network."},
	{Alias: "net-mtu-writable", Name: "Network MTU (writable)", Description: "Sets the MTU of a network."},
	{Alias: "pagination", Name: "Pagination support", Description: "Lists in pages: limit, marker, page_reverse."},
	{Alias: "port-status-reason", Name: "Port status reason", Description: "Says why a port is not ACTIVE."},
	{Alias: "project-id", Name: "project_id field enabled", Description: "Resources show project_id besides tenant_id."},
	{Alias: "provider", Name: "Provider Network", Description: "The segment of a network: type, physical network, id."},
	{Alias: "rbac-address-group", Name: "Add address_group type to RBAC", Description: "Shares address groups with other projects."},
	{Alias: "rbac-security-groups", Name: "Add security_group type to network RBAC", Description: "Shares security groups with other projects."},
	{Alias: "revision-if-match", Name: "If-Match constraints based on revision_number", Description: "Changes only what has not changed meanwhile."},
	{Alias: "security-group", Name: "security-group", Description: "Says which traffic may pass the ports."},
	{Alias: "security-groups-normalized-cidr", Name: "Normalized CIDR field for security group rules", Description: "Rules show their address block without host bits."},
	{Alias: "security-groups-remote-address-group", Name: "Remote address group id field for security group rules", Description: "Rules may name an address group as the other end."},
	{Alias: "security-groups-rules-belongs-to-default-sg", Name: "Security group rule belongs to the project's default security group", Description: "Rules say whether their group is a default group."},
	{Alias: "security-groups-shared-filtering", Name: "Security group filtering on the shared field", Description: "Finds the security groups that are shared."},
	{Alias: "sorting", Name: "Sorting support", Description: "Sorts lists: sort_key, sort_dir."},
	{Alias: "standard-attr-description", Name: "standard-attr-description", Description: "Resources have a description."},
	{Alias: "standard-attr-revisions", Name: "Resource revision numbers", Description: "Resources have a revision number."},
	{Alias: "standard-attr-tag", Name: "Tag support", Description: "Resources have tags: network, subnet, port."},
	{Alias: "standard-attr-timestamp", Name: "Resource timestamps", Description: "Resources show when they were made and changed."},
	{Alias: "stateful-security-group", Name: "Stateful security group", Description: "Says whether answers to allowed traffic pass, too."},
}
