package rest

import (
	"iter"
	"net/netip"
	"strconv"
	"strings"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/network"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Networks is the collection of networks.
func Networks(rules Rules[model.Network]) Collection[model.Network] {
	return Collection[model.Network]{
		Resource: schema.Network, Table: state.Networks, Rules: rules, Clone: (*model.Network).Clone,
		Indexes: []Indexed[model.Network]{
			{Filter: "name", Index: state.NetworksByName},
			{Filter: "project_id", Index: state.NetworksByProject},
			{Filter: "tenant_id", Index: state.NetworksByProject},
		},
		Visible: visibleNetworks,
		For:     network.See,
	}
}

// visibleNetworks are those of the caller's project, those that are shared with it, and those that are external.
func visibleNetworks(r state.Reader, c *auth.Caller) iter.Seq[*model.Network] {
	return func(yield func(*model.Network) bool) {
		for n := range state.NetworksByProject.List(r, c.ProjectID) {
			if !yield(n) {
				return
			}
		}
		for n := range state.NetworksShared.List(r, "shared") {
			if n.ProjectID != c.ProjectID && !yield(n) {
				return
			}
		}
		for n := range state.NetworksShared.List(r, "external") {
			if n.ProjectID != c.ProjectID && !n.Shared && !yield(n) {
				return
			}
		}
		for id := range rbac.SharedOnlyWith(r, network.RBACType, c.ProjectID) {
			n, ok := state.Networks.Get(r, id)
			if ok && n.ProjectID != c.ProjectID && !n.Shared && !n.External && !yield(n) {
				return
			}
		}
	}
}

// Subnets is the collection of subnets.
func Subnets(rules Rules[model.Subnet]) Collection[model.Subnet] {
	return Collection[model.Subnet]{
		Resource: schema.Subnet, Table: state.Subnets, Rules: rules, Clone: (*model.Subnet).Clone,
		Indexes: []Indexed[model.Subnet]{
			{Filter: "network_id", Index: state.SubnetsByNetwork},
			{Filter: "project_id", Index: state.SubnetsByProject},
			{Filter: "tenant_id", Index: state.SubnetsByProject},
		},
		Visible: func(r state.Reader, c *auth.Caller) iter.Seq[*model.Subnet] {
			return visibleMembers(r, c, state.SubnetsByProject, state.SubnetsByNetwork, visibleNetworks(r, c))
		},
		Fields: func(r state.Reader, c *auth.Caller) func(*model.Subnet, string) (string, bool) {
			fields := networkFields(r, c)
			// The rule external_network asks for router:external, which subnets have not: those of an external network are
			// for its owner, and for those whom the network is shared with.
			return func(s *model.Subnet, name string) (string, bool) { return fields(s.NetworkID, name) }
		},
		Parent: func(s *model.Subnet) (string, string) { return schema.Network.Plural, s.NetworkID },
	}
}

// Ports is the collection of ports.
func Ports(rules Rules[model.Port]) Collection[model.Port] {
	return Collection[model.Port]{
		Resource: schema.Port, Table: state.Ports, Rules: rules, Clone: (*model.Port).Clone,
		Indexes: []Indexed[model.Port]{
			{Filter: "device_id", Index: state.PortsByDevice, NoEmpty: true},
			{Filter: "name", Index: state.PortsByName, NoEmpty: true},
			{Filter: "fixed_ips", Find: portsByFixedIP},
			{Filter: "mac_address", Find: portsByMAC, NoEmpty: true},
			{Filter: "security_groups", Index: state.PortsBySecurityGroup, NoEmpty: true},
			{Filter: "binding:host_id", Find: portsByHost, NoEmpty: true},
			{Filter: "network_id", Index: state.PortsByNetwork},
			{Filter: "project_id", Index: state.PortsByProject},
			{Filter: "tenant_id", Index: state.PortsByProject},
		},
		// The owner of a network sees all ports on it.
		Visible: func(r state.Reader, c *auth.Caller) iter.Seq[*model.Port] {
			return visibleMembers(r, c, state.PortsByProject, state.PortsByNetwork,
				state.NetworksByProject.List(r, c.ProjectID))
		},
		Fields: func(r state.Reader, c *auth.Caller) func(*model.Port, string) (string, bool) {
			fields := networkFields(r, c)
			return func(p *model.Port, name string) (string, bool) { return fields(p.NetworkID, name) }
		},
		Parent: func(p *model.Port) (string, string) { return schema.Network.Plural, p.NetworkID },
	}
}

// portsByHost finds the ports that ask for a host, and those of gateway groups that may show it.
func portsByHost(r state.Reader, host string) (iter.Seq[*model.Port], bool) {
	return func(yield func(*model.Port) bool) {
		for p := range state.PortsByWantedHost.List(r, host) {
			if !yield(p) {
				return
			}
		}
		for g := range state.HostGroups(r, host) {
			for p := range state.GroupPorts(r, g.ID) {
				if p.Binding.Host != host && !yield(p) {
					return
				}
			}
		}
	}, true
}

// portsByFixedIP finds ports by ip_address=A, in the subnets that A could be of, and by subnet_id=S.
func portsByFixedIP(r state.Reader, value string) (iter.Seq[*model.Port], bool) {
	switch key, want, _ := strings.Cut(value, "="); key {
	case "ip_address":
		ip, err := netip.ParseAddr(want)
		return func(yield func(*model.Port) bool) {
			for s := range state.Subnets.All(r) {
				if err != nil || !s.CIDR.Contains(ip) {
					continue
				}
				// Overlapping subnets are of different networks, so that no port is found twice.
				for p := range state.PortsByIP.List(r, state.IPKey(s.ID, ip)) {
					if !yield(p) {
						return
					}
				}
			}
		}, true
	case "subnet_id":
		return func(yield func(*model.Port) bool) {
			seen := map[string]bool{} // a port may have several addresses of the subnet
			for key, p := range state.PortsByIP.From(r, want+"/") {
				if !strings.HasPrefix(key, want+"/") {
					return
				}
				if !seen[p.ID] && !yield(p) {
					return
				}
				seen[p.ID] = true
			}
		}, true
	}
	return nil, false
}

// portsByMAC finds ports by their MAC address, network by network.
func portsByMAC(r state.Reader, value string) (iter.Seq[*model.Port], bool) {
	return func(yield func(*model.Port) bool) {
		for n := range state.Networks.All(r) {
			for p := range state.PortsByMAC.List(r, n.ID+"/"+value) {
				if !yield(p) {
					return
				}
			}
		}
	}, true
}

// visibleMembers are the objects of the caller's project, and those of other projects on the networks.
func visibleMembers[T any](r state.Reader, c *auth.Caller, byProject, byNetwork *state.Index[T],
	networks iter.Seq[*model.Network]) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for obj := range byProject.List(r, c.ProjectID) {
			if !yield(obj) {
				return
			}
		}
		for n := range networks {
			for obj := range byNetwork.List(r, n.ID) {
				if meta(obj).ProjectID != c.ProjectID && !yield(obj) {
					return
				}
			}
		}
	}
}

// networkFields gives policy rules what they ask about the network of a subnet or port, as the caller sees it. It looks
// each network up once.
func networkFields(r state.Reader, c *auth.Caller) func(id, name string) (string, bool) {
	known := map[string]*model.Network{}
	view := network.View(r, c)
	return func(id, name string) (string, bool) {
		n, ok := known[id]
		if !ok {
			if n, ok = state.Networks.Get(r, id); ok && view != nil {
				n = view(n)
			}
			known[id] = n
		}
		if n == nil {
			return "", false
		}
		switch name {
		case "network:project_id":
			return n.ProjectID, true
		case "network:shared":
			return strconv.FormatBool(n.Shared), true
		case "network:router:external":
			return strconv.FormatBool(n.External), true
		}
		return "", false
	}
}

// Agents is the collection of agents. view fills in what is not in the state: whether the host is connected.
func Agents(rules Rules[model.Agent], view func(*model.Agent) *model.Agent) Collection[model.Agent] {
	return Collection[model.Agent]{
		Resource: schema.Agent, Table: state.Agents, Rules: rules, Clone: (*model.Agent).Clone,
		Indexes: []Indexed[model.Agent]{{Filter: "host", Index: state.AgentsByHost}},
		For:     func(state.Reader, *auth.Caller) func(*model.Agent) *model.Agent { return view },
	}
}
