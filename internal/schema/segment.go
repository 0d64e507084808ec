package schema

import (
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
)

// MaxSegmentationID is the largest id of a segment: a VNI has 24 bits.
const MaxSegmentationID = 1<<24 - 1

func segmentMeta(s *model.NetworkSegment) *model.Meta { return &s.Meta }

// Segment declares the segments of networks as resources of their own.
var Segment = (&Resource[model.NetworkSegment]{
	Name: "segment", Plural: "segments", Kind: "Segment", Extension: "segment",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Attributes: slices.Concat(
		[]*Attribute[model.NetworkSegment]{
			attribute("id", shows, id(), func(s *model.NetworkSegment) *string { return &s.ID }, help("The id, a UUID.")),
			attribute("tenant_id", Post|Hidden, text(64), func(s *model.NetworkSegment) *string { return &s.ProjectID },
				help("Unused: a segment is its network's.")),
			attribute("project_id", Post|Hidden, text(64), func(s *model.NetworkSegment) *string { return &s.ProjectID },
				help("Unused: a segment is its network's.")),
			attribute("name", Post|Put|shows, nullable(text(255)), func(s *model.NetworkSegment) *string { return &s.Name },
				help("A name for people; need not be unique.")),
			attribute("network_id", Post|shows, id(), func(s *model.NetworkSegment) *string { return &s.NetworkID },
				required, help("The network that it is a segment of.")),
			attribute("network_type", Post|shows, text(32),
				func(s *model.NetworkSegment) *string { return (*string)(&s.Segment.NetworkType) },
				required, oneOf(NetworkTypes...), help("How its frames travel between hosts.")),
			attribute("physical_network", Post|shows, nullable(text(64)),
				func(s *model.NetworkSegment) *string { return &s.Segment.PhysicalNetwork },
				help("The physical network of a flat or VLAN segment.")),
			attribute("segmentation_id", Post|shows, nullable(integer(0, MaxSegmentationID)),
				func(s *model.NetworkSegment) *int { return &s.Segment.SegmentationID },
				help("The VLAN id or VNI; not given: a free one.")),
		},
		untagged(standard(segmentMeta)),
	),
}).ready()

func rangeMeta(s *model.SegmentRange) *model.Meta { return &s.Meta }

// SegmentRange declares the ranges of segmentation ids.
var SegmentRange = (&Resource[model.SegmentRange]{
	Name: "network_segment_range", Plural: "network_segment_ranges", Kind: "NetworkSegmentRange",
	Extension:  "network-segment-range",
	Operations: CanCreate | CanUpdate | CanDelete,
	Tagged:     true,
	Virtual:    tagFilters(rangeMeta, map[string]func(*model.SegmentRange, string) bool{}),
	Attributes: slices.Concat(
		identity(rangeMeta),
		[]*Attribute[model.SegmentRange]{
			computed("default", shows, boolean(), func(s *model.SegmentRange) bool { return s.Default },
				help("Whether it is from the server's options, and read-only.")),
			attribute("shared", Post|shows, boolean(), func(s *model.SegmentRange) *bool { return &s.Shared },
				byDefault(true), help("Whether networks of all projects take ids from it, or only those of its project.")),
			attribute("network_type", Post|shows, text(32),
				func(s *model.SegmentRange) *string { return (*string)(&s.NetworkType) },
				required, oneOf("vlan", "vxlan", "gre", "geneve"), help("The type of the networks.")),
			attribute("physical_network", Post|shows, nullable(text(64)),
				func(s *model.SegmentRange) *string { return &s.PhysicalNetwork }, help("The physical network of VLANs.")),
			attribute("minimum", Post|Put|shows, integer(1, MaxSegmentationID), func(s *model.SegmentRange) *int { return &s.Minimum },
				required, help("The first id.")),
			attribute("maximum", Post|Put|shows, integer(1, MaxSegmentationID), func(s *model.SegmentRange) *int { return &s.Maximum },
				required, help("The last id.")),
			computed("used", 0, shown(anObject()), func(s *model.SegmentRange) any { return orEmpty(s.Used) },
				help("The ids that networks have, with the projects of these.")),
			computed("available", 0, shown(anArray(aNumber)), func(s *model.SegmentRange) any { return append([]int{}, s.Available...) },
				help("The free ids, but no more than 4096.")),
		},
		standard(rangeMeta),
	),
}).ready()

func orEmpty[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return m
}
