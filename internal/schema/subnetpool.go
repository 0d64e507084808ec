package schema

import (
	"math"
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
)

// maxPrefixes is the most blocks that a request may name for a subnet pool.
const maxPrefixes = 256

func subnetPoolMeta(p *model.SubnetPool) *model.Meta { return &p.Meta }

// SubnetPool declares the subnet pools of the API.
var SubnetPool = (&Resource[model.SubnetPool]{
	Name: "subnetpool", Plural: "subnetpools", Kind: "SubnetPool", Quota: "subnetpool", Extension: "subnet_allocation",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Actions:    subnetPoolActions,
	Tagged:     true,
	Virtual:    tagFilters(subnetPoolMeta, map[string]func(*model.SubnetPool, string) bool{}),
	Attributes: slices.Concat(
		named(identity(subnetPoolMeta)),
		[]*Attribute[model.SubnetPool]{
			attribute("prefixes", Post|Put, prefixes(maxPrefixes), func(p *model.SubnetPool) *[]netip.Prefix { return &p.Prefixes },
				required, help("The blocks from which subnets are carved, all of one IP version; they can only grow.")),
			computed("ip_version", shows, ipVersion(), func(p *model.SubnetPool) int { return p.IPVersion },
				help("4 or 6; it follows from the blocks.")),
			attribute("default_quota", Post|Put|shows, optional(integer(0, math.MaxInt32)),
				func(p *model.SubnetPool) **int { return &p.DefaultQuota },
				help("How much a project may take: addresses of IPv4, blocks of /64 of IPv6; null or 0: any number.")),
			attribute("default_prefixlen", Post|Put|shows, numeral(0, 128),
				func(p *model.SubnetPool) *int { return &p.DefaultPrefixLen },
				help("The prefix length of subnets that ask for none; not given: min_prefixlen.")),
			attribute("min_prefixlen", Post|Put|shows, numeral(0, 128), func(p *model.SubnetPool) *int { return &p.MinPrefixLen },
				help("The shortest prefix length, which means the largest block, that may be asked for; not given: 8, of IPv6 64.")),
			attribute("max_prefixlen", Post|Put|shows, numeral(0, 128), func(p *model.SubnetPool) *int { return &p.MaxPrefixLen },
				help("The longest prefix length that may be asked for; not given: 32, of IPv6 128.")),
			attribute("is_default", Post|Put|shows, boolean(), func(p *model.SubnetPool) *bool { return &p.IsDefault },
				byDefault(false), enforced, help("Whether it is the default of its IP version.")),
			attribute("shared", Post|shows, boolean(), func(p *model.SubnetPool) *bool { return &p.Shared },
				byDefault(false), enforced, help("Whether all projects may use it.")),
			attribute("address_scope_id", Post|Put|shows, nullable(id()),
				func(p *model.SubnetPool) *string { return &p.AddressScope }, extension("address-scope"),
				help("The address scope it belongs to.")),
		},
		standard(subnetPoolMeta),
	),
}).ready()

// named makes the name an attribute that has to be given when creating.
func named[T any](attributes []*Attribute[T]) []*Attribute[T] {
	for _, a := range attributes {
		if a.Name == "name" {
			a.Required = true
		}
	}
	return attributes
}
