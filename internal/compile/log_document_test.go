package compile_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/neutrino-net/neutrino/internal/compile"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

// The cast: the port web of compute1 belongs to blue and has its group front; the port db of compute2 belongs to red and
// has its group back, which blue shares with it in one of the cases.
func TestLogsOfAHost(t *testing.T) {
	const id = "99999999-0000-4000-8000-000000000000"
	for _, tc := range []struct {
		name  string
		log   model.Log
		share bool               // the port of red has the group of blue, too
		want  map[string]*sb.Log // by host
	}{
		{
			name: "a port", log: model.Log{Meta: model.Meta{ProjectID: "blue"}, TargetID: webID, Event: "ALL"},
			want: map[string]*sb.Log{"compute1": {ProjectId: "blue", Accept: true, Drop: true, PortId: webID}},
		},
		{
			name: "a group", log: model.Log{Meta: model.Meta{ProjectID: "blue"}, ResourceID: frontID, Event: "ACCEPT"},
			want: map[string]*sb.Log{"compute1": {ProjectId: "blue", Accept: true, SecurityGroup: frontID, OwnPorts: true}},
		},
		{
			name: "a group that another project has, too", share: true,
			log:  model.Log{Meta: model.Meta{ProjectID: "blue"}, ResourceID: frontID, Event: "DROP"},
			want: map[string]*sb.Log{"compute1": {ProjectId: "blue", Drop: true, SecurityGroup: frontID, OwnPorts: true}},
		},
		{
			name: "a group that another project has, too, for an administrator", share: true,
			log: model.Log{Meta: model.Meta{ProjectID: "admin"}, ResourceID: frontID, Event: "DROP"},
			want: map[string]*sb.Log{
				"compute1": {ProjectId: "admin", Drop: true, SecurityGroup: frontID},
				"compute2": {ProjectId: "admin", Drop: true, SecurityGroup: frontID},
			},
		},
		{
			name: "all of a project", log: model.Log{Meta: model.Meta{ProjectID: "red"}, Event: "DROP"},
			want: map[string]*sb.Log{"compute2": {ProjectId: "red", Drop: true, OwnPorts: true}},
		},
		{
			name: "a group that the port has not got",
			log:  model.Log{Meta: model.Meta{ProjectID: "admin"}, ResourceID: backID, TargetID: webID, Event: "ALL"},
		},
		{name: "a project without ports", log: model.Log{Meta: model.Meta{ProjectID: "admin"}, Event: "ALL"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			change := func(enabled bool) func(tx *state.Tx) {
				return func(tx *state.Tx) {
					l := tc.log
					l.ID, l.ResourceType, l.Enabled = id, model.LogSecurityGroup, enabled
					state.Logs.Put(tx, &l)
				}
			}
			store := newStore(t)
			c := compile.New(compile.Options{})
			update(t, store, func(tx *state.Tx) { twoProjects(tx, tc.share) })
			r := update(t, store, change(true)).Snapshot
			got := map[string]*sb.Log{}
			for _, host := range []string{"compute1", "compute2", "compute3"} {
				for d := range c.Documents(r, host) {
					if d.GetLog() != nil {
						got[host] = d.GetLog()
					}
				}
			}
			for _, l := range tc.want {
				l.LogId = id
			}
			if tc.want == nil {
				tc.want = map[string]*sb.Log{}
			}
			if diff := cmp.Diff(tc.want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
			off := update(t, store, change(false)).Snapshot
			for host := range tc.want {
				if d := c.Document(off, host, "log/"+id); d != nil {
					t.Errorf("when it is switched off, %s has %v", host, d)
				}
			}
		})
	}
}

func twoProjects(tx *state.Tx, share bool) {
	filtered(tx)
	owner := map[string]string{webID: "blue", dbID: "red"}
	for id, project := range owner {
		p, _ := state.Ports.Get(tx, id)
		p = p.Clone()
		if p.ProjectID = project; share && project == "red" {
			p.SecurityGroupIDs = append(p.SecurityGroupIDs, frontID)
		}
		state.Ports.Put(tx, p)
	}
	for id, project := range map[string]string{frontID: "blue", backID: "red"} {
		g, _ := state.SecurityGroups.Get(tx, id)
		g = g.Clone()
		g.ProjectID = project
		state.SecurityGroups.Put(tx, g)
	}
}
