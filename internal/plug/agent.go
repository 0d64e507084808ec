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
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// askAgain is the pause between two questions for a port that the agent does not know yet.
const askAgain = 20 * time.Millisecond

// Port is what the agent knows of a port: the answer to GET /v1/ports/{id}.
type Port struct {
	ID       string   `json:"id"`
	Device   string   `json:"device"`
	MAC      string   `json:"mac"`
	IPs      []string `json:"ips"`
	Gateways []string `json:"gateways"`
	MTU      int      `json:"mtu"`
	// State is done, absent (the device has not appeared) or error.
	State  string `json:"state"`
	Reason string `json:"reason"`

	mac      net.HardwareAddr
	ips      []netip.Prefix
	gateways []netip.Addr
}

func (p *Port) parse() (err error) {
	if p.mac, err = net.ParseMAC(p.MAC); err != nil {
		return fmt.Errorf("the agent's answer: mac: %w", err)
	}
	for _, s := range p.IPs {
		ip, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("the agent's answer: ips: %w", err)
		}
		p.ips = append(p.ips, ip)
	}
	for _, s := range p.Gateways {
		gateway, err := netip.ParseAddr(s)
		if err != nil {
			return fmt.Errorf("the agent's answer: gateways: %w", err)
		}
		p.gateways = append(p.gateways, gateway)
	}
	if p.Device == "" {
		return errors.New("the agent's answer: device: it is empty")
	}
	if p.MTU == 0 {
		p.MTU = 1500
	}
	return nil
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

// get asks once. With a wait, the agent answers when the port is wired, or when the time is over.
func (c *client) get(ctx context.Context, id string, wait time.Duration) (Port, error) {
	address := "http://agent/v1/ports/" + url.PathEscape(id)
	if wait > 0 {
		address += "?wait=" + wait.Round(time.Millisecond).String()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Port{}, fmt.Errorf("asking the agent: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Port{}, fmt.Errorf("the agent does not answer on %s: %w", c.path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return Port{}, fmt.Errorf("asking the agent: %w", err)
	case resp.StatusCode == http.StatusNotFound:
		return Port{}, errUnknown
	case resp.StatusCode != http.StatusOK:
		return Port{}, fmt.Errorf("the agent answers %s: %.200s", resp.Status, body)
	}
	var p Port
	if err := json.Unmarshal(body, &p); err != nil {
		return Port{}, fmt.Errorf("the agent's answer: %w", err)
	}
	return p, p.parse()
}

// known waits until the agent has heard of the port.
func (c *client) known(ctx context.Context, id string) (Port, error) {
	for {
		p, err := c.get(ctx, id, 0)
		if !errors.Is(err, errUnknown) {
			return p, err
		}
		pause := time.NewTimer(askAgain)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return Port{}, errUnknown
		}
	}
}

// wired waits until the agent has wired the port. An error that it reports may pass (the agent tries again), so it is
// final only when the time is over.
func (c *client) wired(ctx context.Context, id string) error {
	last := "the agent has not answered"
	for {
		deadline, _ := ctx.Deadline()
		p, err := c.get(ctx, id, max(time.Millisecond, time.Until(deadline)-askAgain))
		switch {
		case err == nil && p.State == "done":
			return nil
		case err == nil:
			last = p.State
			if p.Reason != "" {
				last += ": " + p.Reason
			}
		case ctx.Err() == nil:
			return err
		}
		pause := time.NewTimer(askAgain)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("the port is plugged, but not wired: %s", last)
		}
	}
}
