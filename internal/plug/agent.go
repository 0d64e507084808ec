package plug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/neutrino-net/neutrino/internal/agent"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// askAgain is the pause between two questions whether a port is wired; each takes the agent some microseconds.
const askAgain = 3 * time.Millisecond

// knownPort is what the agent knows of a port, in types.
type knownPort struct {
	agent.PortInfo
	mac      net.HardwareAddr
	ips      []netip.Prefix
	gateways []netip.Addr
}

func parsePort(info agent.PortInfo) (p knownPort, err error) {
	p.PortInfo = info
	if p.mac, err = net.ParseMAC(p.MAC); err != nil {
		return p, fmt.Errorf("the agent's answer: mac_address: %w", err)
	}
	for _, s := range info.IPs {
		ip, err := netip.ParsePrefix(s)
		if err != nil {
			return p, fmt.Errorf("the agent's answer: ips: %w", err)
		}
		p.ips = append(p.ips, ip)
	}
	for _, s := range info.Gateways {
		gateway, err := netip.ParseAddr(s)
		if err != nil {
			return p, fmt.Errorf("the agent's answer: gateways: %w", err)
		}
		p.gateways = append(p.gateways, gateway)
	}
	if p.Device == "" {
		return p, errors.New("the agent's answer: device: it is empty")
	}
	if p.MTU == 0 {
		p.MTU = 1500
	}
	return p, nil
}

// client asks the agent on its unix socket.
type client struct {
	path string
	http *http.Client
}

func newClient(path string) *client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &client{path: path, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// errUnknown: the agent does not know the port.
var errUnknown = errors.New("the agent of this host does not know the port: is it bound to this host (binding:host_id)?")

// get asks for the port. If the agent does not know it, it waits that long for it to become known.
func (c *client) get(ctx context.Context, id string, wait time.Duration) (knownPort, error) {
	address := "http://agent/v1/ports/" + url.PathEscape(id)
	if wait > 0 {
		address += "?wait=" + wait.String()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return knownPort{}, fmt.Errorf("asking the agent: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return knownPort{}, fmt.Errorf("no agent answers on %s: %w", c.path, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return knownPort{}, fmt.Errorf("asking the agent: %w", err)
	case resp.StatusCode == http.StatusNotFound:
		return knownPort{}, errUnknown
	case resp.StatusCode != http.StatusOK:
		return knownPort{}, fmt.Errorf("the agent answers %s: %.200s", resp.Status, body)
	}
	var info agent.PortInfo
	if err := json.Unmarshal(body, &info); err != nil {
		return knownPort{}, fmt.Errorf("the agent's answer: %w", err)
	}
	return parsePort(info)
}

// known waits until the agent has heard of the port.
func (c *client) known(ctx context.Context, id string) (knownPort, error) {
	// A little less than we have, so that the agent's answer is in time.
	deadline, _ := ctx.Deadline()
	wait := time.Until(deadline) * 9 / 10
	return c.get(ctx, id, wait.Truncate(time.Millisecond))
}

// wired waits until the agent has wired the port. An error that it reports may pass (the agent tries again), so it is
// final only when the time is over.
func (c *client) wired(ctx context.Context, id string) error {
	last := "the agent has not answered"
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for {
		p, err := c.get(ctx, id, 0)
		switch {
		case err == nil && p.Status == "DONE":
			return nil
		case err == nil:
			last = p.Status
			if p.Reason != "" {
				last += ": " + p.Reason
			}
			if !p.AdminStateUp {
				last += " (its admin_state_up is false)"
			}
		case ctx.Err() == nil:
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the port is plugged, but not wired: %s", last)
		}
	}
}
