// Package subnetpool holds the rules of subnet pools: which blocks a pool may have, how subnets are carved from it, and
// how it grows and shrinks.
//
// Who may do something is asked of the policy before. The rules run in a transaction, store what they make, and
// return a *fault.Error, after which the transaction is dropped. Like package ipam they remember nothing: a block is
// taken when a subnet of the pool has it.
//
// Read in this order:
//   - subnetpool.go: create, update, delete, as the API asks for them.
//   - carve.go: how a subnet gets its block, and how much a project may take.
//   - prefixes.go: adding and removing blocks, and taking the subnets of a network into the pool.
package subnetpool

import (
	"iter"
	"net/netip"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/ipam"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/service/addressscope"
	"github.com/neutrino-net/neutrino/internal/service/rbac"
	"github.com/neutrino-net/neutrino/internal/state"
)

// RBACType is what RBAC policies call a subnet pool.
const RBACType = "subnetpool"

// maxBlocks bounds the blocks of a pool, however they came: each is looked at when a subnet is carved.
const maxBlocks = 1000

// Rules are the rules of subnet pools. The zero value is ready.
type Rules struct{}

// Create completes the pool with what follows from its blocks, and stores it.
func (Rules) Create(tx *state.Tx, c *auth.Caller, p *model.SubnetPool, given schema.Given) error {
	if err := setVersion(p); err != nil {
		return err
	}
	if !given.Has("min_prefixlen") {
		p.MinPrefixLen = defaultMinPrefixLen(p.IPVersion)
	}
	if !given.Has("max_prefixlen") {
		p.MaxPrefixLen = addressBits(p.IPVersion)
	}
	if !given.Has("default_prefixlen") {
		p.DefaultPrefixLen = p.MinPrefixLen
	}
	if err := checkBounds(p); err != nil {
		return err
	}
	if p.IsDefault {
		if err := onlyDefault(tx, p); err != nil {
			return err
		}
	}
	if err := checkScope(tx, c, nil, p); err != nil {
		return err
	}
	rbac.Share(tx, RBACType, p.ID, model.AccessShared, p.ProjectID, p.Shared)
	state.SubnetPools.Put(tx, p)
	return nil
}

// Update checks the changes and stores the pool. Blocks can be added this way; RemovePrefixes takes them away.
func (Rules) Update(tx *state.Tx, c *auth.Caller, old, p *model.SubnetPool, _ schema.Given) error {
	if err := setVersion(p); err != nil {
		return err
	}
	if !ipam.Covered(p.Prefixes, old.Prefixes) {
		return illegalPrefixes("Existing prefixes must be a subset of the new prefixes")
	}
	if err := checkBounds(p); err != nil {
		return err
	}
	if p.IsDefault && !old.IsDefault {
		if err := onlyDefault(tx, p); err != nil {
			return err
		}
	}
	if err := ownScope(tx, c, old); err != nil {
		return err
	}
	if err := checkScope(tx, c, old, p); err != nil {
		return err
	}
	state.SubnetPools.Put(tx, p)
	return nil
}

// Delete deletes the pool, if no subnet is from it: the fault is SubnetPoolDeleteError (400).
func (Rules) Delete(tx *state.Tx, _ *auth.Caller, p *model.SubnetPool) error {
	if state.SubnetsByPool.Has(tx, p.ID) {
		return fault.New(fault.Invalid, "SubnetPoolDeleteError",
			"Unable to delete subnet pool: Subnet pool has existing allocations.")
	}
	rbac.Forget(tx, RBACType, p.ID)
	state.SubnetPools.Delete(tx, p.ID)
	return nil
}

// Sharing is how subnet pools are shared by RBAC policies. Projects use a pool by having subnets of it.
func Sharing() rbac.Kind {
	return rbac.KindOf(RBACType, "SubnetPool", state.SubnetPools, (*model.SubnetPool).Clone, shared,
		func(r state.Reader, id string) iter.Seq[string] {
			return func(yield func(string) bool) {
				for s := range state.SubnetsByPool.List(r, id) {
					if !yield(s.ProjectID) {
						return
					}
				}
			}
		})
}

func shared(p *model.SubnetPool) *bool { return &p.Shared }

// View makes pools look as the caller may see them: shared when they are shared with its project.
func View(r state.Reader, c *auth.Caller) func(*model.SubnetPool) *model.SubnetPool {
	return rbac.View(RBACType, shared)(r, c)
}

// Find returns the pool, if the caller may use it: as an administrator, as its owner, or because it is shared with its
// project. The fault is SubnetPoolNotFound (404).
func Find(r state.Reader, c *auth.Caller, id string) (*model.SubnetPool, error) {
	p, ok := state.SubnetPools.Get(r, id)
	if !ok || !c.Admin() && c.ProjectID != p.ProjectID && !rbac.Shared(r, RBACType, id, c.ProjectID) {
		return nil, fault.Missing("SubnetPool", id)
	}
	return p, nil
}

// Default returns the default pool of the IP version.
func Default(r state.Reader, ipVersion int) (*model.SubnetPool, bool) {
	for p := range state.SubnetPoolsFlagged.List(r, "default") {
		if p.IPVersion == ipVersion {
			return p, true
		}
	}
	return nil, false
}

func addressBits(ipVersion int) int {
	if ipVersion == 6 {
		return 128
	}
	return 32
}

func defaultMinPrefixLen(ipVersion int) int {
	if ipVersion == 6 {
		return 64
	}
	return 8
}

// setVersion makes the blocks compact and derives the IP version from them.
func setVersion(p *model.SubnetPool) error {
	if len(p.Prefixes) == 0 {
		return fault.New(fault.Invalid, "EmptySubnetPoolPrefixList", "Empty subnet pool prefix list.")
	}
	is4 := p.Prefixes[0].Addr().Is4()
	for _, b := range p.Prefixes {
		if b.Addr().Is4() != is4 {
			return fault.New(fault.Invalid, "PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
		}
	}
	p.IPVersion = 6
	if is4 {
		p.IPVersion = 4
	}
	p.Prefixes = ipam.Compact(p.Prefixes...)
	if len(p.Prefixes) > maxBlocks {
		return illegalPrefixes("A subnet pool may have at most %d prefixes", maxBlocks)
	}
	return nil
}

// checkBounds checks that the prefix lengths are in order: min, default, max, the length of an address.
func checkBounds(p *model.SubnetPool) error {
	type bound struct {
		name   string
		length int
	}
	least, most := bound{"min_prefixlen", p.MinPrefixLen}, bound{"max_prefixlen", p.MaxPrefixLen}
	usual, address := bound{"default_prefixlen", p.DefaultPrefixLen}, bound{"ip_version_max", addressBits(p.IPVersion)}
	for _, pair := range []struct{ low, high, blamed, base bound }{
		{least, most, least, most}, {most, address, most, address}, {least, usual, usual, least}, {usual, most, usual, most},
	} {
		if pair.low.length > pair.high.length {
			return fault.New(fault.Invalid, "IllegalSubnetPoolPrefixBounds", "Illegal prefix bounds: %s=%d, %s=%d.",
				pair.blamed.name, pair.blamed.length, pair.base.name, pair.base.length)
		}
	}
	return nil
}

// onlyDefault refuses a second default pool of an IP version.
func onlyDefault(r state.Reader, p *model.SubnetPool) error {
	if other, ok := Default(r, p.IPVersion); ok && other.ID != p.ID {
		return fault.Operation("A default subnetpool for this IP family has already been set. " +
			"Only one default may exist per IP family")
	}
	return nil
}

// ownScope refuses changes to a pool that is in an address scope of another project, but to administrators.
func ownScope(r state.Reader, c *auth.Caller, p *model.SubnetPool) error {
	if p.AddressScope == "" || c.Admin() {
		return nil
	}
	if s, ok := state.AddressScopes.Get(r, p.AddressScope); ok && s.ProjectID != c.ProjectID {
		return illegalUpdate("subnetpool %s cannot be updated when associated with shared address scope %s",
			p.ID, p.AddressScope)
	}
	return nil
}

// checkScope checks the scope that the pool p is to be in, old being the pool as stored (nil: a new one): the caller may
// use it, it is of the pool's IP version, no other pool of it has an address of this one, and no network gets into two
// scopes.
func checkScope(r state.Reader, c *auth.Caller, old, p *model.SubnetPool) error {
	moved := old != nil && old.AddressScope != p.AddressScope
	if moved && sharesNetwork(r, p) {
		return fault.New(fault.Invalid, "NetworkAddressScopeAffinityError", "Subnets of the same address family hosted "+
			"on the same network must all participate in the same address scope.")
	}
	if p.AddressScope == "" {
		return nil
	}
	if old == nil || moved {
		s, err := addressscope.Find(r, c, p.AddressScope)
		if err != nil {
			return err
		}
		if s.IPVersion != p.IPVersion {
			return fault.New(fault.Invalid, "IllegalSubnetPoolIpVersionAssociationToAddressScope", "Illegal subnetpool "+
				"association: subnetpool %s cannot associate with address scope %s because subnetpool ip_version is not %d.",
				p.ID, s.ID, s.IPVersion)
		}
	}
	for other := range state.SubnetPoolsByScope.List(r, p.AddressScope) {
		if other.ID != p.ID && ipam.Overlapping(other.Prefixes, p.Prefixes) {
			return fault.New(fault.Conflict, "AddressScopePrefixConflict",
				"Failed to associate address scope: subnetpools within an address scope must have unique prefixes.")
		}
	}
	return nil
}

// sharesNetwork says whether a network has subnets of the pool and others of the same IP version.
func sharesNetwork(r state.Reader, p *model.SubnetPool) bool {
	seen := map[string]bool{}
	for s := range state.SubnetsByPool.List(r, p.ID) {
		if seen[s.NetworkID] {
			continue
		}
		seen[s.NetworkID] = true
		for other := range state.SubnetsByNetwork.List(r, s.NetworkID) {
			if other.SubnetPoolID != p.ID && other.IPVersion == p.IPVersion {
				return true
			}
		}
	}
	return false
}

// taken are the blocks of the pool that subnets have.
func taken(r state.Reader, p *model.SubnetPool) (blocks []netip.Prefix) {
	for s := range state.SubnetsByPool.List(r, p.ID) {
		blocks = append(blocks, s.CIDR)
	}
	return blocks
}

func illegalPrefixes(format string, args ...any) error {
	f := fault.New(fault.Invalid, "IllegalSubnetPoolPrefixUpdate", format, args...)
	f.Message = "Illegal update to prefixes: " + f.Message + "."
	return f
}

func illegalUpdate(format string, args ...any) error {
	f := fault.New(fault.Invalid, "IllegalSubnetPoolUpdate", format, args...)
	f.Message = "Illegal subnetpool update : " + f.Message + "."
	return f
}
