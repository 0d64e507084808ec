package schema

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
)

// MaxAddresses is the most blocks that an address group may have.
const MaxAddresses = 4096

func addressGroupMeta(g *model.AddressGroup) *model.Meta { return &g.Meta }

// AddressGroup declares the address groups of the API.
var AddressGroup = (&Resource[model.AddressGroup]{
	Name: "address_group", Plural: "address_groups", Kind: "AddressGroup", Path: "/address-groups",
	Extension:  "address-group",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Actions:    addressGroupActions,
	Quota:      "address_group",
	Attributes: slices.Concat(
		identity(addressGroupMeta),
		[]*Attribute[model.AddressGroup]{
			attribute("addresses", Post, addresses(), func(g *model.AddressGroup) *[]netip.Prefix { return &g.Addresses },
				help("Its address blocks, as in 10.0.0.0/24.")),
			computed("shared", Hidden, boolean(), func(g *model.AddressGroup) bool { return g.Shared },
				extension("rbac-address-group"), help("Whether it is shared with the caller; for policy rules only.")),
		},
		standard(addressGroupMeta),
	),
}).ready()

// addresses are blocks without host bits, sorted. Two spellings of one block are the same block.
func addresses() codec[[]netip.Prefix] {
	item := prefix()
	c := list(MaxAddresses, item)
	c.parse = func(raw any) ([]netip.Prefix, error) {
		values, ok := raw.([]any)
		if raw != nil && !ok {
			return nil, fmt.Errorf("'%s' is not a list", quote(raw))
		}
		if len(values) > MaxAddresses {
			return nil, fmt.Errorf("it has %d items, and at most %d are allowed", len(values), MaxAddresses)
		}
		blocks := make([]netip.Prefix, 0, len(values))
		for _, v := range values {
			p, err := item.parse(v)
			if err != nil {
				return nil, err
			}
			blocks = append(blocks, p)
		}
		slices.SortFunc(blocks, netip.Prefix.Compare)
		return slices.Compact(blocks), nil
	}
	return c
}

// ParseAddresses validates the member "addresses" in the body of the actions of address groups. The blocks come without
// host bits, each once, in order.
func ParseAddresses(raw any) ([]netip.Prefix, error) {
	if raw == nil {
		return nil, fmt.Errorf("'null' is not a list")
	}
	return addresses().parse(raw)
}
