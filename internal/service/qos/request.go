package qos

import (
	"strings"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Request is what a port asks of the host that it is to run on. Nova puts the groups to the placement service, in whose
// words resources and traits are.
type Request struct {
	Groups []RequestGroup `json:"request_groups"`
	// SameSubtree are the ids of groups that one and the same part of a host has to provide.
	SameSubtree []string `json:"same_subtree"`
}

// RequestGroup asks for amounts of resources from a provider that has all the traits. Its id changes with the rules.
type RequestGroup struct {
	ID        string         `json:"id"`
	Required  []string       `json:"required"`
	Resources map[string]int `json:"resources"`
}

// The resource classes of the placement service, by direction; kilobits and thousands of packets a second.
var (
	bandwidthClasses = map[model.Direction]string{
		model.Ingress: "NET_BW_IGR_KILOBIT_PER_SEC", model.Egress: "NET_BW_EGR_KILOBIT_PER_SEC",
	}
	packetRateClasses = map[model.Direction]string{
		model.Ingress:      "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC",
		model.Egress:       "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC",
		model.AnyDirection: "NET_PACKET_RATE_KILOPACKET_PER_SEC",
	}
)

// tunnelTrait is what providers of bandwidth for tunnels have.
const tunnelTrait = "CUSTOM_NETWORK_TUNNEL_PROVIDER"

// PolicyOf returns the ids of the policies that the port has: its own, which goes first, and its network's. Either may
// be empty.
func PolicyOf(r state.Reader, p *model.Port) (own, networks string) {
	if n, ok := state.Networks.Get(r, p.NetworkID); ok {
		networks = n.QoSPolicyID
	}
	return p.QoSPolicyID, networks
}

// ResourceRequest returns what the port asks of its host, or nil where that is nothing.
func ResourceRequest(r state.Reader, p *model.Port) *Request {
	policy, networks := PolicyOf(r, p)
	if policy == "" {
		policy = networks
	}
	if policy == "" {
		return nil
	}
	vnic := trait("CUSTOM_VNIC_TYPE_", p.Binding.VNICType)
	req := &Request{}
	if n, ok := state.Networks.Get(r, p.NetworkID); ok && len(n.Segments) > 0 {
		way := tunnelTrait
		if physical := n.Segments[0].PhysicalNetwork; physical != "" {
			way = trait("CUSTOM_PHYSNET_", physical)
		}
		req.add(p, state.QoSMinimumBandwidthRules.ByPolicy.List(r, policy), bandwidthClasses, way, vnic)
	}
	req.add(p, state.QoSMinimumPacketRateRules.ByPolicy.List(r, policy), packetRateClasses, vnic)
	if len(req.Groups) == 0 {
		return nil
	}
	return req
}

// add adds the group that the rules make.
func (q *Request) add(p *model.Port, rules func(yield func(*model.QoSRule) bool), classes map[model.Direction]string,
	traits ...string,
) {
	group := RequestGroup{Required: traits, Resources: map[string]int{}}
	var ids []string
	for rule := range rules {
		group.Resources[classes[rule.Direction]] = rule.Rate
		ids = append(ids, rule.ID)
	}
	if len(ids) == 0 {
		return
	}
	// The id follows from the port and the rules, so that whoever sees the port again finds the group again.
	space, err := uuid.Parse(p.ID)
	if err != nil {
		space = uuid.Nil
	}
	group.ID = uuid.NewSHA1(space, []byte(strings.Join(ids, ":"))).String()
	q.Groups = append(q.Groups, group)
	q.SameSubtree = append(q.SameSubtree, group.ID)
}

// trait spells a name as the placement service wants it: upper case letters, digits and underscores.
func trait(prefix, name string) string {
	return prefix + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
}
