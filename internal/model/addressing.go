package model

import (
	"net/netip"
	"slices"
)

// SubnetPool is a set of address blocks from which subnets are carved, so that projects need not agree on addresses.
type SubnetPool struct {
	Meta
	IPVersion int `json:"ip_version"`
	// Prefixes are compact: sorted, without overlaps, and no two that one block could stand for.
	Prefixes []netip.Prefix `json:"prefixes"`
	// MinPrefixLen and MaxPrefixLen bound the prefix lengths that may be asked for; DefaultPrefixLen is used where none
	// is asked for.
	MinPrefixLen     int `json:"min_prefixlen"`
	MaxPrefixLen     int `json:"max_prefixlen"`
	DefaultPrefixLen int `json:"default_prefixlen"`
	// DefaultQuota bounds what one project may take, in addresses of IPv4 and in /64 blocks of IPv6; nil or 0: no bound.
	DefaultQuota *int   `json:"default_quota,omitempty"`
	Shared       bool   `json:"shared,omitempty"`
	IsDefault    bool   `json:"is_default,omitempty"`
	AddressScope string `json:"address_scope_id,omitempty"`
}

// Clone returns a deep copy.
func (p *SubnetPool) Clone() *SubnetPool {
	c := *p
	c.Meta = p.Meta.clone()
	c.Prefixes = slices.Clone(p.Prefixes)
	if p.DefaultQuota != nil {
		quota := *p.DefaultQuota
		c.DefaultQuota = &quota
	}
	return &c
}

// AddressScope is a set of subnet pools among which no address is used twice, so that their subnets can be routed to
// each other without translation.
type AddressScope struct {
	Meta
	IPVersion int  `json:"ip_version"`
	Shared    bool `json:"shared,omitempty"`
}

// Clone returns a deep copy.
func (s *AddressScope) Clone() *AddressScope {
	c := *s
	c.Meta = s.Meta.clone()
	return &c
}

// NetworkSegment is a segment as the API shows it by itself. The network's list of segments is what counts; this object
// follows it, and has besides a name and a description. Its id is that of the segment.
type NetworkSegment struct {
	Meta
	NetworkID string  `json:"network_id"`
	Segment   Segment `json:"segment"`
}

// Clone returns a deep copy.
func (s *NetworkSegment) Clone() *NetworkSegment {
	c := *s
	c.Meta = s.Meta.clone()
	return &c
}

// SegmentRange is a range of segmentation ids from which those of networks are taken that asked for none.
type SegmentRange struct {
	Meta // the ProjectID is empty where the range is shared
	// Default says that it is from the server's options, and cannot be changed over the API.
	Default         bool        `json:"default,omitempty"`
	Shared          bool        `json:"shared"`
	NetworkType     NetworkType `json:"network_type"`
	PhysicalNetwork string      `json:"physical_network,omitempty"` // of VLANs
	Minimum         int         `json:"minimum"`
	Maximum         int         `json:"maximum"`
	// Available and Used fill the view: the ids that are free, and the projects that have the others. They are not kept.
	Available []int          `json:"-"`
	Used      map[int]string `json:"-"`
}

// Clone returns a deep copy.
func (s *SegmentRange) Clone() *SegmentRange {
	c := *s
	c.Meta = s.Meta.clone()
	return &c
}

// Holds says whether the id is in the range.
func (s *SegmentRange) Holds(id int) bool { return s.Minimum <= id && id <= s.Maximum }
