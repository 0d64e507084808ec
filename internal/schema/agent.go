package schema

import (
	"time"

	"github.com/neutrino-net/neutrino/internal/model"
)

// roleNames are how the networking API calls the roles of an agent.
var roleNames = map[model.Role]struct{ agentType, binary, topic string }{
	model.RoleL2:   {"Linux bridge agent", "neutron-linuxbridge-agent", "N/A"},
	model.RoleDHCP: {"DHCP agent", "neutron-dhcp-agent", "dhcp_agent"},
	model.RoleL3:   {"L3 agent", "neutron-l3-agent", "l3_agent"},
	model.RoleDVR:  {"L3 agent", "neutron-l3-agent", "l3_agent"},
}

// Agent declares the agents of the API: one for each role of a host.
var Agent = (&Resource[model.Agent]{
	Name: "agent", Plural: "agents", Kind: "Agent", Extension: "agent",
	Operations: CanUpdate | CanDelete,
	Actions:    agentActions,
	Attributes: []*Attribute[model.Agent]{
		attribute("id", shows, id(), func(a *model.Agent) *string { return &a.ID }, help("The id, a UUID.")),
		computed("agent_type", shows, text(255), func(a *model.Agent) string { return roleNames[a.Role].agentType },
			help("The role, by the name that it has in OpenStack.")),
		computed("binary", shows, text(255), func(a *model.Agent) string { return roleNames[a.Role].binary },
			help("The program that plays this role in OpenStack.")),
		computed("topic", shows, text(255), func(a *model.Agent) string { return roleNames[a.Role].topic }, help("Unused.")),
		computed("host", shows, text(255), func(a *model.Agent) string { return a.Host }, help("The host.")),
		attribute("admin_state_up", Put|shows, boolean(), func(a *model.Agent) *bool { return &a.AdminStateUp },
			help("Whether new work may be given to it.")),
		computed("alive", shows, boolean(), func(a *model.Agent) bool { return a.Alive }, help("Whether its host is connected.")),
		computed("availability_zone", shows, nullable(text(255)), func(a *model.Agent) string { return a.AvailabilityZone },
			help("The zone of its host.")),
		computed("created_at", shows, timestamp(agentTime), func(a *model.Agent) time.Time { return a.CreatedAt },
			help("When it joined, UTC.")),
		computed("started_at", shows, timestamp(agentTime), func(a *model.Agent) time.Time { return a.StartedAt },
			help("When it was started last, UTC.")),
		computed("heartbeat_timestamp", shows, timestamp(agentTime), func(a *model.Agent) time.Time { return a.HeartbeatAt },
			help("When it was heard of last, UTC.")),
		computed("configurations", 0, shown(anObject()), configurations, help("What it has told of itself.")),
		computed("resources_synced", shows, shown(aBoolean.orNull()), func(*model.Agent) any { return nil }, extension("agent-resources-synced"),
			help("null: agents here tell the placement service nothing.")),
		computed("ha_state", 0, nullable(text(16)), haState, extension("l3-ha"),
			help("Where it is listed as one that serves a router: active, standby or unknown; null for routers without ha.")).
			when(func(a *model.Agent) bool { return a.Hosting != nil }),
		attribute("description", Put|shows, nullable(text(255)), func(a *model.Agent) *string { return &a.Description },
			help("A text for people.")),
	},
}).ready()

func haState(a *model.Agent) string {
	if a.Hosting == nil {
		return ""
	}
	return a.Hosting.HAState
}

func configurations(a *model.Agent) any {
	c := map[string]any{"version": a.Version}
	switch a.Role {
	case model.RoleL3:
		c["agent_mode"] = "dvr_snat"
	case model.RoleDVR:
		c["agent_mode"] = "dvr"
	}
	if a.Role == model.RoleL2 {
		c["tunnel_types"] = append([]string{}, a.TunnelTypes...)
		c["bridge_mappings"] = a.BridgeMappings
		if a.TunnelIP.IsValid() {
			c["tunneling_ip"] = a.TunnelIP.String()
		}
	}
	return c
}
