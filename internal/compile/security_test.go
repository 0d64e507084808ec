package compile_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/neutrino-net/neutrino/internal/compile"
	"github.com/neutrino-net/neutrino/internal/model"
	"github.com/neutrino-net/neutrino/internal/state"
	sb "github.com/neutrino-net/neutrino/proto/southbound/v1"
)

const (
	frontID  = "aaaaaaaa-0000-4000-8000-000000000000"
	backID   = "bbbbbbbb-0000-4000-8000-000000000000"
	officeID = "cccccccc-0000-4000-8000-000000000000"
)

// filtered is the example with filters: web on compute1 has the group front, db on compute2 the group back, which is
// open to front and to the blocks of office.
func filtered(tx *state.Tx) {
	example(tx)
	web, db := examplePort(webID, "compute1", "10.0.0.3", "compute:nova"), examplePort(dbID, "compute2", "10.0.0.4", "")
	web.PortSecurityEnabled, db.PortSecurityEnabled = true, true
	web.SecurityGroupIDs, db.SecurityGroupIDs = []string{frontID}, []string{backID}
	web.AllowedAddressPairs = []model.AddressPair{{IP: netip.MustParsePrefix("10.9.0.77/24"), MAC: "00:00:5e:00:01:07"}}
	state.Ports.Put(tx, web)
	state.Ports.Put(tx, db)
	state.SecurityGroups.Put(tx, &model.SecurityGroup{Meta: model.Meta{ID: frontID}, Stateful: true})
	state.SecurityGroups.Put(tx, &model.SecurityGroup{Meta: model.Meta{ID: backID}, Stateful: true})
	put := func(id string, change func(*model.SecurityGroupRule)) {
		r := &model.SecurityGroupRule{
			Meta: model.Meta{ID: id}, GroupID: backID, Direction: model.Ingress, EtherType: model.IPv4,
		}
		change(r)
		state.SecurityGroupRules.Put(tx, r)
	}
	put("1-front", func(r *model.SecurityGroupRule) { r.RemoteGroupID = frontID })
	put("2-office", func(r *model.SecurityGroupRule) { r.RemoteAddressGroupID = officeID })
	state.AddressGroups.Put(tx, &model.AddressGroup{
		Meta:      model.Meta{ID: officeID},
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
	})
}

func TestSecurityDocumentsOfAHost(t *testing.T) {
	r := update(t, newStore(t), filtered).Snapshot
	c := compile.New(compile.Options{})
	member := func(set, member string, prefixes ...string) *sb.Document {
		return &sb.Document{Key: "set-member/" + set + "/" + member, Body: &sb.Document_SetMember{SetMember: &sb.SetMember{
			Set: set, Member: member, Prefixes: prefixes,
		}}}
	}
	want := []*sb.Document{
		{Key: "security-group/" + backID, Body: &sb.Document_SecurityGroup{SecurityGroup: &sb.SecurityGroup{
			GroupId: backID, Stateful: true, Rules: []*sb.SecurityGroupRule{
				{RuleId: "1-front", IpVersion: 4, RemoteSet: "group:" + frontID},
				{RuleId: "2-office", IpVersion: 4, RemoteSet: "addresses:" + officeID},
			},
		}}},
		member("addresses:"+officeID, "192.0.2.0/24", "192.0.2.0/24"),
		member("addresses:"+officeID, "2001:db8::/32", "2001:db8::/32"),
		member("group:"+frontID, webID, "10.0.0.3/32", "10.9.0.0/24"),
	}
	if diff := cmp.Diff(want, securityDocuments(c, r, "compute2"), protocmp.Transform(), ignoreHash); diff != "" {
		t.Errorf("compute2:\n%s", diff)
	}
	// compute1 has the group front, whose rules refer to nobody.
	if got := securityDocuments(c, r, "compute1"); len(got) != 1 || got[0].GetSecurityGroup().GetGroupId() != frontID {
		t.Errorf("compute1: %v", got)
	}
	got := c.Document(r, "compute1", "port/"+webID).GetPort()
	wantPort := &sb.Port{
		PortSecurity: true, SecurityGroups: []string{frontID},
		AddressPairs: []*sb.AddressPair{{Mac: "00:00:5e:00:01:07", Prefix: "10.9.0.0/24"}},
	}
	seen := &sb.Port{PortSecurity: got.PortSecurity, SecurityGroups: got.SecurityGroups, AddressPairs: got.AddressPairs}
	if diff := cmp.Diff(wantPort, seen, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

var ignoreHash = protocmp.IgnoreFields(&sb.Document{}, "hash")

// securityDocuments are the groups and members of the host, sorted by key.
func securityDocuments(c *compile.Compiler, r state.Reader, host string) []*sb.Document {
	documents := slices.Collect(c.Documents(r, host))
	documents = slices.DeleteFunc(documents, func(d *sb.Document) bool {
		return d.GetSecurityGroup() == nil && d.GetSetMember() == nil
	})
	slices.SortFunc(documents, func(a, b *sb.Document) int { return strings.Compare(a.Key, b.Key) })
	return documents
}

// TestNoSecurityDocument lists what a host must not be told.
func TestNoSecurityDocument(t *testing.T) {
	r := update(t, newStore(t), func(tx *state.Tx) {
		filtered(tx)
		// A port that is not filtered brings no group to its host, nor does one of the network itself.
		open := examplePort("44444444-0000-4000-8000-000000000000", "compute3", "10.0.0.5", "")
		open.SecurityGroupIDs = []string{backID}
		state.Ports.Put(tx, open)
		dhcp := examplePort(dhcpID, "compute3", "10.0.0.2", model.DeviceOwnerDHCP)
		dhcp.PortSecurityEnabled, dhcp.SecurityGroupIDs = true, []string{backID}
		state.Ports.Put(tx, dhcp)
		bare := examplePort("55555555-0000-4000-8000-000000000000", "compute1", "10.0.0.6", "")
		bare.FixedIPs, bare.SecurityGroupIDs = nil, []string{frontID}
		bare.AllowedAddressPairs = []model.AddressPair{{IP: netip.MustParsePrefix("10.9.0.0/24"), MAC: bare.MAC}}
		state.Ports.Put(tx, bare)
	}).Snapshot
	c := compile.New(compile.Options{})
	for _, tc := range []struct{ name, host, key string }{
		{"a group of another host", "compute1", "security-group/" + backID},
		{"a group of ports that are not filtered", "compute3", "security-group/" + backID},
		{"a set of theirs", "compute3", "set-member/group:" + frontID + "/" + webID},
		{"a set that none of its rules refers to", "compute1", "set-member/group:" + frontID + "/" + webID},
		{"a port as a member of another set", "compute2", "set-member/group:" + frontID + "/" + dbID},
		{"a port without addresses as a member", "compute2", "set-member/group:" + frontID + "/55555555-0000-4000-8000-000000000000"},
		{"a block that is not in the list", "compute2", "set-member/addresses:" + officeID + "/192.0.3.0/24"},
		{"a block in another spelling", "compute2", "set-member/addresses:" + officeID + "/2001:DB8::/32"},
		{"a part of a block", "compute2", "set-member/addresses:" + officeID + "/192.0.2.0/25"},
		{"no member", "compute2", "set-member/group:" + frontID},
		{"an unknown set", "compute2", "set-member/others:" + frontID + "/" + webID},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := c.Document(r, tc.host, tc.key); d != nil {
				t.Errorf("host %s has %v", tc.host, d)
			}
		})
	}
}

func TestSecurityGroupRuleIsNormalised(t *testing.T) {
	number := func(n int) *int { return &n }
	for _, tc := range []struct {
		name string
		rule model.SecurityGroupRule
		want *sb.SecurityGroupRule // nil: the rule is left out
	}{
		{"anything", model.SecurityGroupRule{}, &sb.SecurityGroupRule{}},
		{"egress", model.SecurityGroupRule{Direction: model.Egress}, &sb.SecurityGroupRule{Egress: true}},
		{"a name", model.SecurityGroupRule{Protocol: "vrrp"}, &sb.SecurityGroupRule{Protocol: proto.Uint32(112)}},
		{"any protocol", model.SecurityGroupRule{Protocol: "0"}, &sb.SecurityGroupRule{}},
		{"a range", model.SecurityGroupRule{Protocol: "tcp", PortMin: number(80), PortMax: number(81)},
			&sb.SecurityGroupRule{Protocol: proto.Uint32(6), PortMin: proto.Uint32(80), PortMax: proto.Uint32(81)}},
		{"type 0", model.SecurityGroupRule{Protocol: "icmp", PortMin: number(0)},
			&sb.SecurityGroupRule{Protocol: proto.Uint32(1), PortMin: proto.Uint32(0)}},
		{"type and code", model.SecurityGroupRule{Protocol: "1", PortMin: number(3), PortMax: number(0)},
			&sb.SecurityGroupRule{Protocol: proto.Uint32(1), PortMin: proto.Uint32(3), PortMax: proto.Uint32(0)}},
		{"ICMP of IPv6", model.SecurityGroupRule{EtherType: model.IPv6, Protocol: "icmp"},
			&sb.SecurityGroupRule{IpVersion: 6, Protocol: proto.Uint32(58)}},
		{"host bits", model.SecurityGroupRule{RemotePrefix: netip.MustParsePrefix("10.1.2.3/8")},
			&sb.SecurityGroupRule{RemotePrefix: "10.0.0.0/8"}},
		{"everywhere", model.SecurityGroupRule{RemotePrefix: netip.MustParsePrefix("10.1.2.3/0")}, &sb.SecurityGroupRule{}},
		{"a group", model.SecurityGroupRule{RemoteGroupID: frontID}, &sb.SecurityGroupRule{RemoteSet: "group:" + frontID}},

		{"no protocol", model.SecurityGroupRule{Protocol: "nonsense"}, nil},
		{"an address of the other version", model.SecurityGroupRule{RemotePrefix: netip.MustParsePrefix("::1/128")}, nil},
		{"ports without a protocol", model.SecurityGroupRule{PortMin: number(1), PortMax: number(2)}, nil},
		{"ports where there are none", model.SecurityGroupRule{Protocol: "vrrp", PortMin: number(1), PortMax: number(2)}, nil},
		{"a range that ends before it begins", model.SecurityGroupRule{Protocol: "udp", PortMin: number(2), PortMax: number(1)}, nil},
		{"half a range", model.SecurityGroupRule{Protocol: "udp", PortMin: number(2)}, nil},
		{"no port", model.SecurityGroupRule{Protocol: "udp", PortMin: number(1), PortMax: number(65536)}, nil},
		{"no type", model.SecurityGroupRule{Protocol: "icmp", PortMin: number(256)}, nil},
		{"a code without a type", model.SecurityGroupRule{Protocol: "icmp", PortMax: number(1)}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := update(t, newStore(t), func(tx *state.Tx) {
				filtered(tx)
				for _, id := range []string{"1-front", "2-office"} {
					state.SecurityGroupRules.Delete(tx, id)
				}
				tc.rule.ID, tc.rule.GroupID = "rule", backID
				if tc.rule.EtherType == "" {
					tc.rule.EtherType = model.IPv4
				}
				if tc.rule.Direction == "" {
					tc.rule.Direction = model.Ingress
				}
				state.SecurityGroupRules.Put(tx, &tc.rule)
			}).Snapshot
			var want []*sb.SecurityGroupRule
			if tc.want != nil {
				tc.want.RuleId = "rule"
				if tc.want.IpVersion == 0 {
					tc.want.IpVersion = 4
				}
				want = append(want, tc.want)
			}
			got := compile.New(compile.Options{}).Document(r, "compute2", "security-group/"+backID).GetSecurityGroup()
			if diff := cmp.Diff(want, got.GetRules(), protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The cluster of the benchmarks: a group of 10,000 ports that refers to itself, on 100 hosts.
const (
	groupPorts = 10_000
	groupHosts = 100
)

func fillGroup(tb testing.TB) *state.Store {
	store := newStore(tb)
	for start := 0; start < groupPorts; start += 2000 {
		update(tb, store, func(tx *state.Tx) {
			for i := start; i < start+2000; i++ {
				state.Ports.Put(tx, groupPort(i))
			}
		})
	}
	update(tb, store, func(tx *state.Tx) {
		state.SecurityGroups.Put(tx, &model.SecurityGroup{Meta: model.Meta{ID: backID}, Stateful: true})
		for i, ethertype := range []model.EtherType{model.IPv4, model.IPv6} {
			state.SecurityGroupRules.Put(tx, &model.SecurityGroupRule{
				Meta: model.Meta{ID: fmt.Sprint(i)}, GroupID: backID, Direction: model.Ingress, EtherType: ethertype,
				RemoteGroupID: backID,
			})
		}
	})
	return store
}

// groupPort is the i-th port of the group. Each is on a network of its own, so that only the group is measured.
func groupPort(i int) *model.Port {
	id := fmt.Sprintf("%08d-0000-4000-8000-000000000000", i)
	p := examplePort(id, fmt.Sprintf("host-%03d", i%groupHosts), fmt.Sprintf("10.0.%d.%d", i>>8, i&255), "compute:nova")
	p.NetworkID, p.PortSecurityEnabled, p.SecurityGroupIDs = "net-"+id, true, []string{backID}
	return p
}

// sent computes what a commit sends to the hosts: documents, and the most bytes for one host.
func sent(c *compile.Compiler, commit *state.Commit) (documents, bytes int) {
	perHost := map[string]int{}
	for _, a := range c.Affected(commit) {
		if d := c.Document(commit.Snapshot, a.Host, a.Key); d != nil {
			documents++
			perHost[a.Host] += proto.Size(d)
			bytes = max(bytes, perHost[a.Host])
		}
	}
	return documents, bytes
}

// TestAMemberCostsADocumentAHost: whatever the number of members, a new one is one small document for each host.
func TestAMemberCostsADocumentAHost(t *testing.T) {
	store := fillGroup(t)
	c := compile.New(compile.Options{})
	commit := update(t, store, func(tx *state.Tx) { state.Ports.Put(tx, groupPort(groupPorts)) })
	// One more: the host of the port gets the port, too; its network does not exist, so not its document.
	if documents, bytes := sent(c, commit); documents != groupHosts || bytes > 1024 {
		t.Errorf("%d documents, %d bytes for a host", documents, bytes)
	}
	commit = update(t, store, func(tx *state.Tx) {
		state.SecurityGroupRules.Put(tx, &model.SecurityGroupRule{
			Meta: model.Meta{ID: "new"}, GroupID: backID, Direction: model.Ingress, EtherType: model.IPv4, Protocol: "tcp",
		})
	})
	if documents, bytes := sent(c, commit); documents != groupHosts || bytes > 1024 {
		t.Errorf("a rule: %d documents, %d bytes for a host", documents, bytes)
	}
}

// BenchmarkGroupMember measures what a port that joins a group of 10,000 costs the server: Affected and the documents of
// all 100 hosts.
func BenchmarkGroupMember(b *testing.B) {
	store := fillGroup(b)
	benchmarkCommit(b, update(b, store, func(tx *state.Tx) { state.Ports.Put(tx, groupPort(groupPorts)) }))
}

// BenchmarkGroupRule measures what a rule that is added to the group of all these ports costs the server.
func BenchmarkGroupRule(b *testing.B) {
	store := fillGroup(b)
	benchmarkCommit(b, update(b, store, func(tx *state.Tx) {
		state.SecurityGroupRules.Put(tx, &model.SecurityGroupRule{
			Meta: model.Meta{ID: "new"}, GroupID: backID, Direction: model.Ingress, EtherType: model.IPv4, Protocol: "tcp",
		})
	}))
}

func benchmarkCommit(b *testing.B, commit *state.Commit) {
	const bound = 10_000_000 // ns
	c := compile.New(compile.Options{})
	var documents, bytes int
	b.ReportAllocs()
	for b.Loop() {
		documents, bytes = sent(c, commit)
	}
	b.ReportMetric(float64(documents), "documents/op")
	b.ReportMetric(float64(bytes), "bytes/host")
	if each := b.Elapsed().Nanoseconds() / int64(b.N); each > bound || bytes > 1024 {
		b.Errorf("%d ns and %d bytes for a host, more than %d ns and 1024 bytes", each, bytes, bound)
	}
}
