package port

import (
	"cmp"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/qos"
	"github.com/neutrino-net/neutrino/internal/state"
)

// View returns a function that gives a port with what other objects know of it: the trunk whose parent it is, the QoS of
// its network, the domain of its names, and the active host of the gateway group that it is bound to. A port that has nothing of it is given as it is, so that long lists cost
// nothing. It is made for rest.Collection.For.
func (s *Rules) View(r state.Reader, _ *auth.Caller) func(*model.Port) *model.Port {
	policies := map[string]string{} // by network
	trunks := state.Trunks.Len(r) > 0
	return func(p *model.Port) *model.Port {
		if id := p.Binding.Group(); id != "" {
			p = onActive(r, p, id)
		}
		policy, known := policies[p.NetworkID]
		if !known {
			_, policy = qos.PolicyOf(r, p)
			policies[p.NetworkID] = policy
		}
		v := model.PortView{DNSDomain: s.opts.DNSDomain, QoSNetworkPolicyID: policy}
		if trunks {
			v.Trunk = trunkDetails(r, p.ID)
		}
		if v == (model.PortView{DNSDomain: model.DefaultDNSDomain}) && p.QoSPolicyID == "" {
			return p
		}
		if request := qos.ResourceRequest(r, p); request != nil {
			v.ResourceRequest = request
		}
		seen := *p
		seen.View = &v
		return &seen
	}
}

// onActive is a port of a gateway group as bound to the host that has it at present; while that is not known, to the first
// of the group.
func onActive(r state.Reader, p *model.Port, group string) *model.Port {
	g, ok := state.GatewayGroups.Get(r, group)
	if !ok || len(g.Hosts) == 0 {
		return p
	}
	seen := *p
	seen.Binding.Host = cmp.Or(g.Active(), g.Hosts[0])
	return &seen
}

func trunkDetails(r state.Reader, portID string) *model.TrunkDetails {
	t, ok := state.TrunksByPort.First(r, portID)
	if !ok {
		return nil
	}
	d := &model.TrunkDetails{TrunkID: t.ID, SubPorts: make([]model.SubPortDetails, len(t.SubPorts))}
	for i, s := range t.SubPorts {
		d.SubPorts[i].SubPort = s
		if p, ok := state.Ports.Get(r, s.PortID); ok {
			d.SubPorts[i].MAC = p.MAC
		}
	}
	return d
}
