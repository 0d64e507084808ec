package l2

import (
	"context"
	"fmt"
	"time"

	"github.com/neutrino-net/neutrino/internal/dataplane/nft"
)

// The guard is between the networks and the host itself. A Linux host answers on every device: to its own address on the
// underlay, asked for on a tenant's network, and with every socket that listens on all devices. So a workload that sends
// to the MAC of its bridge could reach whatever runs on the host, the UDP port of the tunnels included, through which it
// would send frames into any network. The guard drops everything that a bridge of ours hands to the host's own stack.
// What is bridged, from workload to workload, and the ARP answers that the bridge itself gives, do not come this way.
//
// These are the rules of the guard, and why they are as they are:
//
//   - The bridge family could match the name of the bridge, but only on kernels with nft_meta_bridge. The families of the
//     protocols see the bridge as the device on which a packet came in, on every kernel.
//   - The hooks are input and forward, not prerouting: with br_netfilter loaded (Docker does that), bridged frames pass
//     through prerouting and forward as if they were routed. In forward they come from a bridge and go to one, and the
//     host has no routes to a bridge of ours.
//   - Frames to the group addresses which bridges do not forward (IEEE 802.1D, 01:80:c2:00:00:00 to 0f) are handed to the
//     host as if they came from the port and not from the bridge. Nobody sends IP to these for an honest reason.
//   - They come before all others (-300), so that nothing of the host is counted, tracked or answered before.
func guardTables() []nft.Table {
	const tableName = "neutrino-guard"
	return []nft.Table{
		{Family: "inet", Name: tableName, Rules: `
	chain input {
		type filter hook input priority -300; policy accept;
		iifname "brq*" drop
		iifname "tap*" ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop
		iifname "vxlan-*" ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop
	}

	chain forward {
		type filter hook forward priority -300; policy accept;
		iifname "brq*" oifname != "brq*" drop
		iifname "tap*" ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop
		iifname "vxlan-*" ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop
	}
`},
		{Family: "arp", Name: tableName, Rules: `
	chain input {
		type filter hook input priority -300; policy accept;
		iifname "brq*" drop
		iifname "tap*" ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop
		iifname "vxlan-*" ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop
	}
`},
	}
}

const (
	// guardInterval is how long the guard is believed to be in place when nothing was heard of it; shorter than the pause
	// between the passes that the agent makes without a reason.
	guardInterval = 20 * time.Second
	// guardRetry is the shortest pause after a failure: passes may come much faster.
	guardRetry = time.Second
)

// ensureGuard sees to it that the guard is in place, and keeps the reason if it is not: then no bridge is put up.
func (p *Part) ensureGuard(ctx context.Context) {
	age := time.Since(p.guarded)
	switch {
	case p.unguarded != nil && age < guardRetry:
		return
	case p.unguarded == nil && age < guardInterval && !p.guardStale.Swap(false):
		return
	}
	err := p.guard.Ensure(ctx)
	if ctx.Err() != nil {
		return // cut short by the end of the agent
	}
	before := p.unguarded
	p.unguarded, p.guarded = nil, time.Now()
	if err != nil {
		p.unguarded = fmt.Errorf("the host cannot be protected from its workloads, so no network is put up: %w", err)
		if before == nil {
			p.options.Logger.Error("the guard is not in place", "part", name, "error", err)
		}
	}
}
