package autotopology_test

import (
	"sync"
	"testing"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/service/autotopology"
	"github.com/neutrino-net/neutrino/internal/service/router"
	st "github.com/neutrino-net/neutrino/internal/service/servicetest"
	"github.com/neutrino-net/neutrino/internal/state"
)

func service(w *st.World) *autotopology.Service {
	routers := router.New(router.Options{Ports: w.Ports})
	return autotopology.New(autotopology.Options{
		Networks: w.Networks, Subnets: w.Subnets, Routers: routers,
		Attach: func(tx *state.Tx, c *auth.Caller, r *model.Router, id string) error {
			_, err := routers.AddInterface(tx, c, r, map[string]any{"subnet_id": id})
			return err
		},
		Detach: func(tx *state.Tx, c *auth.Caller, r *model.Router, id string) error {
			_, err := routers.RemoveInterface(tx, c, r, map[string]any{"subnet_id": id})
			return err
		},
		Take: func(*state.Tx, string, string, int) error { return nil },
	})
}

func get(w *st.World, s *autotopology.Service, project string) (id string, err error) {
	err = w.Update(func(tx *state.Tx) (err error) {
		id, err = s.Get(tx, &auth.Caller{ProjectID: project, Roles: []string{"member", "reader"}}, project)
		return err
	})
	return id, err
}

func TestTopologyNeedsAnExternalNetworkAndAPool(t *testing.T) {
	w := st.New(t, st.Options{})
	s := service(w)
	_, err := get(w, s, "p1")
	st.WantFault(t, err, fault.Conflict, "AutoAllocationFailure")
	n := st.Must(w.CreateNetwork(st.Admin, st.Body{"router:external": true, "is_default": true}))(t)
	st.Must(w.CreateSubnet(st.Admin, st.Body{"network_id": n.ID, "cidr": "203.0.113.0/24"}))(t)
	st.WantFault(t, autotopology.Check(w.Store.Read()), fault.Conflict, "AutoAllocationFailure")
	st.Must(w.CreateSubnetPool(st.Admin, st.Body{
		"prefixes": []any{"10.0.0.0/8"}, "default_prefixlen": 26, "shared": true, "is_default": true,
	}))(t)
	if err := autotopology.Check(w.Store.Read()); err != nil {
		t.Error(err)
	}
	_, err = w.CreateNetwork(st.Admin, st.Body{"router:external": true, "is_default": true})
	st.WantFault(t, err, fault.Conflict, "DefaultExternalNetworkExists")
}

func TestTopologyIsMadeOnceAndGoesWithAll(t *testing.T) {
	w := st.New(t, st.Options{})
	outside := st.Must(w.CreateNetwork(st.Admin, st.Body{"router:external": true, "is_default": true}))(t)
	st.Must(w.CreateSubnet(st.Admin, st.Body{"network_id": outside.ID, "cidr": "203.0.113.0/24"}))(t)
	for _, block := range []string{"10.0.0.0/8", "2001:db8::/48"} {
		st.Must(w.CreateSubnetPool(st.Admin, st.Body{
			"prefixes": []any{block}, "default_prefixlen": map[string]any{"10.0.0.0/8": 26, "2001:db8::/48": 64}[block],
			"shared": true, "is_default": true,
		}))(t)
	}
	s := service(w)
	const callers = 16
	var wg sync.WaitGroup
	ids, errs := make([]string, callers), make([]error, callers)
	for i := range callers {
		wg.Go(func() { ids[i], errs[i] = get(w, s, "p1") })
	}
	wg.Wait()
	for i := range callers {
		if errs[i] != nil || ids[i] != ids[0] {
			t.Fatalf("got %s, %v; another got %s", ids[i], errs[i], ids[0])
		}
	}
	r := w.Store.Read()
	n := w.Network(t, ids[0])
	if len(n.SubnetIDs) != 2 || n.ProjectID != "p1" || state.Routers.Len(r) != 1 || state.Networks.Len(r) != 2 {
		t.Errorf("%+v, %d routers, %d networks", n, state.Routers.Len(r), state.Networks.Len(r))
	}
	err := w.Update(func(tx *state.Tx) error { return s.Delete(tx, st.Member, "p1") })
	r = w.Store.Read()
	if err != nil || state.Routers.Len(r) != 0 || state.Networks.Len(r) != 1 || state.Ports.Len(r) != 0 ||
		state.AutoTopologies.Len(r) != 0 {
		t.Errorf("%v: %d routers, %d networks, %d ports", err, state.Routers.Len(r), state.Networks.Len(r), state.Ports.Len(r))
	}
	if again := st.Must(get(w, s, "p1"))(t); again == ids[0] {
		t.Error("the deleted network was answered")
	}
}
