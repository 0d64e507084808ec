package schema

import "github.com/neutrino-net/neutrino/internal/model"

// maxProfiles is the most service profiles that a flavor may have.
const maxProfiles = 64

// serviceTypes are the services that flavors can be of, in the words of the API.
var serviceTypes = []string{
	"CORE", "L3_ROUTER_NAT", "METERING", "QOS", "FLAVORS", "LOGGING", "LOCAL_IP", "PORTFORWARDING", "CONNTRACKHELPER",
	"NDPPROXY", "FIREWALL", "VPN", "LOADBALANCER", "LOADBALANCERV2", "DUMMY",
}

// Flavor declares the flavors of services.
var Flavor = (&Resource[model.Flavor]{
	Name: "flavor", Plural: "flavors", Kind: "Flavor", Extension: "flavors",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Actions:    flavorActions,
	Attributes: []*Attribute[model.Flavor]{
		attribute("id", shows, id(), func(f *model.Flavor) *string { return &f.ID }, help("The id, a UUID.")),
		attribute("name", Post|Put|shows, text(255), func(f *model.Flavor) *string { return &f.Name },
			byDefault(""), help("A name for people; need not be unique.")),
		attribute("description", Post|Put|shows, nullableText(1024), func(f *model.Flavor) *string { return &f.Description },
			byDefault(""), help("A text for people.")),
		attribute("service_type", Post|shows, text(64), func(f *model.Flavor) *string { return &f.ServiceType },
			required, oneOf(serviceTypes...), help("The service, for instance L3_ROUTER_NAT.")),
		attribute("enabled", Post|Put|shows, boolean(), func(f *model.Flavor) *bool { return &f.Enabled },
			byDefault(true), help("Whether it can be chosen.")),
		attribute("service_profiles", Post|Put, list(maxProfiles, id()),
			func(f *model.Flavor) *[]string { return &f.ServiceProfileIDs }, help("Its service profiles.")),
		attribute("project_id", Post|Hidden, text(64), func(f *model.Flavor) *string { return &f.ProjectID },
			help("Of no meaning: flavors belong to the cloud.")),
		attribute("tenant_id", Post|Hidden, text(64), func(f *model.Flavor) *string { return &f.ProjectID },
			help("The old name of project_id.")),
	},
}).ready()

// ServiceProfile declares the drivers of services and what they are told.
var ServiceProfile = (&Resource[model.ServiceProfile]{
	Name: "service_profile", Plural: "service_profiles", Kind: "ServiceProfile", Extension: "flavors",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Attributes: []*Attribute[model.ServiceProfile]{
		attribute("id", shows, id(), func(s *model.ServiceProfile) *string { return &s.ID }, help("The id, a UUID.")),
		attribute("description", Post|Put|shows, nullableText(1024),
			func(s *model.ServiceProfile) *string { return &s.Description }, byDefault(""), help("A text for people.")),
		attribute("driver", Post|Put|shows, text(1024), func(s *model.ServiceProfile) *string { return &s.Driver },
			byDefault(""), help("The driver of a service provider.")),
		attribute("metainfo", Post|Put|Sort, nullableText(4096), func(s *model.ServiceProfile) *string { return &s.Metainfo },
			byDefault(""), help("What the driver is told.")),
		attribute("enabled", Post|Put|shows, boolean(), func(s *model.ServiceProfile) *bool { return &s.Enabled },
			byDefault(true), help("Whether it can be used.")),
		attribute("project_id", Post|Hidden, text(64), func(s *model.ServiceProfile) *string { return &s.ProjectID },
			help("Of no meaning: service profiles belong to the cloud.")),
		attribute("tenant_id", Post|Hidden, text(64), func(s *model.ServiceProfile) *string { return &s.ProjectID },
			help("The old name of project_id.")),
	},
}).ready()

// ServiceProvider declares the ways to provide a service.
var ServiceProvider = (&Resource[model.ServiceProvider]{
	Name: "service_provider", Plural: "service_providers", Kind: "ServiceProvider", Path: "/service-providers",
	Extension: "service-type", ListOnly: true,
	Attributes: []*Attribute[model.ServiceProvider]{
		computed("service_type", shows, text(64), func(s *model.ServiceProvider) string { return s.ServiceType },
			help("The service, for instance L3_ROUTER_NAT.")),
		computed("name", shows, text(255), func(s *model.ServiceProvider) string { return s.Name }, help("The name.")),
		computed("default", shows, boolean(), func(s *model.ServiceProvider) bool { return s.Default },
			help("Whether it is taken where none is chosen.")),
	},
}).ready()

// nullableText accepts null for the empty text, and shows text.
func nullableText(most int) codec[string] {
	c := text(most)
	parse := c.parse
	c.parse = func(raw any) (string, error) {
		if raw == nil {
			return "", nil
		}
		return parse(raw)
	}
	return c
}
