package port

import (
	"slices"
	"strings"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
)

// maxFQDN is the length of the longest domain name, with a dot at its end.
const maxFQDN = 255

// checkName says whether the port's name fits the domain of the cloud. A name with a dot at its end is complete, and has
// to lie in that domain.
func (s *Rules) checkName(p *model.Port) error {
	name, domain := p.DNSName, "."+s.opts.DNSDomain+"."
	switch {
	case name == "":
		return nil
	case !strings.HasSuffix(name, "."):
		if len(name)+len(domain) > maxFQDN {
			return fault.Input("dns_name", "'%s' and the domain '%s' are longer than %d characters together",
				name, domain[1:], maxFQDN)
		}
		return nil
	case len(name) <= len(domain) || !strings.HasSuffix(name, domain):
		return fault.Input("dns_name", "'%s' is a complete name, but not in the domain '%s'", name, domain[1:])
	}
	return nil
}

// mergeOptions gives the port the extra DHCP options that it had, changed by the wishes in the request: an option of
// the same name and IP version is replaced, or goes where the wish is for null.
func mergeOptions(had, wishes []model.DHCPOption) []model.DHCPOption {
	merged := slices.Clone(had)
	for _, w := range wishes {
		at := slices.IndexFunc(merged, func(o model.DHCPOption) bool {
			return o.Name == w.Name && o.IPVersion == w.IPVersion
		})
		switch {
		case at >= 0 && w.Remove:
			merged = slices.Delete(merged, at, at+1)
		case at >= 0:
			merged[at] = w
		case !w.Remove:
			merged = append(merged, w)
		}
	}
	return merged
}

// checkOptions bounds what a port can gather in several requests.
func checkOptions(p *model.Port) error {
	if len(p.ExtraDHCPOpts) > schema.MaxDHCPOptions {
		return fault.Input("extra_dhcp_opts", "The port would have %d options, and at most %d are allowed",
			len(p.ExtraDHCPOpts), schema.MaxDHCPOptions)
	}
	return nil
}
