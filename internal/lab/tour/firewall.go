package tour

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/neutrino-net/neutrino/internal/lab/cloud"
)

// Echo requests of this step, apart from those of the others.
const (
	firstOfFirewall  = 3000
	firewallInterval = 5 * time.Millisecond
)

// firewall takes the second workload out of the default group, whose members reach each other, and lets pings in again
// by a rule.
func firewall(ctx context.Context, t *tour) error {
	from, to := t.workloads[0], t.workloads[1]
	p, err := t.pinger()
	if err != nil {
		return err
	}
	defer p.close()

	name := "quiet" + t.suffix
	t.typed("openstack security group create %s", name)
	group, err := t.demo.CreateSecurityGroup(ctx, cloud.SecurityGroup{Name: name})
	if err != nil {
		return err
	}
	t.typed("openstack port set --no-security-group --security-group %s %s", name, to.name)
	took, err := t.untilSilent(ctx, p, func() error { return t.demo.SetSecurityGroups(ctx, to.port.ID, group.ID) })
	if err != nil {
		return err
	}
	t.say("%s no longer answers %s, %s after the command: who only sends, as %s does, gets nothing but answers",
		to.name, from.name, took, name)

	t.typed("openstack security group rule create --protocol icmp %s", name)
	began := time.Now()
	err = t.demo.CreateSecurityGroupRule(ctx, cloud.SecurityGroupRule{GroupID: group.ID, Direction: "ingress", Protocol: "icmp"})
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answered, err := p.firstReply(waiting, 2*firstOfFirewall, firewallInterval)
	if err != nil {
		return &failure{expected: fmt.Sprintf("%s to answer within %s", to.name, patience), seen: err.Error(), host: to.host}
	}
	t.say("%s answers again, %s after the command", to.name, short(answered.Sub(began)))

	group, err = t.defaultGroup(ctx)
	if err != nil {
		return err
	}
	t.typed("openstack port set --no-security-group --security-group default %s", to.name)
	return t.demo.SetSecurityGroups(ctx, to.port.ID, group.ID)
}

// untilSilent makes a change, and pings until there is no answer any more. It says how long that took.
func (t *tour) untilSilent(ctx context.Context, p *pinger, change func() error) (took string, err error) {
	began := time.Now()
	if err := change(); err != nil {
		return "", err
	}
	seq := uint16(firstOfFirewall)
	to := t.workloads[1]
	err = eventually(ctx, to.host, to.name+" to be silent", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 20*firewallInterval)
		defer cancel()
		asked := time.Now()
		_, err := p.firstReply(ctx, seq, firewallInterval)
		seq += 100
		if err != nil {
			took = short(asked.Sub(began))
			return nil
		}
		return errors.New("an answer")
	})
	return took, err
}

// defaultGroup is the group that a port gets which asks for none.
func (t *tour) defaultGroup(ctx context.Context) (cloud.SecurityGroup, error) {
	groups, err := t.demo.SecurityGroups(ctx, map[string]string{"name": "default", "project_id": t.demo.ProjectID()})
	if err == nil && len(groups) != 1 {
		err = &failure{expected: "one security group default of the project", seen: fmt.Sprint(len(groups))}
	}
	if err != nil {
		return cloud.SecurityGroup{}, err
	}
	return groups[0], nil
}
