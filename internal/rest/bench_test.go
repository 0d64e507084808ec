package rest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
)

// fillPorts puts ports of the project "a" into the state, a hundred on each network, a tenth of them bound.
func (f *fixture) fillPorts(n int) (networks []string) {
	f.t.Helper()
	for done := 0; done < n; {
		_, err := f.store.Update(f.t.Context(), func(tx *state.Tx) error {
			var network, subnet string
			for i := range min(2000, n-done) {
				if i%100 == 0 {
					network, subnet = tx.NewID(), tx.NewID()
					networks = append(networks, network)
					state.Networks.Put(tx, &model.Network{Meta: model.Meta{ID: network, ProjectID: "a"},
						Segments: []model.Segment{{NetworkType: model.TypeVXLAN, SegmentationID: 1 + done + i}}})
				}
				p := &model.Port{
					Meta:      model.Meta{ID: tx.NewID(), ProjectID: "a", Name: fmt.Sprintf("port-%d", done+i)},
					NetworkID: network, AdminStateUp: true, MAC: fmt.Sprintf("fa:16:3e:%02x:%02x:%02x", i>>16, i>>8&255, i&255),
					FixedIPs: []model.FixedIP{{SubnetID: subnet, IP: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}},
					DeviceID: fmt.Sprintf("server-%d", (done+i)/10), DeviceOwner: "compute:nova", Status: model.PortDown,
					Binding: model.Binding{VNICType: "normal", VIFType: model.VIFUnbound}, PortSecurityEnabled: true,
				}
				if i%10 == 0 {
					p.Binding.Host, p.Binding.VIFType, p.Status = "compute1", model.VIFBridge, model.PortActive
				}
				state.Ports.Put(tx, p)
			}
			return nil
		})
		if err != nil {
			f.t.Fatal(err)
		}
		done += min(2000, n-done)
	}
	return networks
}

// discard is a ResponseWriter that only counts.
type discard struct {
	header http.Header
	status int
	bytes  int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { d.bytes += len(b); return len(b), nil }

func (f *fixture) get(b *testing.B, token, path string) {
	b.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("X-Auth-Token", token)
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		d := &discard{header: http.Header{}}
		f.handler.ServeHTTP(d, r)
		if d.status != 200 {
			b.Fatalf("status %d", d.status)
		}
		size = d.bytes
	}
	b.ReportMetric(float64(size), "bytes/answer")
}

func BenchmarkList(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		f := newFixture(b)
		f.fillPorts(n)
		for _, token := range []string{admin, alice} {
			b.Run(fmt.Sprintf("ports=%d/%s", n, token), func(b *testing.B) { f.get(b, token, "/v2.0/ports") })
		}
		b.Run(fmt.Sprintf("ports=%d/fields", n), func(b *testing.B) { f.get(b, alice, "/v2.0/ports?fields=id&fields=name") })
		b.Run(fmt.Sprintf("ports=%d/sorted", n), func(b *testing.B) {
			f.get(b, alice, "/v2.0/ports?sort_key=name&sort_dir=desc&limit=100")
		})
	}
}

func BenchmarkFilter(b *testing.B) {
	f := newFixture(b)
	networks := f.fillPorts(100_000)
	var ids []string
	for p := range state.Ports.All(f.store.Read()) {
		if ids = append(ids, p.ID); len(ids) == 10 {
			break
		}
	}
	for _, query := range []struct{ name, query string }{
		{"id", "id=" + strings.Join(ids, "&id=")},
		{"name", "name=port-4711"},
		{"device_id", "device_id=server-815"},
		{"network_id", "network_id=" + networks[7] + "&status=ACTIVE"},
		{"unindexed", "mac_address=fa:16:3e:00:00:07&limit=10"},
		{"page", "limit=10"},
	} {
		for _, token := range []string{admin, alice} {
			b.Run(query.name+"/"+token, func(b *testing.B) { f.get(b, token, "/v2.0/ports?"+query.query) })
		}
	}
	b.Run("show", func(b *testing.B) { f.get(b, alice, "/v2.0/ports/"+ids[0]) })
}

func BenchmarkCreate(b *testing.B) {
	f := newFixture(b)
	network := f.fillPorts(100)[0]
	body := `{"port":{"network_id":"` + network + `","name":"new","device_owner":"compute:nova",` +
		`"fixed_ips":[{"subnet_id":"` + unusedID + `"}]}}`
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("POST", "/v2.0/ports", strings.NewReader(body))
		r.Header.Set("X-Auth-Token", alice)
		d := &discard{header: http.Header{}}
		f.handler.ServeHTTP(d, r)
		if d.status != 201 {
			b.Fatalf("status %d", d.status)
		}
	}
}
