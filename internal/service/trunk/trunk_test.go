package trunk_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/schema"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/service/trunk"
	"github.com/neutrino-net/neutrino/internal/state"
)

// yard is a network with ports to make trunks of.
type yard struct {
	*st.World
	t   *testing.T
	net *model.Network
}

func newYard(t *testing.T) *yard {
	w := st.New(t, st.Options{})
	return &yard{w, t, st.Must(w.CreateNetwork(st.Member, st.Body{}))(t)}
}

func (y *yard) port(b st.Body) string {
	y.t.Helper()
	if b["network_id"] == nil {
		b["network_id"] = y.net.ID
	}
	return st.Must(y.CreatePort(st.Member, b))(y.t).ID
}

// vlan is a subport with a tag.
func vlan(port string, tag int) model.SubPort {
	return model.SubPort{PortID: port, SegmentationType: "vlan", SegmentationID: tag}
}

func inherit(port string) model.SubPort {
	return model.SubPort{PortID: port, SegmentationType: "inherit"}
}

func (y *yard) create(c *auth.Caller, parent string, subPorts ...model.SubPort) (*model.Trunk, error) {
	t := &model.Trunk{Meta: model.Meta{ID: uuid.NewString(), ProjectID: c.ProjectID}, AdminStateUp: true, PortID: parent, SubPorts: subPorts}
	err := y.Update(func(tx *state.Tx) error { return trunk.Rules{}.Create(tx, c, t.Clone(), schema.Given{}) })
	if err != nil {
		return nil, err
	}
	t, _ = state.Trunks.Get(y.Store.Read(), t.ID)
	return t, nil
}

func (y *yard) add(t *model.Trunk, subPorts ...model.SubPort) (now *model.Trunk, err error) {
	err = y.Update(func(tx *state.Tx) error {
		old, _ := state.Trunks.Get(tx, t.ID)
		now, err = trunk.Rules{}.AddSubPorts(tx, st.Member, old, subPorts)
		return err
	})
	return now, err
}

func (y *yard) remove(t *model.Trunk, ports ...string) (now *model.Trunk, err error) {
	err = y.Update(func(tx *state.Tx) error {
		old, _ := state.Trunks.Get(tx, t.ID)
		var gone []model.SubPort
		for _, p := range ports {
			gone = append(gone, model.SubPort{PortID: p})
		}
		now, err = trunk.Rules{}.RemoveSubPorts(tx, old, gone)
		return err
	})
	return now, err
}

func TestTrunkGrowsAndShrinks(t *testing.T) {
	y := newYard(t)
	a, b, c := y.port(st.Body{}), y.port(st.Body{}), y.port(st.Body{})
	tr := st.Must(y.create(st.Member, a, vlan(b, 7)))(t)
	if tr.Status != model.PortDown || len(tr.SubPorts) != 1 {
		t.Fatalf("%+v", tr)
	}
	tr = st.Must(y.add(tr, vlan(c, 8)))(t)
	if want := []model.SubPort{vlan(b, 7), vlan(c, 8)}; fmt.Sprint(tr.SubPorts) != fmt.Sprint(want) {
		t.Fatal(tr.SubPorts)
	}
	tr = st.Must(y.remove(tr, b))(t)
	tr = st.Must(y.add(tr, vlan(b, 9)))(t)
	if want := []model.SubPort{vlan(c, 8), vlan(b, 9)}; fmt.Sprint(tr.SubPorts) != fmt.Sprint(want) {
		t.Fatal(tr.SubPorts)
	}
	st.WantFault(t, y.DeletePort(st.Member, a), fault.Conflict, "PortInUseAsTrunkParent")
	st.WantFault(t, y.DeletePort(st.Member, b), fault.Conflict, "PortInUseAsSubPort")
	st.Must(0, y.Update(func(tx *state.Tx) error {
		now, _ := state.Trunks.Get(tx, tr.ID)
		return trunk.Rules{}.Delete(tx, st.Member, now)
	}))(t)
	st.Must(0, y.DeletePort(st.Member, a))(t)
	st.Must(0, y.DeletePort(st.Member, b))(t)
}

func TestWhatCannotBeTrunked(t *testing.T) {
	y := newYard(t)
	parent, sub, taken, free := y.port(st.Body{}), y.port(st.Body{}), y.port(st.Body{}), y.port(st.Body{})
	busy := y.port(st.Body{"device_id": "vm"})
	foreign := st.Must(y.CreatePort(st.Admin, st.Body{"network_id": y.net.ID, "project_id": "p2"}))(t).ID
	jumbo := st.Must(y.CreateNetwork(st.Member, st.Body{}))(t).Clone()
	jumbo.MTU = y.net.MTU + 1
	untagged := y.net.Clone()
	untagged.ID, untagged.Segments = uuid.NewString(), nil
	st.Must(0, y.Update(func(tx *state.Tx) error {
		state.Networks.Put(tx, jumbo)
		state.Networks.Put(tx, untagged)
		return nil
	}))(t)
	tall := y.port(st.Body{"network_id": jumbo.ID})
	odd := y.port(st.Body{"network_id": untagged.ID})
	st.Must(y.create(st.Member, parent, vlan(sub, 1)))(t)
	tr := st.Must(y.create(st.Member, taken))(t)
	nowhere := uuid.NewString()
	for _, c := range []struct {
		name   string
		parent string // "": add to the trunk tr
		subs   []model.SubPort
		kind   fault.Kind
		fault  string
	}{
		{"no parent", nowhere, nil, fault.NotFound, "PortNotFound"},
		{"a foreign parent", foreign, nil, fault.NotFound, "PortNotFound"},
		{"a parent again", parent, nil, fault.Conflict, "ParentPortInUse"},
		{"a subport as parent", sub, nil, fault.Conflict, "TrunkPortInUse"},
		{"itself", free, []model.SubPort{vlan(free, 2)}, fault.Conflict, "ParentPortInUse"},
		{"no port", "", []model.SubPort{vlan(nowhere, 2)}, fault.NotFound, "PortNotFound"},
		{"a foreign port", "", []model.SubPort{vlan(foreign, 2)}, fault.NotFound, "PortNotFound"},
		{"a subport twice", "", []model.SubPort{vlan(sub, 2)}, fault.Conflict, "TrunkPortInUse"},
		{"a parent as subport", "", []model.SubPort{vlan(parent, 2)}, fault.Conflict, "ParentPortInUse"},
		{"a port in use", "", []model.SubPort{vlan(busy, 2)}, fault.Conflict, "PortInUse"},
		{"a larger MTU", "", []model.SubPort{vlan(tall, 2)}, fault.Conflict, "SubPortMtuGreaterThanTrunkPortMtu"},
		{"no tag", "", []model.SubPort{{PortID: free}}, fault.Invalid, "InvalidInput"},
		{"another type", "", []model.SubPort{{PortID: free, SegmentationType: "gre", SegmentationID: 2}}, fault.Invalid, "InvalidInput"},
		{"a network without VLAN", "", []model.SubPort{inherit(free)}, fault.Invalid, "InvalidInput"},
		{"a network without segment", "", []model.SubPort{inherit(odd)}, fault.Invalid, "InvalidInput"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := y.Store.Read()
			var err error
			if c.parent == "" {
				_, err = y.add(tr, c.subs...)
			} else {
				_, err = y.create(st.Member, c.parent, c.subs...)
			}
			st.WantFault(t, err, c.kind, c.fault)
			if y.Store.Read() != before {
				t.Error("something has changed")
			}
		})
	}
	st.Must(y.add(tr, vlan(free, 5)))(t)
	_, err := y.add(tr, vlan(y.port(st.Body{}), 5))
	st.WantFault(t, err, fault.Conflict, "DuplicateSubPort")
	_, err = y.remove(tr, busy)
	st.WantFault(t, err, fault.NotFound, "SubPortNotFound")
}

func TestTagsAreInherited(t *testing.T) {
	y := newYard(t)
	n := st.Must(y.CreateNetwork(st.Member, st.Body{}))(t).Clone()
	n.Segments = []model.Segment{{ID: "s", NetworkType: model.TypeVLAN, PhysicalNetwork: "one", SegmentationID: 77}}
	st.Must(0, y.Update(func(tx *state.Tx) error { state.Networks.Put(tx, n); return nil }))(t)
	sub := y.port(st.Body{"network_id": n.ID})
	tr := st.Must(y.create(st.Member, y.port(st.Body{}), inherit(sub)))(t)
	if tr.SubPorts[0] != vlan(sub, 77) {
		t.Error(tr.SubPorts)
	}
}

func TestDisabledTrunksStayAsTheyAre(t *testing.T) {
	y := newYard(t)
	tr := st.Must(y.create(st.Member, y.port(st.Body{})))(t).Clone()
	tr.AdminStateUp = false
	st.Must(0, y.Update(func(tx *state.Tx) error { return trunk.Rules{}.Update(tx, st.Member, nil, tr, nil) }))(t)
	_, err := y.add(tr, vlan(y.port(st.Body{}), 5))
	st.WantFault(t, err, fault.Conflict, "TrunkDisabled")
	_, err = y.remove(tr)
	st.WantFault(t, err, fault.Conflict, "TrunkDisabled")
	err = y.Update(func(tx *state.Tx) error { return trunk.Rules{}.Delete(tx, st.Member, tr) })
	st.WantFault(t, err, fault.Conflict, "TrunkDisabled")
}
