package segment

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ml2/typedriver"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// maxAvailable bounds the list of free ids in the view of a range: it is enough for the VLANs of a physical network.
const maxAvailable = 4096

// Ranges are the rules of the ranges of segmentation ids. Package typedriver takes ids from them. The zero value is
// ready.
type Ranges struct{}

// Create stores the range. The faults are NetworkVlanRangeError, NetworkTunnelRangeError (400) and
// NetworkSegmentRangeOverlaps (409).
func (Ranges) Create(tx *state.Tx, _ *auth.Caller, x *model.SegmentRange, _ schema.Given) error {
	if x.NetworkType != model.TypeVLAN {
		x.PhysicalNetwork = ""
	}
	if x.Shared {
		x.ProjectID = ""
	}
	if err := checkRange(tx, x); err != nil {
		return err
	}
	state.SegmentRanges.Put(tx, x)
	return nil
}

// Update stores the range, unless ids that are in use would fall out of it: the fault is
// NetworkSegmentRangeReferencedByProject (409). A default range does not change: the fault is
// NetworkSegmentRangeDefaultReadOnly (400).
func (Ranges) Update(tx *state.Tx, _ *auth.Caller, old, x *model.SegmentRange, _ schema.Given) error {
	if old.Default {
		return readOnly(x)
	}
	for id := range used(tx, old) {
		if !x.Holds(id) {
			return referenced(x)
		}
	}
	if err := checkRange(tx, x); err != nil {
		return err
	}
	state.SegmentRanges.Put(tx, x)
	return nil
}

// Delete deletes the range, unless ids of it are in use or it is a default one; the faults are those of Update.
func (Ranges) Delete(tx *state.Tx, _ *auth.Caller, x *model.SegmentRange) error {
	if x.Default {
		return readOnly(x)
	}
	if len(used(tx, x)) > 0 {
		return referenced(x)
	}
	state.SegmentRanges.Delete(tx, x.ID)
	return nil
}

// SyncDefaults makes the default ranges those of the server's options. It changes nothing when they are.
func SyncDefaults(tx *state.Tx, types *typedriver.Manager) {
	wanted := map[string]bool{}
	for _, x := range types.Defaults() {
		// The id is the same on every start, since clients may keep it.
		x.ID = uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "neutrino default range %s/%s/%d-%d",
			x.NetworkType, x.PhysicalNetwork, x.Minimum, x.Maximum)).String()
		wanted[x.ID] = true
		if _, ok := state.SegmentRanges.Get(tx, x.ID); !ok {
			state.SegmentRanges.Put(tx, &x)
		}
	}
	var gone []string
	for x := range state.SegmentRanges.All(tx) {
		if x.Default && !wanted[x.ID] {
			gone = append(gone, x.ID)
		}
	}
	for _, id := range gone {
		state.SegmentRanges.Delete(tx, id)
	}
}

// ViewRanges fills in which ids are free and who has the others.
func ViewRanges(r state.Reader, _ *auth.Caller) func(*model.SegmentRange) *model.SegmentRange {
	return func(x *model.SegmentRange) *model.SegmentRange {
		seen := *x
		seen.Used = used(r, x)
		seen.Available = []int{}
		for id := x.Minimum; id <= x.Maximum && len(seen.Available) < maxAvailable; id++ {
			if _, ok := seen.Used[id]; !ok {
				seen.Available = append(seen.Available, id)
			}
		}
		return &seen
	}
}

// used are the ids of the range that networks have, with the projects of these.
func used(r state.Reader, x *model.SegmentRange) map[int]string {
	ids := map[int]string{}
	prefix := strings.TrimSuffix(state.SegmentKey(x.NetworkType, x.PhysicalNetwork, 0), "0")
	for key, n := range state.NetworksBySegment.From(r, prefix) {
		text, ok := strings.CutPrefix(key, prefix)
		if !ok {
			break
		}
		if id, err := strconv.Atoi(text); err == nil && x.Holds(id) {
			ids[id] = n.ProjectID
		}
	}
	return ids
}

// checkRange checks the bounds of a range, and that no other range of an administrator has an id of it.
func checkRange(r state.Reader, x *model.SegmentRange) error {
	if x.NetworkType == model.TypeVLAN {
		if x.PhysicalNetwork == "" {
			return fault.Operation("physical_network required for a range of VLANs")
		}
		if x.Minimum < typedriver.MinVLAN || x.Maximum > typedriver.MaxVLAN || x.Maximum < x.Minimum {
			return fault.New(fault.Invalid, "NetworkVlanRangeError", "Invalid network VLAN range: '%d:%d' - "+
				"'it is not within %d to %d, or its end is before its beginning'.",
				x.Minimum, x.Maximum, typedriver.MinVLAN, typedriver.MaxVLAN)
		}
	} else if x.Minimum < typedriver.MinVNI || x.Maximum > typedriver.MaxVNI || x.Maximum < x.Minimum {
		return fault.New(fault.Invalid, "NetworkTunnelRangeError", "Invalid network tunnel range: '%d:%d' - "+
			"it is not within %d to %d, or its end is before its beginning.",
			x.Minimum, x.Maximum, typedriver.MinVNI, typedriver.MaxVNI)
	}
	for other := range state.SegmentRangesByType.List(r, state.SegmentRangeKey(x.NetworkType, x.PhysicalNetwork)) {
		if other.ID != x.ID && !other.Default && other.Minimum <= x.Maximum && x.Minimum <= other.Maximum {
			return fault.New(fault.Conflict, "NetworkSegmentRangeOverlaps",
				"Network segment range overlaps with range(s) with id %s", other.ID)
		}
	}
	return nil
}

func readOnly(x *model.SegmentRange) error {
	return fault.New(fault.Invalid, "NetworkSegmentRangeDefaultReadOnly", "Network Segment Range %s is a default segment "+
		"range which could not be updated or deleted.", x.ID)
}

func referenced(x *model.SegmentRange) error {
	return fault.New(fault.Conflict, "NetworkSegmentRangeReferencedByProject",
		"Network Segment Range %s is referenced by one or more tenant networks.", x.ID)
}
