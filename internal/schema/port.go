package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/model"
)

// maxFixedIPs is the most addresses that a port may have.
const maxFixedIPs = 32

func portMeta(p *model.Port) *model.Meta { return &p.Meta }

// Port declares the ports of the API.
var Port = (&Resource[model.Port]{
	Name: "port", Plural: "ports", Kind: "Port",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Tagged:     true,
	Quota:      "port",
	Virtual: tagFilters(portMeta, map[string]func(*model.Port, string) bool{
		"fixed_ips": matchFixedIP,
	}),
	Attributes: slices.Concat(
		identity(portMeta),
		[]*Attribute[model.Port]{
			attribute("network_id", Post|shows, id(), func(p *model.Port) *string { return &p.NetworkID },
				required, help("The network it is a port of.")),
			attribute("mac_address", Post|Put|shows, mac(), func(p *model.Port) *string { return &p.MAC },
				enforced, help("Its MAC address; not given: one is made.")),
			attribute("fixed_ips", Post|Put, fixedIPs(), func(p *model.Port) *[]model.FixedIP { return &p.FixedIPs },
				enforced, fields("subnet_id", "ip_address"),
				help("Its addresses, each by subnet, by address, or both; not given: one of each IP version.")),
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
			attribute("port_security_enabled", Post|Put|shows, boolean(),
				func(p *model.Port) *bool { return &p.PortSecurityEnabled },
				extension("port-security"), enforced, help("Whether its traffic is to be filtered; not given: as its network.")),
			attribute("binding:host_id", Post|Put|shows, nullable(text(255)), func(p *model.Port) *string { return &p.Binding.Host },
				extension("binding"), enforced, restricted, help("The host on which its device is to appear.")),
			attribute("binding:vnic_type", Post|Put|shows, text(32), func(p *model.Port) *string { return &p.Binding.VNICType },
				extension("binding"), byDefault("normal"), enforced,
				oneOf("normal", "direct", "macvtap", "direct-physical", "baremetal", "virtio-forwarder", "smart-nic", "vdpa", "remote-managed"),
				help("The kind of device wanted.")),
			attribute("binding:profile", Post|Put, dictionary(), func(p *model.Port) *map[string]any { return &p.Binding.Profile },
				extension("binding"), enforced, restricted, help("What the host is told besides.")),
			computed("binding:vif_type", shows, text(32), func(p *model.Port) string { return string(p.Binding.VIFType) },
				extension("binding"), restricted, help("How Nova is to plug it; binding_failed: see status_reason.")),
			computed("binding:vif_details", 0, shown(), vifDetails,
				extension("binding"), restricted, help("The particulars of plugging it.")),
		},
		standard(portMeta),
	),
}).ready()

// fixedIPs are a list in which only addresses must not repeat: two addresses of one subnet can be asked for.
func fixedIPs() codec[[]model.FixedIP] {
	item := fixedIP()
	c := list(maxFixedIPs, item)
	c.parse = func(raw any) ([]model.FixedIP, error) {
		values, ok := raw.([]any)
		if raw != nil && !ok {
			return nil, fmt.Errorf("'%s' is not a list", quote(raw))
		}
		if len(values) > maxFixedIPs {
			return nil, fmt.Errorf("it has %d items, and at most %d are allowed", len(values), maxFixedIPs)
		}
		out := make([]model.FixedIP, 0, len(values))
		for _, r := range values {
			f, err := item.parse(r)
			if err != nil {
				return nil, err
			}
			if f.IP.IsValid() && slices.ContainsFunc(out, func(o model.FixedIP) bool { return o.IP == f.IP }) {
				return nil, fmt.Errorf("duplicate IP address '%s'", f.IP)
			}
			out = append(out, f)
		}
		return out, nil
	}
	return c
}

// matchFixedIP understands ip_address=A, subnet_id=S and ip_address_substr=T.
func matchFixedIP(p *model.Port, value string) bool {
	key, want, _ := strings.Cut(value, "=")
	return slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool {
		switch key {
		case "ip_address":
			return f.IP.String() == want
		case "subnet_id":
			return f.SubnetID == want
		case "ip_address_substr":
			return strings.Contains(f.IP.String(), want)
		}
		return false
	})
}

// vifDetails tells os-vif how to plug the port: into which bridge, and that the host's agent does the rest.
func vifDetails(p *model.Port) any {
	if p.Binding.VIFType != model.VIFBridge {
		return map[string]any{}
	}
	return map[string]any{
		"bridge_name":  model.BridgeName(p.NetworkID),
		"connectivity": "l2",
		"port_filter":  false,
	}
}
