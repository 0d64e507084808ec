package secgroup

import (
	"strconv"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
)

// The protocol numbers that the rules know (IANA, Protocol Numbers).
const (
	protoICMP      = 1
	protoTCP       = 6
	protoUDP       = 17
	protoDCCP      = 33
	protoIPv6Encap = 41
	protoIPv6Route = 43
	protoIPv6Frag  = 44
	protoICMPv6    = 58
	protoIPv6NoNxt = 59
	protoIPv6Opts  = 60
	protoSCTP      = 132
	protoUDPLite   = 136
)

// The whole range of ports.
const (
	minPort = 1
	maxPort = 65535
)

// normalise brings a rule into the form in which it is stored, and refuses values that do not fit together. What passes
// can be handed to a packet filter without a second look: ports only where the protocol has them (CVE-2019-9735),
// addresses of the rule's own IP version with a prefix length (CVE-2014-0187), one remote at most.
func normalise(r *model.SecurityGroupRule) error {
	if r.EtherType == model.IPv6 {
		r.Protocol = icmpOfIPv6(r.Protocol)
	}
	if r.PortMin != nil && r.PortMax != nil && *r.PortMin == minPort && *r.PortMax == maxPort {
		r.PortMin, r.PortMax = nil, nil // all ports are no condition
	}
	if err := checkPorts(r); err != nil {
		return err
	}
	if p := r.RemotePrefix; p.IsValid() && p.Addr().Is4() != (r.EtherType == model.IPv4) {
		return fault.New(fault.Invalid, "SecurityGroupRuleParameterConflict",
			"Conflicting value ethertype %s for CIDR %s", r.EtherType, p)
	}
	if r.EtherType == model.IPv4 && onlyIPv6(r.Protocol) {
		return fault.New(fault.Invalid, "SecurityGroupEthertypeConflictWithProtocol",
			"Invalid ethertype %s for protocol %s.", r.EtherType, r.Protocol)
	}
	remotes := 0
	for _, given := range []bool{r.RemotePrefix.IsValid(), r.RemoteGroupID != "", r.RemoteAddressGroupID != ""} {
		if given {
			remotes++
		}
	}
	if remotes > 1 {
		return fault.New(fault.Invalid, "SecurityGroupMultipleRemoteEntites",
			"Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.")
	}
	return nil
}

// icmpOfIPv6 gives ICMP of IPv6 the name ipv6-icmp, or the number 58, whichever way it was asked for.
func icmpOfIPv6(protocol string) string {
	switch protocol {
	case "icmp", "icmpv6":
		return "ipv6-icmp"
	case strconv.Itoa(protoICMP):
		return strconv.Itoa(protoICMPv6)
	}
	return protocol
}

func onlyIPv6(protocol string) bool {
	number, _ := model.ProtocolNumber(protocol)
	switch number {
	case protoIPv6Encap, protoIPv6Route, protoIPv6Frag, protoICMPv6, protoIPv6NoNxt, protoIPv6Opts:
		return true
	}
	return false
}

// checkPorts checks the port range, which for ICMP is a type and a code.
func checkPorts(r *model.SecurityGroupRule) error {
	if r.PortMin == nil && r.PortMax == nil {
		return nil
	}
	if r.Protocol == "" {
		return fault.New(fault.Invalid, "SecurityGroupProtocolRequiredWithPorts",
			"Must also specify protocol if port range is given.")
	}
	switch number, _ := model.ProtocolNumber(r.Protocol); number {
	case protoTCP, protoUDP, protoDCCP, protoSCTP, protoUDPLite:
		return checkPortRange(r)
	case protoICMP, protoICMPv6:
		return checkICMP(r)
	default:
		return fault.New(fault.Invalid, "SecurityGroupInvalidProtocolForPort", "Ports cannot be specified for protocol %d. "+
			"Ports are only supported for DCCP, SCTP, TCP, UDP, UDPLITE.", number)
	}
}

func checkPortRange(r *model.SecurityGroupRule) error {
	for _, port := range []*int{r.PortMin, r.PortMax} {
		if port != nil && (*port < minPort || *port > maxPort) {
			return fault.New(fault.Invalid, "SecurityGroupInvalidPortValue", "Invalid value for port %d", *port)
		}
	}
	if r.PortMin == nil || r.PortMax == nil || *r.PortMin > *r.PortMax {
		return fault.New(fault.Invalid, "SecurityGroupInvalidPortRange",
			"For TCP/UDP protocols, port_range_min must be <= port_range_max")
	}
	return nil
}

func checkICMP(r *model.SecurityGroupRule) error {
	for _, v := range []struct {
		value       *int
		field, name string
	}{{r.PortMin, "type", "port_range_min"}, {r.PortMax, "code", "port_range_max"}} {
		if v.value != nil && (*v.value < 0 || *v.value > 255) {
			return fault.New(fault.Invalid, "SecurityGroupInvalidIcmpValue",
				"Invalid value for ICMP %s (%s) %d. It must be 0 to 255.", v.field, v.name, *v.value)
		}
	}
	if r.PortMin == nil {
		return fault.New(fault.Invalid, "SecurityGroupMissingIcmpType", "ICMP code (port-range-max) %d is provided "+
			"but ICMP type (port-range-min) is missing.", *r.PortMax)
	}
	return nil
}
