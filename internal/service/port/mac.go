package port

import (
	"net"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// macAttempts is how many random MACs are tried. A network would need millions of ports for that many to be taken.
const macAttempts = 16

// setMAC checks the port's MAC, or makes one of the range that OpenStack uses: fa:16:3e and three random bytes.
func (s *Rules) setMAC(r state.Reader, p *model.Port) error {
	if p.MAC != "" {
		return macFree(r, p)
	}
	for range macAttempts {
		n := s.opts.Random(1 << 24)
		p.MAC = net.HardwareAddr{0xfa, 0x16, 0x3e, byte(n >> 16), byte(n >> 8), byte(n)}.String()
		if macFree(r, p) == nil {
			return nil
		}
	}
	return fault.New(fault.Unavailable, "NetworkMacAddressGenerationFailure",
		"Unable to generate unique mac on network %s.", p.NetworkID)
}

// macFree says whether no other port of the network has the port's MAC. The fault is MacAddressInUse (409).
func macFree(r state.Reader, p *model.Port) error {
	for other := range state.PortsByMAC.List(r, p.NetworkID+"/"+p.MAC) {
		if other.ID != p.ID {
			return fault.New(fault.Conflict, "MacAddressInUse",
				"Unable to complete operation for network %s. The mac address %s is in use.", p.NetworkID, p.MAC)
		}
	}
	return nil
}

// changeMAC gives the port the MAC that it asks for, or a new one where it asks for any. It may not change while a device
// with the old one is plugged (PortBound), nor on ports that are part of the network (UnsupportedPortDeviceOwner); both
// are 409.
func (s *Rules) changeMAC(r state.Reader, old, p *model.Port) error {
	if p.MAC == old.MAC {
		return nil
	}
	if p.Trusted() {
		return fault.New(fault.Conflict, "UnsupportedPortDeviceOwner",
			"Operation mac address update is not supported for device_owner %s on port %s.", p.DeviceOwner, p.ID)
	}
	if err := s.setMAC(r, p); err != nil {
		return err
	}
	if old.Binding.Bound() {
		return fault.New(fault.Conflict, "PortBound", "Unable to complete operation on port %s, "+
			"port is already bound, port type: %s, old_mac %s, new_mac %s.", p.ID, old.Binding.VIFType, old.MAC, p.MAC)
	}
	return nil
}
