package lab

import (
	"context"
	"fmt"

	"github.com/neutrino-net/neutrino/internal/lab/cloud"
)

// Status is what there is to see of a lab.
type Status struct {
	Record *Record
	Hosts  []HostStatus
	// Missing names namespaces that are gone; the lab is then beyond repair.
	Missing []string
	// Agents and Ports are what the API shows; Trouble says why it could not be asked.
	Agents   []cloud.Agent
	Networks []cloud.Network
	Ports    []cloud.Port
	Trouble  error
}

// HostStatus is what there is to see of one host.
type HostStatus struct {
	Spec
	Process Process
	// Running says that what is to run does; where nothing is, it is true.
	Running bool
	// Namespaces are the named network namespaces in the host: workloads, DHCP servers.
	Namespaces int
}

// Healthy says that everything which should be there is there.
func (s *Status) Healthy() bool {
	for _, h := range s.Hosts {
		if !h.Running || (len(h.Roles) > 0 && aliveAt(s.Agents, h.Name) < len(h.Roles)) {
			return false
		}
	}
	return s.Record.Complete && len(s.Missing) == 0 && s.Trouble == nil
}

// Status looks at the lab without changing anything. It returns nil when there is none.
func (l *Lab) Status(ctx context.Context) (*Status, error) {
	record, err := l.Load()
	if err != nil || record == nil {
		return nil, err
	}
	s := &Status{Record: record, Missing: l.missing()}
	for _, spec := range Topology() {
		name := agentName
		if spec.Server {
			name = serverName
		}
		h := HostStatus{Spec: spec, Running: spec.Outside}
		if p, ok := record.Process(spec.Name, name); ok {
			h.Process, h.Running = p, p.Alive()
		}
		h.Namespaces = len(namedNetworks(l.pin(spec.Name, "mnt")))
		s.Hosts = append(s.Hosts, h)
	}
	s.Trouble = s.ask(ctx)
	return s, nil
}

// ask fills in what the API knows.
func (s *Status) ask(ctx context.Context) error {
	client, err := cloud.Login(ctx, s.Record.CloudsFile(), "admin")
	if err != nil {
		return fmt.Errorf("the API cannot be asked: %w", err)
	}
	if s.Agents, err = client.Agents(ctx); err != nil {
		return err
	}
	if s.Networks, err = client.Networks(ctx, nil); err != nil {
		return err
	}
	s.Ports, err = client.Ports(ctx, nil)
	return err
}
