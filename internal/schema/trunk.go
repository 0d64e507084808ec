package schema

import (
	"errors"
	"fmt"
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
)

func trunkMeta(t *model.Trunk) *model.Meta { return &t.Meta }

// Trunk declares the trunks of the API.
var Trunk = (&Resource[model.Trunk]{
	Name: "trunk", Plural: "trunks", Kind: "Trunk", Extension: "trunk",
	Operations: CanCreate | CanUpdate | CanDelete | CanBulk,
	Actions:    trunkActions,
	Tagged:     true,
	Quota:      "trunk",
	Virtual:    tagFilters(trunkMeta, map[string]func(*model.Trunk, string) bool{}),
	Attributes: slices.Concat(
		identity(trunkMeta),
		[]*Attribute[model.Trunk]{
			attribute("port_id", Post|shows, id(), func(t *model.Trunk) *string { return &t.PortID },
				required, help("The parent: the port that carries the others.")),
			attribute("admin_state_up", Post|Put|shows, boolean(), func(t *model.Trunk) *bool { return &t.AdminStateUp },
				byDefault(true), help("Whether it may be changed; one that is down cannot.")),
			attribute("sub_ports", Post, subPorts(), func(t *model.Trunk) *[]model.SubPort { return &t.SubPorts },
				help("The ports that the parent carries, each with its tag.")),
			computed("status", shows, text(16), func(t *model.Trunk) string { return string(t.Status) },
				help("ACTIVE when its host has said that it is wired.")),
		},
		standard(trunkMeta),
	),
}).ready()

// maxSubPorts bounds the subports of a request and of a trunk: there are no more VLAN ids.
const maxSubPorts = 4094

// The types of segmentation that a subport can have.
const (
	SegmentationVLAN    = "vlan"
	SegmentationInherit = "inherit" // that of the subport's network
)

// subPorts are the subports of a trunk; no port and no tag comes twice.
func subPorts() codec[[]model.SubPort] {
	item := subPort()
	c := list(maxSubPorts, item)
	c.parse = func(raw any) ([]model.SubPort, error) {
		values, err := items(raw, maxSubPorts)
		if err != nil {
			return nil, err
		}
		out := make([]model.SubPort, 0, len(values))
		ports, tags := make(map[string]bool, len(values)), make(map[string]bool, len(values))
		for _, r := range values {
			s, err := item.parse(r)
			if err != nil {
				return nil, err
			}
			if ports[s.PortID] {
				return nil, fmt.Errorf("Non unique UUID for subport: '%s'", s.PortID)
			}
			if tagged := s.SegmentationID != 0; tagged && tags[s.SegmentKey()] {
				return nil, fmt.Errorf("Segmentation ID '%d' for '%s' is not unique", s.SegmentationID, s.PortID)
			}
			ports[s.PortID], tags[s.SegmentKey()] = true, true
			out = append(out, s)
		}
		return out, nil
	}
	return c
}

// subPort is a port, and how its frames are told from those of others. The latter may be left out where the port is only
// named, for instance to remove it from a trunk.
func subPort() codec[model.SubPort] {
	members := []Member{
		must("port_id", id().shape), may("segmentation_type", text(32).shape),
		may("segmentation_id", integer(1, maxSubPorts).shape),
	}
	return object(members,
		func(m map[string]any) (s model.SubPort, err error) {
			if m["port_id"] == nil {
				return s, errors.New("A valid port UUID must be specified")
			}
			if s.PortID, err = id().parse(m["port_id"]); err != nil {
				return s, fmt.Errorf("Invalid UUID for subport: '%s'", quote(m["port_id"]))
			}
			if raw := m["segmentation_type"]; raw != nil {
				if s.SegmentationType, err = text(32).parse(raw); err != nil {
					return s, err
				}
			}
			if s.SegmentationType == SegmentationInherit {
				return s, nil
			}
			if raw := m["segmentation_id"]; raw != nil {
				if s.SegmentationID, err = integer(1, maxSubPorts).parse(raw); err != nil {
					return s, fmt.Errorf("segmentation_id: %w", err)
				}
			}
			if (s.SegmentationType == "" || s.SegmentationID == 0) && len(m) > 1 {
				return s, fmt.Errorf("Invalid subport details '%s': missing segmentation information. "+
					"Must specify both segmentation_id and segmentation_type", s.PortID)
			}
			return s, nil
		},
		func(s model.SubPort) any { return s })
}

// ParseSubPorts validates the member sub_ports in the body of a request that adds or removes some.
func ParseSubPorts(body map[string]any) ([]model.SubPort, error) {
	raw, ok := body["sub_ports"]
	if !ok || raw == nil {
		return nil, fmt.Errorf("Invalid data format for subports: '%s' is not a list", quote(raw))
	}
	return subPorts().parse(raw)
}
