package schema

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
)

func addressScopeMeta(s *model.AddressScope) *model.Meta { return &s.Meta }

// AddressScope declares the address scopes of the API.
var AddressScope = (&Resource[model.AddressScope]{
	Name: "address_scope", Plural: "address_scopes", Kind: "AddressScope", Path: "/address-scopes", Extension: "address-scope",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Attributes: slices.Concat(
		identity(addressScopeMeta),
		[]*Attribute[model.AddressScope]{
			attribute("ip_version", Post|shows, ipVersion(), func(s *model.AddressScope) *int { return &s.IPVersion },
				required, help("4 or 6.")),
			attribute("shared", Post|Put|shows, boolean(), func(s *model.AddressScope) *bool { return &s.Shared },
				byDefault(false), enforced, help("Whether all projects may use it; this cannot be taken back.")),
		},
	),
}).ready()
