// Package keepalived drives keepalived, which speaks VRRP (RFC 5798) for all gateway groups of a host: of each group, it
// decides which host is active.
//
// There is one process a host, whatever the number of groups, with one VRRP instance a group. Read in this order:
//
//   - config.go turns typed groups into the file that keepalived reads. It is a pure function, and no text of a user
//     gets into the file.
//   - process.go starts a keepalived that outlives us, and finds it again by pid, start time and network namespace.
//   - daemon.go keeps that process running with the groups that are wanted, and says which of them are active here.
//
// Three decisions explain the rest:
//
// A group has one virtual address, a marker: 127.78.x.y on the loopback device, which nobody can reach. What it is good
// for is to be seen: the active groups of a host are its marker addresses, also for an agent that was not there when they
// became active, and the kernel tells of each change. (keepalived's own way to tell, a notify fifo, says only what changes;
// and version 2.2.7 says nothing more in it once its child process was started again.)
//
// Who is active stays active. keepalived has the word nopreempt for this, but then it also does not take over from a host
// that has lost a tracked interface and says so by a lower priority. So a group has a Bonus, which its host adds to the
// priority while it owns the group, and which is changed without a reload.
//
// A tracked interface that is down lowers the priority and does not end the group's part in the election: when all hosts
// have lost the same interface, one of them goes on with the others.
package keepalived

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Names of the files in the directory of a keepalived.
const (
	confFile  = "conf"     // read at the start and at SIGHUP
	pidFile   = "pid"      // written by keepalived
	childFile = "vrrp-pid" // written by keepalived
	logFile   = "log"      // written by keepalived
	stateFile = "state"    // written by us: which process reads these files
)

// Limits of VRRP version 3 (RFC 5798, section 5.2) and of keepalived.
const (
	maxPriority = 254
	minInterval = 10 * time.Millisecond
	maxInterval = 4095 * minInterval
	// maxInterface is the longest name of a network device (IFNAMSIZ less its zero byte).
	maxInterface = 15
)

// realtimePriority is that of the threads which send and await advertisements (SCHED_FIFO, 1 to 99). Without it, a host
// that is busy is taken for one that is dead.
const realtimePriority = 20

// realtimeLimit is how long such a thread may run without waiting; then the kernel ends it. The default is 10 ms, less than
// reading the configuration of many groups takes.
const realtimeLimit = 2 * time.Second

// Group is a VRRP instance.
type Group struct {
	// ID is the virtual router identifier, 1 to 255. It names the group on this host, and on the segment.
	ID uint8
	// Interface is the device on which the group's hosts hear each other. The loopback device is refused by keepalived.
	Interface string
	// Source is this host's address on Interface, and Peers are those of the group's other hosts. Without peers,
	// advertisements go to the multicast group of VRRP.
	Source netip.Addr
	Peers  []netip.Addr
	// Priority (1 to 254) decides who becomes active; the highest does.
	Priority uint8
	// Bonus is added to the priority; the sum is kept between 1 and 254. It is meant for what changes often.
	Bonus uint8
	// Interval of advertisements: whole hundredths of a second up to 40.95 s, the same on all hosts of the group.
	// A host that is silent for three of them is dead.
	Interval time.Duration
	// Tracked are the devices whose loss lowers the priority.
	Tracked []Tracked
}

// Tracked is a device without which a host is less fit for a group.
type Tracked struct {
	Interface string
	// Penalty (1 to 253) is taken off the priority while the device is down or missing.
	Penalty uint8
}

// FieldError says which value cannot be given to keepalived, and why.
type FieldError struct {
	Field  string
	Reason string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

func badField(field, format string, args ...any) error {
	return &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// Validate checks the group alone.
func (g Group) Validate() error {
	if g.ID == 0 {
		return badField("id", "0 is no virtual router identifier")
	}
	if err := checkInterface("interface", g.Interface); err != nil {
		return err
	}
	if g.Priority < 1 || g.Priority > maxPriority {
		return badField("priority", "%d is not between 1 and %d", g.Priority, maxPriority)
	}
	if g.Interval < minInterval || g.Interval > maxInterval || g.Interval%minInterval != 0 {
		return badField("interval", "%v is not whole hundredths of a second up to %v", g.Interval, maxInterval)
	}
	if len(g.Peers) > 0 || g.Source.IsValid() {
		if err := g.checkAddresses(); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for _, t := range g.Tracked {
		if err := checkInterface("tracked", t.Interface); err != nil {
			return err
		}
		if t.Penalty < 1 || t.Penalty >= maxPriority || seen[t.Interface] {
			return badField("tracked", "%s has no penalty between 1 and %d, or two", t.Interface, maxPriority-1)
		}
		seen[t.Interface] = true
	}
	return nil
}

func (g Group) checkAddresses() error {
	for i, a := range append([]netip.Addr{g.Source}, g.Peers...) {
		if !a.IsValid() || a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() {
			return badField("peers", "%v is not an address of a host", a)
		}
		if a.Is4() != g.Source.Is4() {
			return badField("peers", "%v and %v are of two IP versions", a, g.Source)
		}
		if i > 0 && a == g.Source {
			return badField("peers", "%v is the host itself", a)
		}
	}
	return nil
}

// checkInterface accepts names of devices that mean nothing else in the file.
func checkInterface(field, name string) error {
	for _, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && !strings.ContainsRune("_-.", r) {
			return badField(field, "%q is not a name of a device", name)
		}
	}
	if name == "" || len(name) > maxInterface || name == "." || name == ".." || name == "lo" {
		return badField(field, "%q is not a name of a device", name)
	}
	return nil
}

// checkDir accepts paths that mean nothing else in the file.
func checkDir(dir string) error {
	for _, r := range dir {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && !strings.ContainsRune("/._-+", r) {
			return badField("dir", "%q has characters other than letters, digits and /._-+", dir)
		}
	}
	if !filepath.IsAbs(dir) {
		return badField("dir", "%q is not an absolute path", dir)
	}
	return nil
}

// instance is the name of the group's VRRP instance.
func (g Group) instance() string { return fmt.Sprintf("group-%d", g.ID) }

// markers is where the marker addresses of all groups are.
var markers = netip.MustParsePrefix("127.78.0.0/16")

// marker is the address that the host has while it is active for the group.
func marker(id uint8) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 78, 0, id}), 32)
}

// bonusFile is the file from which keepalived takes the group's bonus.
func bonusFile(id uint8) string { return fmt.Sprintf("bonus-%d", id) }

// render writes the configuration of valid groups. It depends neither on their order nor on their bonus.
func render(dir string, groups []Group) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by neutrino-agent; changes are overwritten.")
	line("global_defs {")
	line("    router_id neutrino")
	line("    vrrp_version 3")
	line("    vrrp_check_unicast_src")
	line("    vrrp_rt_priority %d", realtimePriority)
	line("    vrrp_rlimit_rttime %d", realtimeLimit.Microseconds())
	line("    vrrp_no_swap")
	line("    dynamic_interfaces")
	line("}")
	groups = slices.SortedFunc(slices.Values(groups), func(a, b Group) int { return int(a.ID) - int(b.ID) })
	for _, g := range groups {
		line("")
		g.render(dir, line)
	}
	return b.Bytes()
}

func (g Group) render(dir string, line func(format string, args ...any)) {
	line("track_file bonus-%d {", g.ID)
	line("    file %s", filepath.Join(dir, bonusFile(g.ID)))
	line("    weight 1")
	line("}")
	line("vrrp_instance %s {", g.instance())
	line("    state BACKUP")
	line("    interface %s", g.Interface)
	line("    virtual_router_id %d", g.ID)
	line("    priority %d", g.Priority)
	line("    advert_int %d.%02d", g.Interval/time.Second, g.Interval%time.Second/minInterval)
	if g.Source.IsValid() {
		line("    unicast_src_ip %s", g.Source)
	}
	if len(g.Peers) > 0 {
		line("    unicast_peer {")
		for _, p := range slices.SortedFunc(slices.Values(g.Peers), netip.Addr.Compare) {
			line("        %s", p)
		}
		line("    }")
	}
	line("    track_file {")
	line("        bonus-%d", g.ID)
	line("    }")
	if len(g.Tracked) > 0 {
		line("    track_interface {")
		tracked := slices.SortedFunc(slices.Values(g.Tracked), func(a, b Tracked) int {
			return strings.Compare(a.Interface, b.Interface)
		})
		for _, t := range tracked {
			line("        %s weight -%d", t.Interface, t.Penalty)
		}
		line("    }")
	}
	line("    virtual_ipaddress {")
	line("        %s dev lo no_track", marker(g.ID))
	line("    }")
	line("}")
}
