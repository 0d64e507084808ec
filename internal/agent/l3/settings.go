package l3

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/neutrino-net/neutrino/internal/dataplane/netns"
)

// setting is a value below /proc/sys/net. %s stands for a device.
type setting struct{ key, value string }

// forwardingSettings are those of a router's namespace as a whole. A new namespace may begin with those of the host, so
// what matters is said. Devices that come later start with the values of "default".
var forwardingSettings = []setting{
	{"ipv4/ip_forward", "1"},
	{"ipv4/conf/all/rp_filter", "0"}, // sources are the concern of the ports' filters; routes may be asymmetric
	{"ipv4/conf/default/rp_filter", "0"},
	// A leg answers for its own addresses only, and asks from one of them.
	{"ipv4/conf/all/arp_ignore", "1"},
	{"ipv4/conf/all/arp_announce", "2"},
	// Redirects would lead hosts of one network around the translation between them.
	{"ipv4/conf/all/send_redirects", "0"},
	{"ipv4/conf/default/send_redirects", "0"},
	{"ipv4/conf/all/accept_redirects", "0"},
	{"ipv4/conf/default/accept_redirects", "0"},
	// An address that goes does not take the others of its network with it.
	{"ipv4/conf/all/promote_secondaries", "1"},
	{"ipv6/conf/all/forwarding", "1"},
	{"ipv6/conf/default/forwarding", "1"},
	// The addresses are assigned; nobody in a tenant's network may give the router others, or have it doubt its own.
	{"ipv6/conf/default/accept_ra", "0"},
	{"ipv6/conf/default/autoconf", "0"},
	{"ipv6/conf/default/accept_dad", "0"},
	{"ipv6/conf/default/dad_transmits", "0"},
	// IN6_ADDR_GEN_MODE_NONE: a leg has its link-local address from us, and says nothing before.
	{"ipv6/conf/default/addr_gen_mode", "1"},
}

// legSettings are those of every leg.
var legSettings = []setting{
	{"ipv4/conf/%s/rp_filter", "0"},
	{"ipv4/conf/%s/forwarding", "1"},
	{"ipv4/conf/%s/send_redirects", "0"},
	{"ipv6/conf/%s/forwarding", "1"},
	{"ipv6/conf/%s/accept_ra", "0"},
	{"ipv6/conf/%s/autoconf", "0"},
}

// setForwarding makes the namespace one that forwards.
func (s *session) setForwarding() error {
	if !s.settings {
		return nil
	}
	return s.set(forwardingSettings)
}

// setLeg makes the settings of a leg right.
func (s *session) setLeg(l *leg) error {
	if !s.settings {
		return nil
	}
	settings := make([]setting, 0, len(legSettings)+1)
	for _, x := range legSettings {
		settings = append(settings, setting{fmt.Sprintf(x.key, l.device), x.value})
	}
	if l.gateway {
		proxy := "0"
		if len(s.proxies) > 0 {
			proxy = "1"
		}
		settings = append(settings, setting{"ipv6/conf/" + l.device + "/proxy_ndp", proxy})
	}
	return s.set(settings)
}

// set writes the settings that differ. Those of IPv6 are missing where a device has no IPv6.
func (s *session) set(settings []setting) error {
	var changed []string
	err := netns.Do(s.ns, func() error {
		for _, x := range settings {
			have, err := s.directories.read(x.key)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if have == x.value {
				continue
			}
			if err := s.directories.write(x.key, x.value); err != nil {
				return err
			}
			changed = append(changed, x.key)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("set how the namespace %s forwards: %w", s.ns.Name(), err)
	}
	if len(changed) > 0 {
		s.drift("setting", "%s", strings.Join(changed, ", "))
	}
	return nil
}

const settingsDir = "/proc/sys/net"

// directories are those of the families below settingsDir in a namespace, by name. They stay open: all namespaces have
// directories of these names, and the kernel finds that of one by going through those of all.
type directories map[string]*os.File

func (d directories) close() {
	for family, f := range d {
		f.Close()
		delete(d, family)
	}
}

// file opens that of a setting.
func (d directories) file(key string, flags int) (*os.File, error) {
	family, rest, _ := strings.Cut(key, "/")
	if d[family] == nil {
		f, err := os.Open(filepath.Join(settingsDir, family))
		if err != nil {
			return nil, err
		}
		d[family] = f
	}
	path := filepath.Join(settingsDir, key)
	fd, err := unix.Openat(int(d[family].Fd()), rest, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "openat", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// read returns the value of a setting.
func (d directories) read(key string) (string, error) {
	f, err := d.file(key, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	value := make([]byte, 64)
	n, err := f.Read(value)
	return strings.TrimSpace(string(value[:n])), err
}

func (d directories) write(key, value string) error {
	f, err := d.file(key, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}
