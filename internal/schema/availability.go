package schema

import (
	"cmp"
	"math/big"
	"slices"
	"strconv"

	"github.com/neutrino-net/neutrino/internal/model"
)

// IPAvailability declares how many addresses networks have left.
var IPAvailability = (&Resource[model.IPAvailability]{
	Name: "network_ip_availability", Plural: "network_ip_availabilities", Kind: "Network",
	Path: "/network-ip-availabilities", Extension: "network-ip-availability",
	Virtual: map[string]func(*model.IPAvailability, string) bool{
		// The network is shown with the subnets of the version only, or not at all: see the collection.
		"ip_version": func(a *model.IPAvailability, value string) bool {
			return slices.ContainsFunc(a.Subnets, func(s model.SubnetAvailability) bool {
				return strconv.Itoa(s.IPVersion) == value
			})
		},
	},
	Attributes: []*Attribute[model.IPAvailability]{
		attribute("network_id", shows, id(), func(a *model.IPAvailability) *string { return &a.ID }, help("The network.")),
		attribute("network_name", shows, text(255), func(a *model.IPAvailability) *string { return &a.Name },
			help("Its name.")),
		attribute("project_id", shows, text(64), func(a *model.IPAvailability) *string { return &a.ProjectID },
			extension("project-id"), help("The project that owns it.")),
		attribute("tenant_id", shows, text(64), func(a *model.IPAvailability) *string { return &a.ProjectID },
			help("The old name of project_id.")),
		computed("total_ips", Sort, bigInteger(), func(a *model.IPAvailability) *big.Int { return a.Total },
			help("How many addresses the pools of its subnets have.")),
		computed("used_ips", Sort, counter(), func(a *model.IPAvailability) int64 { return int64(a.Used) },
			help("How many addresses its ports have.")),
		computed("subnet_ip_availability", 0, shown(anArray(anObject())), func(a *model.IPAvailability) any {
			return append([]model.SubnetAvailability{}, a.Subnets...)
		}, help("The same for each of its subnets.")),
	},
}).ready()

// bigInteger shows an integer of any size.
func bigInteger() codec[*big.Int] {
	return codec[*big.Int]{
		shape:   aNumber,
		append:  func(b []byte, v *big.Int) []byte { return v.Append(b, 10) },
		text:    (*big.Int).String,
		compare: (*big.Int).Cmp,
	}
}

// AvailabilityZone declares the zones in which there are agents.
var AvailabilityZone = (&Resource[model.AvailabilityZone]{
	Name: "availability_zone", Plural: "availability_zones", Kind: "AvailabilityZone", Extension: "availability_zone",
	ListOnly: true,
	Attributes: []*Attribute[model.AvailabilityZone]{
		attribute("name", shows, text(255), func(z *model.AvailabilityZone) *string { return &z.Name }, help("The name.")),
		attribute("resource", shows, text(16), func(z *model.AvailabilityZone) *string { return &z.Resource },
			help("For what it is a zone: network or router.")),
		computed("state", shows, text(16), func(z *model.AvailabilityZone) string {
			return cmp.Or(map[bool]string{true: "available"}[z.Available], "unavailable")
		}, help("available: an agent there may be given new work.")),
	},
}).ready()
