package filter

import (
	"fmt"

	rs "github.com/neutrino-net/neutrino/internal/dataplane/ruleset"
)

// form is how the kernel follows connections through bridges.
type form int

const (
	// formINet is by br_netfilter: bridged packets pass through the hooks of the IP families on their way, where they
	// come from their bridge. It has to be switched on for each bridge.
	formINet form = iota
	// formBridge is by the bridge family itself (module nf_conntrack_bridge): packets come from the port of the bridge.
	formBridge
)

func (f form) String() string {
	if f == formBridge {
		return "bridge"
	}
	return "inet"
}

// probeForm asks the kernel for a rule that only those take that track connections in the bridge family. exposed says that
// the tables of this kernel belong to nobody.
func probeForm(conn *rs.Conn) (f form, exposed bool, err error) {
	probe := rs.NewTable(conn, rs.Bridge, "neutrino-probe")
	probe.WantChain("state", rs.Chain{Rules: []rs.Rule{rs.NewRule("state", rs.LoadState(rs.R(0)), rs.Then(rs.Accept))}})
	if _, err := probe.Apply(); err != nil {
		return formINet, false, fmt.Errorf("find out how connections are tracked: %w", err)
	}
	f = formBridge
	if probe.Err("state") != nil {
		f = formINet
	}
	exposed = probe.Exposed()
	return f, exposed, probe.Delete()
}
