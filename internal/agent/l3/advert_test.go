package l3

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var mac = net.HardwareAddr{0xfa, 0x16, 0x3e, 1, 2, 3}

func TestAdvertisementsAreThoseOfTheStandard(t *testing.T) {
	block := func(mode string) advertised {
		return advertised{netip.MustParsePrefix("2001:db8:1::/64"), mode, []netip.Addr{netip.MustParseAddr("2001:db8::53")}}
	}
	const (
		source = " 0101 fa163e010203 " // source link-layer address
		mtu    = " 0501 0000 000005aa "
		prefix = " 20010db8000100000000000000000000 "
		rdnss  = " 1903 0000 00000708 20010db8000000000000000000000053 "
		// Type, code, checksum; hop limit, flags, router lifetime; reachable and retransmission time.
		head    = "8600 0000 40"
		timings = " 00000000 00000000 "
	)
	for name, x := range map[string]struct {
		leg  spokenLeg
		want string
	}{
		"addresses by themselves": {
			spokenLeg{blocks: []advertised{block(modeSLAAC)}},
			head + "00 0708" + timings + source + mtu + "0304 40 c0 00015180 00003840 00000000" + prefix + rdnss,
		},
		"the rest by DHCPv6": {
			spokenLeg{blocks: []advertised{block(modeStateless)}},
			head + "40 0708" + timings + source + mtu + "0304 40 c0 00015180 00003840 00000000" + prefix,
		},
		"all by DHCPv6": {
			spokenLeg{blocks: []advertised{block(modeStateful)}},
			head + "80 0708" + timings + source + mtu + "0304 40 80 00015180 00003840 00000000" + prefix,
		},
		"no router any more": {
			spokenLeg{gone: []netip.Prefix{netip.MustParsePrefix("2001:db8:1::/64")}},
			head + "00 0000" + timings + source + mtu + "0304 40 c0 00000000 00000000 00000000" + prefix,
		},
	} {
		t.Run(name, func(t *testing.T) {
			x.leg.mac, x.leg.mtu = mac, 1450
			if got, want := hex.EncodeToString(x.leg.message()), strings.ReplaceAll(x.want, " ", ""); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// A checksum over a message that contains it is zero.
func TestNeighbourAdvertisementsHaveTheirChecksum(t *testing.T) {
	ip := netip.MustParseAddr("2001:db8::5")
	frame := neighbourAdvertisement(mac, ip)
	if sum := checksum(ip, allNodes, frame[14+40:]); sum != 0 {
		t.Errorf("the checksum does not fit: %#x", sum)
	}
}

// What is new is told three times soon, and then now and then; what is withdrawn is told three times.
func TestAdvertisementsAreSentOftenAtFirst(t *testing.T) {
	block := advertised{prefix: netip.MustParsePrefix("2001:db8:1::/64"), mode: modeSLAAC}
	wanted := leg{device: "qr-1", mac: mac, mtu: 1500, advertised: []advertised{block}}
	s, v, now := newSpeaker(nil), &voice{legs: map[string]*spokenLeg{}}, time.Now()
	s.voices["r"] = v
	v.update(&wanted, 2, now)
	leg := v.legs["qr-1"]
	for i, pause := range []time.Duration{firstInterval, firstInterval} {
		now = now.Add(pause)
		if next := s.speakDue(now); next != now.Add(firstInterval) && i == 0 {
			t.Errorf("after advertisement %d the next one comes in %v", i+1, next.Sub(now))
		}
	}
	now = now.Add(firstInterval)
	next := s.speakDue(now)
	if pause := next.Sub(now); leg.sent != 3 || pause < minInterval || pause > maxInterval {
		t.Errorf("after %d advertisements the next one comes in %v", leg.sent, pause)
	}
	v.update(&wanted, 2, now)
	if v.legs["qr-1"] != leg {
		t.Error("what has not changed is new")
	}
	wanted.advertised = nil
	v.update(&wanted, 2, now)
	if gone := v.legs["qr-1"].gone; len(gone) != 1 || gone[0] != block.prefix {
		t.Errorf("withdrawn are %v", gone)
	}
	for range firstAdverts {
		s.speakDue(now)
		now = now.Add(firstInterval)
	}
	if len(v.legs) != 0 {
		t.Error("what is withdrawn is told for ever")
	}
}
