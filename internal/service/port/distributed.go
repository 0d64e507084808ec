package port

import (
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// reportDistributed enters what one of its hosts says became of the interface of a distributed router.
func reportDistributed(tx *state.Tx, host string, p *model.Port, st Status) {
	b, ok := state.DistributedBindingsByPortHost.First(tx, p.ID+"/"+host)
	if !ok {
		return
	}
	now := b.Clone()
	now.Wired, now.WiringReason = st.State == Done, ""
	if st.State == Failed {
		now.WiringReason = because(st)
	}
	if now.Wired != b.Wired || now.WiringReason != b.WiringReason {
		state.DistributedBindings.Put(tx, now)
		SettleDistributed(tx, p.ID)
	}
}

// SettleDistributed derives the status of a distributed router's interface from its hosts: it works if it does on any of
// them, and tells of the first that it does not work on.
func SettleDistributed(tx *state.Tx, portID string) {
	p, ok := state.Ports.Get(tx, portID)
	if !ok || p.Binding.VIFType != model.VIFDistributed {
		return
	}
	now := p.Clone()
	now.Wired, now.WiringReason = false, ""
	for b := range state.DistributedBindingsByPort.List(tx, portID) {
		now.Wired = now.Wired || b.Wired
		if b.WiringReason != "" && now.WiringReason == "" {
			now.WiringReason = "host " + b.Host + ": " + b.WiringReason
		}
	}
	putIfNews(tx, p, now)
}
