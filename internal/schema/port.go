package schema

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
)

func portMeta(p *model.Port) *model.Meta { return &p.Meta }

// vnicTypes are the kinds of devices that a port can ask for.
var vnicTypes = []string{
	"normal", "direct", "macvtap", "direct-physical", "baremetal", "virtio-forwarder", "smart-nic", "vdpa",
	"accelerator-direct", "accelerator-direct-physical", "remote-managed",
}

// Port declares the ports of the API.
var Port = (&Resource[model.Port]{
	Name: "port", Plural: "ports", Kind: "Port",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Actions:    portActions,
	Tagged:     true,
	Quota:      "port",
	Virtual: tagFilters(portMeta, map[string]func(*model.Port, string) bool{
		"fixed_ips":             matchFixedIP,
		"allowed_address_pairs": matchAddressPair,
		"security_groups": func(p *model.Port, id string) bool {
			return slices.Contains(p.SecurityGroupIDs, id)
		},
	}),
	Attributes: slices.Concat(identity(portMeta), portAddresses, portDevice, portSecurity, portNames, portBinding, portCompute,
		portStandard()),
}).ready()

// portStandard are the standard attributes. A port may be made with its tags, which saves a request for each of many.
func portStandard() []*Attribute[model.Port] {
	all := standard(portMeta)
	for _, a := range all {
		if a.Name == "tags" {
			a.Access |= Post
			a.Enforced = true
		}
	}
	return all
}

var portAddresses = []*Attribute[model.Port]{
	attribute("network_id", Post|shows, id(), func(p *model.Port) *string { return &p.NetworkID },
		required, help("The network it is a port of.")),
	attribute("mac_address", Post|Put|shows, nullEmpty(mac()), func(p *model.Port) *string { return &p.MAC },
		enforced, help("Its MAC address; null or not given: one is made.")),
	attribute("fixed_ips", Post|Put, fixedIPs(), func(p *model.Port) *[]model.FixedIP { return &p.FixedIPs },
		enforced, fields("subnet_id", "ip_address"),
		help("Its addresses, each by subnet, by address, or both; not given: one of each IP version.")),
	computed("ip_allocation", shows, text(16), ipAllocation, extension("ip_allocation"),
		help("How it came to its addresses: immediate, deferred (its host is not known yet) or none.")),
}

var portDevice = []*Attribute[model.Port]{
	attribute("admin_state_up", Post|Put|shows, boolean(), func(p *model.Port) *bool { return &p.AdminStateUp },
		byDefault(true), help("Whether it may carry traffic.")),
	computed("status", shows, text(16), func(p *model.Port) string { return string(p.Status) },
		help("ACTIVE when the host has said that it is wired.")),
	computed("status_reason", 0, nullable(text(1024)), func(p *model.Port) string { return p.StatusReason },
		extension("port-status-reason"), help("Why it is not ACTIVE, where something is wrong.")),
	attribute("device_id", Post|Put|shows, text(255), func(p *model.Port) *string { return &p.DeviceID },
		byDefault(""), enforced, help("What uses the port, for instance the id of a server.")),
	attribute("device_owner", Post|Put|shows, text(255), func(p *model.Port) *string { return &p.DeviceOwner },
		byDefault(""), enforced, help("Who uses the port, for instance compute:nova.")),
	attribute("propagate_uplink_status", Post|shows, boolean(),
		func(p *model.Port) *bool { return &p.PropagateUplinkStatus },
		extension("uplink-status-propagation"), byDefault(true),
		help("Whether the device is to lose its link when the host loses its own.")),
	attribute("data_plane_status", Put, nullable(text(16)), func(p *model.Port) *string { return &p.DataPlaneStatus },
		extension("data-plane-status"), enforced, oneOf("ACTIVE", "DOWN"),
		help("What an outside observer says of the data plane.")),
	computed("trunk_details", 0, shown(anObject().orNull()), trunkDetails, extension("trunk-details"),
		help("The trunk whose parent it is, and the subports.")),
}

var portSecurity = []*Attribute[model.Port]{
	attribute("port_security_enabled", Post|Put|shows, boolean(),
		func(p *model.Port) *bool { return &p.PortSecurityEnabled },
		extension("port-security"), enforced, help("Whether its traffic is to be filtered; not given: as its network.")),
	attribute("security_groups", Post|Put, securityGroups(), func(p *model.Port) *[]string { return &p.SecurityGroupIDs },
		extension("security-group"), help("Its security groups; not given: the default group of its project.")),
	attribute("allowed_address_pairs", Post|Put, addressPairs(),
		func(p *model.Port) *[]model.AddressPair { return &p.AllowedAddressPairs },
		extension("allowed-address-pairs"), enforced, fields("mac_address", "ip_address"),
		help("Addresses, or blocks of them, that it may use besides its own.")),
}

var portNames = []*Attribute[model.Port]{
	attribute("dns_name", Post|Put|shows, hostName(), func(p *model.Port) *string { return &p.DNSName },
		extension("dns-integration"), byDefault(""), help("What the workload is called.")),
	attribute("dns_domain", Post|Put|shows, domainName(), func(p *model.Port) *string { return &p.DNSDomain },
		extension("dns-domain-ports"), byDefault(""), help("The domain in which an external DNS service is to know it.")),
	computed("dns_assignment", 0, shown(assignments), dnsAssignment, extension("dns-integration"),
		help("The names of its addresses.")),
	attribute("extra_dhcp_opts", Post|Put, dhcpOptions(), func(p *model.Port) *[]model.DHCPOption { return &p.ExtraDHCPOpts },
		extension("extra_dhcp_opt"), help("DHCP options of its own; an option with the value null goes.")),
}

var portBinding = []*Attribute[model.Port]{
	attribute("binding:host_id", Post|Put|shows, nullEmpty(text(255)), func(p *model.Port) *string { return &p.Binding.Host },
		extension("binding"), enforced, restricted, help("The host on which its device is to appear.")),
	attribute("binding:vnic_type", Post|Put|shows, text(32), func(p *model.Port) *string { return &p.Binding.VNICType },
		extension("binding"), byDefault("normal"), enforced, oneOf(vnicTypes...), help("The kind of device wanted.")),
	attribute("binding:profile", Post|Put, dictionary(), func(p *model.Port) *map[string]any { return &p.Binding.Profile },
		extension("binding"), enforced, restricted, help("What the host is told besides.")),
	computed("binding:vif_type", shows, text(32), func(p *model.Port) string { return string(p.Binding.VIFType) },
		extension("binding"), restricted, help("How Nova is to plug it; binding_failed: see status_reason.")),
	computed("binding:vif_details", 0, shown(anObject()), func(p *model.Port) any { return vifDetails(p.Binding, p.NetworkID) },
		extension("binding"), restricted, help("The particulars of plugging it.")),
}

var portCompute = []*Attribute[model.Port]{
	attribute("qos_policy_id", Post|Put|shows, nullable(id()), func(p *model.Port) *string { return &p.QoSPolicyID },
		extension("qos"), help("The QoS policy of its traffic; null: that of its network.")),
	computed("qos_network_policy_id", 0, nullable(text(36)), func(p *model.Port) string {
		if p.View == nil {
			return ""
		}
		return p.View.QoSNetworkPolicyID
	}, extension("qos-port-network-policy"), help("The QoS policy of its network.")),
	computed("resource_request", 0, shown(anObject().orNull()), func(p *model.Port) any {
		if p.View == nil {
			return nil
		}
		return p.View.ResourceRequest
	}, extension("port-resource-request"), restricted, help("What it asks of its host, for the placement service.")),
	attribute("numa_affinity_policy", Post|Put, nullable(text(16)),
		func(p *model.Port) *string { return &p.NUMAAffinityPolicy },
		extension("port-numa-affinity-policy"), oneOf("required", "preferred", "legacy"),
		help("How near to its NUMA node the device has to be.")),
	attribute("device_profile", Post, nullable(text(255)), func(p *model.Port) *string { return &p.DeviceProfile },
		extension("port-device-profile"), help("The accelerator that it needs.")),
}

// nullEmpty accepts null for the empty string.
func nullEmpty(c codec[string]) codec[string] {
	inner := c.parse
	c.parse = func(raw any) (string, error) {
		if raw == nil {
			return "", nil
		}
		return inner(raw)
	}
	return c
}

func ipAllocation(p *model.Port) string {
	if p.IPAllocation == "" {
		return string(model.IPImmediate)
	}
	return string(p.IPAllocation)
}

func trunkDetails(p *model.Port) any {
	if p.View == nil || p.View.Trunk == nil {
		return nil
	}
	return p.View.Trunk
}

// vifDetails tells os-vif how to plug the port: into which bridge, and that the host's agent does the rest.
func vifDetails(b model.Binding, networkID string) any {
	if b.VIFType != model.VIFBridge {
		return map[string]any{}
	}
	return map[string]any{
		"bridge_name":   model.BridgeName(networkID),
		"connectivity":  "l2",
		"port_filter":   false,
		"bound_drivers": map[string]string{"0": "linuxbridge"},
	}
}
