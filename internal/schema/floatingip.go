package schema

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/neutrino-net/neutrino/internal/model"
)

func floatingIPMeta(f *model.FloatingIP) *model.Meta { return &f.Meta }

// FloatingIP declares the floating IPs of the API.
var FloatingIP = (&Resource[model.FloatingIP]{
	Name: "floatingip", Plural: "floatingips", Kind: "FloatingIP", Extension: "router",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Tagged:     true,
	Quota:      "floatingip",
	Virtual:    tagFilters(floatingIPMeta, map[string]func(*model.FloatingIP, string) bool{}),
	Attributes: slices.Concat(
		nameless(identity(floatingIPMeta)),
		[]*Attribute[model.FloatingIP]{
			attribute("floating_network_id", Post|shows, id(), func(f *model.FloatingIP) *string { return &f.NetworkID },
				required, help("The external network that the address is of.")),
			attribute("subnet_id", Post|Hidden, nullable(id()), func(f *model.FloatingIP) *string { return &f.SubnetID },
				help("The subnet from which the address is wanted.")),
			attribute("floating_ip_address", Post|shows, nullable(address()),
				func(f *model.FloatingIP) *netip.Addr { return &f.Address }, enforced, help("The address; not given: any.")),
			attribute("port_id", Post|Put|shows, nullable(id()), func(f *model.FloatingIP) *string { return &f.PortID },
				help("The port that has it; null: none.")),
			attribute("fixed_ip_address", Post|Put|shows, nullable(address()),
				func(f *model.FloatingIP) *netip.Addr { return &f.FixedIP },
				help("The address of the port that it stands for; not given: the port's only IPv4 address.")),
			computed("router_id", shows, nullable(text(36)), func(f *model.FloatingIP) string { return f.RouterID },
				help("The router that translates.")),
			computed("status", shows, text(16), func(f *model.FloatingIP) string { return string(f.Status) },
				help("ACTIVE when the router's host has said that it translates.")),
			computed("status_reason", 0, nullable(text(255)), floatingIPReason,
				extension("l3-status-reason"), help("Why it is not ACTIVE, although a port has it.")),
			computed("port_details", 0, shown(detailsShape), portDetails,
				extension("fip-port-details"), help("What is known of the port that has it.")),
			attribute("qos_policy_id", Post|Put|shows, nullable(id()), func(f *model.FloatingIP) *string { return &f.QoSPolicyID },
				extension("qos-fip"), help("Its QoS policy.")),
			attribute("dns_name", Post|shows, relativeName(), func(f *model.FloatingIP) *string { return &f.DNSName },
				byDefault(""), extension("dns-integration"), help("The name it is to have in the DNS.")),
			attribute("dns_domain", Post|shows, domainName(), func(f *model.FloatingIP) *string { return &f.DNSDomain },
				byDefault(""), extension("dns-integration"), help("The domain of that name, with a dot at its end.")),
			computed("port_forwardings", 0, shown(forwardingsShape), forwardingsOf,
				extension("expose-port-forwarding-in-fip"), help("Its port forwardings, in short.")),
		},
		standard(floatingIPMeta),
	),
}).ready()

// nameless leaves out the name: some resources have none.
func nameless[T any](attributes []*Attribute[T]) []*Attribute[T] {
	return slices.DeleteFunc(attributes, func(a *Attribute[T]) bool { return a.Name == "name" })
}

// standardUntagged are the standard attributes of resources without tags.
func standardUntagged[T any](meta func(*T) *model.Meta) []*Attribute[T] {
	return slices.DeleteFunc(standard(meta), func(a *Attribute[T]) bool { return a.Name == "tags" })
}

// lower puts a text into lower case.
func lower(c codec[string]) codec[string] {
	parse := c.parse
	c.parse = func(raw any) (string, error) {
		s, err := parse(raw)
		return strings.ToLower(s), err
	}
	return c
}

// floatingIPReason says why a floating IP is not ACTIVE, or which of its port forwardings do not work.
func floatingIPReason(f *model.FloatingIP) string {
	for _, fw := range f.Forwardings {
		if fw.HostReason != "" {
			return "Port forwarding " + fw.ID + ": " + fw.HostReason
		}
	}
	switch {
	case f.HostReason != "":
		return f.HostReason
	case f.Status == model.FloatingIPActive || f.RouterID == "":
		return ""
	}
	return "No host has said that it translates the address."
}

var detailsShape = anObject(
	may("name", aText), may("network_id", id().shape), may("mac_address", aText), may("admin_state_up", aBoolean),
	may("status", aText), may("device_id", aText), may("device_owner", aText),
).orNull()

// portDetails is what the API shows of the port of a floating IP.
func portDetails(f *model.FloatingIP) any {
	p := f.Port
	if p == nil {
		return nil
	}
	return struct {
		Name         string           `json:"name"`
		NetworkID    string           `json:"network_id"`
		MAC          string           `json:"mac_address"`
		AdminStateUp bool             `json:"admin_state_up"`
		Status       model.PortStatus `json:"status"`
		DeviceID     string           `json:"device_id"`
		DeviceOwner  string           `json:"device_owner"`
	}{p.Name, p.NetworkID, p.MAC, p.AdminStateUp, p.Status, p.DeviceID, p.DeviceOwner}
}

var forwardingsShape = anArray(anObject(
	may("id", id().shape), may("protocol", aText), may("external_port", aNumber), may("internal_port", aNumber),
	may("external_port_range", aText), may("internal_port_range", aText), may("internal_ip_address", address().shape),
	may("internal_port_id", id().shape)))

func forwardingsOf(f *model.FloatingIP) any {
	type forwarding struct {
		ID           string     `json:"id"`
		Protocol     string     `json:"protocol"`
		External     *int       `json:"external_port,omitempty"`
		Internal     *int       `json:"internal_port,omitempty"`
		Externals    string     `json:"external_port_range"`
		Internals    string     `json:"internal_port_range"`
		InternalIP   netip.Addr `json:"internal_ip_address"`
		InternalPort string     `json:"internal_port_id"`
	}
	list := []forwarding{}
	for _, p := range f.Forwardings {
		list = append(list, forwarding{
			p.ID, p.Protocol, single(p.External), single(p.Internal), rangeText(p.External), rangeText(p.Internal),
			p.InternalIP, p.InternalPortID,
		})
	}
	return list
}

// PortForwarding declares the port forwardings of a floating IP.
var PortForwarding = (&Resource[model.PortForwarding]{
	Name: "port_forwarding", Plural: "port_forwardings", Kind: "PortForwarding",
	Below: "/floatingips", Policy: "floatingip_port_forwarding", Extension: "floating-ip-port-forwarding",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Attributes: []*Attribute[model.PortForwarding]{
		attribute("id", shows, id(), func(p *model.PortForwarding) *string { return &p.ID }, help("The id, a UUID.")),
		attribute("protocol", Post|Put|shows, lower(text(16)), func(p *model.PortForwarding) *string { return &p.Protocol },
			required, oneOf("tcp", "udp", "sctp", "dccp"), help("The transport protocol.")),
		onePort("external_port", func(p *model.PortForwarding) *model.PortRange { return &p.External },
			help("The port of the floating IP; null where there is a range of them.")),
		onePort("internal_port", func(p *model.PortForwarding) *model.PortRange { return &p.Internal },
			help("The port of the fixed address; null where there is a range of them.")),
		portRange("external_port_range", func(p *model.PortForwarding) *model.PortRange { return &p.External },
			help("The ports of the floating IP, as in 8000:8009.")),
		portRange("internal_port_range", func(p *model.PortForwarding) *model.PortRange { return &p.Internal },
			help("The ports of the fixed address: as many, or one.")),
		attribute("internal_port_id", Post|Put|shows, id(), func(p *model.PortForwarding) *string { return &p.InternalPortID },
			required, help("The port that has the fixed address.")),
		attribute("internal_ip_address", Post|Put|shows, address(), func(p *model.PortForwarding) *netip.Addr { return &p.InternalIP },
			help("The fixed address; not given: the port's first IPv4 address.")),
		attribute("description", Post|Put|shows, text(255), func(p *model.PortForwarding) *string { return &p.Description },
			extension("floating-ip-port-forwarding-description"), help("A text for people.")),
	},
}).ready()

type rangeOf = func(*model.PortForwarding) *model.PortRange

// onePort declares a range of ports as a number, for ranges of one. null leaves the range to the other attribute.
func onePort(name string, ref rangeOf, opts ...option) *Attribute[model.PortForwarding] {
	c := optional(integer(1, 65535))
	a := computed(name, Post|Put|shows, c, func(p *model.PortForwarding) *int { return single(*ref(p)) }, opts...)
	a.set = func(p *model.PortForwarding, raw any) error {
		n, err := c.parse(raw)
		if err == nil && n != nil {
			*ref(p) = model.PortRange{First: *n, Last: *n}
		}
		return err
	}
	return a
}

// portRange declares a range of ports as a text. null leaves the range to the other attribute.
func portRange(name string, ref rangeOf, opts ...option) *Attribute[model.PortForwarding] {
	opts = append([]option{extension("floating-ip-port-forwarding-port-ranges")}, opts...)
	a := computed(name, Post|Put|shows, text(11), func(p *model.PortForwarding) string { return rangeText(*ref(p)) }, opts...)
	a.set = func(p *model.PortForwarding, raw any) error {
		if raw == nil {
			return nil
		}
		r, err := parsePortRange(raw)
		if err == nil {
			*ref(p) = r
		}
		return err
	}
	return a
}

// single is the port of a range of one, else nil.
func single(r model.PortRange) *int {
	if r.First == 0 || !r.Single() {
		return nil
	}
	return &r.First
}

func rangeText(r model.PortRange) string {
	return strconv.Itoa(r.First) + ":" + strconv.Itoa(r.Last)
}

// parsePortRange reads 80 or "80" or "80:89".
func parsePortRange(raw any) (r model.PortRange, err error) {
	s, ok := raw.(string)
	if !ok {
		s = quote(raw)
	}
	first, last, isRange := strings.Cut(s, ":")
	if !isRange {
		last = first
	}
	if r.First, err = integer(1, 65535).parse(first); err != nil {
		return r, err
	}
	if r.Last, err = integer(1, 65535).parse(last); err != nil {
		return r, err
	}
	if r.Last < r.First {
		return r, fmt.Errorf("the first port of '%s' is greater than the last", clip(s))
	}
	return r, nil
}

// FloatingIPPool declares the floating IP pools of the API.
var FloatingIPPool = (&Resource[model.FloatingIPPool]{
	Name: "floatingip_pool", Plural: "floatingip_pools", Kind: "FloatingIPPool", Extension: "floatingip-pools",
	ListOnly: true,
	Attributes: []*Attribute[model.FloatingIPPool]{
		computed("subnet_id", shows, text(36), func(p *model.FloatingIPPool) string { return p.ID }, help("The subnet.")),
		computed("subnet_name", shows, text(255), func(p *model.FloatingIPPool) string { return p.Name }, help("Its name.")),
		computed("network_id", shows, text(36), func(p *model.FloatingIPPool) string { return p.NetworkID },
			help("The external network it is of.")),
		computed("cidr", shows, prefix(), func(p *model.FloatingIPPool) netip.Prefix { return p.CIDR }, help("The block of addresses.")),
		computed("project_id", shows, text(64), func(p *model.FloatingIPPool) string { return p.ProjectID },
			help("The project of the caller.")),
		computed("tenant_id", shows, text(64), func(p *model.FloatingIPPool) string { return p.ProjectID },
			help("The old name of project_id.")),
	},
}).ready()
