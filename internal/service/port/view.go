package port

import (
	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/qos"
	"github.com/neutrino-net/neutrino/internal/state"
)

// View returns a function that gives a port with what other objects know of it: the trunk whose parent it is, the QoS of
// its network, the domain of its names. A port that has nothing of it is given as it is, so that long lists cost
// nothing. It is made for rest.Collection.For.
func (s *Rules) View(r state.Reader, _ *auth.Caller) func(*model.Port) *model.Port {
	policies := map[string]string{} // by network
	trunks := state.Trunks.Len(r) > 0
	return func(p *model.Port) *model.Port {
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
