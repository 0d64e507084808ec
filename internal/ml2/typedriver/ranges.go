package typedriver

import (
	"cmp"
	"maps"
	"slices"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Where segmentation ids come from that nobody asked for: the server's options give ranges to all projects. An
// administrator may add ranges over the API (state.SegmentRanges), shared ones and ones of a single project. A project is
// given ids of its own ranges first, and then of the shared ones, but none of another project's.

// free returns an id that no network has, for a network of the project: the first one from a random one on in the ranges
// that come first and have one.
func (m *Manager) free(r state.Reader, t model.NetworkType, physical, project string) (int, bool) {
	own, shared := m.ranges(r, t, physical, project)
	if id, ok := m.freeOf(r, t, physical, own); ok {
		return id, true
	}
	return m.freeOf(r, t, physical, shared)
}

// ranges returns the ranges of the project, and the shared ones without what belongs to other projects.
func (m *Manager) ranges(r state.Reader, t model.NetworkType, physical, project string) (own, shared []Range) {
	shared = m.configured(t, physical)
	var others []Range
	for s := range state.SegmentRangesByType.List(r, state.SegmentRangeKey(t, physical)) {
		x := Range{s.Minimum, s.Maximum}
		switch {
		case s.Default: // it is among the configured ones
		case s.Shared:
			shared = append(slices.Clip(shared), x)
		case s.ProjectID == project:
			own = append(own, x)
		default:
			others = append(others, x)
		}
	}
	if len(others) == 0 {
		return own, shared
	}
	return own, without(shared, others)
}

// configured are the ranges of the options.
func (m *Manager) configured(t model.NetworkType, physical string) []Range {
	switch {
	case t == model.TypeVLAN:
		return m.opts.VLANRanges[physical]
	case t.Tunnel():
		return m.opts.VNIRanges
	}
	return nil
}

// physicalNetworks are those that VLANs may be asked of, in order of their names.
func (m *Manager) physicalNetworks(r state.Reader) []string {
	known := map[string]bool{}
	for _, name := range m.physical {
		known[name] = true
	}
	for s := range state.SegmentRanges.All(r) {
		if s.NetworkType == model.TypeVLAN {
			known[s.PhysicalNetwork] = true
		}
	}
	return slices.Sorted(maps.Keys(known))
}

// freeOf returns an id of the ranges that no network has: the first one from a random one on. It looks at no more ids
// than there are networks, and one.
func (m *Manager) freeOf(r state.Reader, t model.NetworkType, physical string, ranges []Range) (int, bool) {
	total := 0
	for _, x := range ranges {
		total += x.size()
	}
	if total == 0 {
		return 0, false
	}
	start := m.opts.Random(total)
	for i := range total {
		id := nth(ranges, (start+i)%total)
		if !taken(r, model.Segment{NetworkType: t, PhysicalNetwork: physical, SegmentationID: id}) {
			return id, true
		}
	}
	return 0, false
}

// nth returns the n-th id of the ranges, counted from 0.
func nth(ranges []Range, n int) int {
	for _, x := range ranges {
		if n < x.size() {
			return x.Min + n
		}
		n -= x.size()
	}
	return 0
}

// without returns the ranges without the ids of the others.
func without(ranges, others []Range) (left []Range) {
	others = slices.SortedFunc(slices.Values(others), func(a, b Range) int { return cmp.Compare(a.Min, b.Min) })
	for _, x := range ranges {
		for _, o := range others {
			if o.Max < x.Min || x.Max < o.Min {
				continue
			}
			if x.Min < o.Min {
				left = append(left, Range{x.Min, o.Min - 1})
			}
			x.Min = o.Max + 1
			if x.Min > x.Max {
				break
			}
		}
		if x.Min <= x.Max {
			left = append(left, x)
		}
	}
	return left
}

// Defaults are the ranges of the options as the API shows them, without ids.
func (m *Manager) Defaults() []model.SegmentRange {
	var all []model.SegmentRange
	add := func(t model.NetworkType, physical string) {
		for _, x := range m.configured(t, physical) {
			all = append(all, model.SegmentRange{
				Default: true, Shared: true, NetworkType: t, PhysicalNetwork: physical, Minimum: x.Min, Maximum: x.Max,
			})
		}
	}
	for _, physical := range m.physical {
		add(model.TypeVLAN, physical)
	}
	for _, t := range []model.NetworkType{model.TypeVXLAN, model.TypeGRE, model.TypeGeneve} {
		add(t, "")
	}
	return all
}
