package schema

import (
	"maps"
	"net/http"
	"slices"
)

// Declaration is a Resource without the type of its objects: what those read who serve no objects but want to know all
// resources there are, as the API document, the command line and the parity page do.
type Declaration struct {
	Name, Plural, Kind string
	// Extension is the alias that brings the resource; empty for the core API.
	Extension  string
	Operations Operations
	Attributes []*Common
	// Virtual are the query parameters that are not attributes, in order.
	Virtual []string
	Tagged  bool
	// Path is the collection's path below /v2.0. Of a sub-collection it is what follows Below, a slash and the id of the
	// parent.
	Path     string
	Below    string
	Policy   string
	Quota    string
	ListOnly bool
	Actions  []Action
}

// Action declares what can be done with an object besides changing and deleting it, at a path below the object's:
// PUT /v2.0/routers/{id}/add_router_interface. The rules that do it are tied to it in package rest, by path and method.
type Action struct {
	// Name is the rest of the path. It may have wildcards, as in dhcp-networks/{network}.
	Name   string
	Method string // default: PUT
	// Body is what the request brings; nil: nothing. Wrapped says that it comes as {"router": {…}}.
	Body    *Shape
	Wrapped bool
	// Answer is what is answered. Where it is nil, Shows may be the name or plural of a resource, one object or a list of
	// which is answered; where that is empty, too, there is nothing to answer. Bare says that the object is answered as
	// {…} and not as {"trunk": {…}}.
	Answer *Shape
	Shows  string
	Bare   bool
	// Extension is the alias that brings the action; empty: that of the resource.
	Extension string
	Help      string // one line for the command line and the API document
}

// Collection is the path of the collection below /v2.0, with {parent} for the id of the parent where there is one.
func (d *Declaration) Collection() string {
	if d.Below != "" {
		return d.Below + "/{parent}" + d.Path
	}
	return d.Path
}

// Attribute returns the attribute of the name, or nil.
func (d *Declaration) Attribute(name string) *Common {
	i := slices.IndexFunc(d.Attributes, func(c *Common) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return d.Attributes[i]
}

// Body is what a client may give of an object when it creates or updates one.
func (d *Declaration) Body(op Op) Shape {
	access := map[Op]Access{Create: Post, Update: Put}[op]
	o := Shape{Type: "object"}
	for _, c := range d.Attributes {
		if c.Is(access) {
			o.Members = append(o.Members, Member{Name: c.Name, Shape: c.Shape, Required: c.Required && op == Create})
		}
	}
	return o
}

// View is what a client may see of an object; what it may not is left out.
func (d *Declaration) View() Shape {
	o := Shape{Type: "object"}
	for _, c := range d.Attributes {
		if !c.Is(Hidden) {
			o.Members = append(o.Members, may(c.Name, c.Shape))
		}
	}
	return o
}

// Declaration is the resource without its type.
func (r *Resource[T]) Declaration() *Declaration {
	d := &Declaration{
		Name: r.Name, Plural: r.Plural, Kind: r.Kind, Extension: r.Extension, Operations: r.Operations,
		Virtual: slices.Sorted(maps.Keys(r.Virtual)), Tagged: r.Tagged, Path: r.Path, Below: r.Below,
		Policy: r.Policy, Quota: r.Quota, ListOnly: r.ListOnly, Actions: slices.Clone(r.Actions),
	}
	for _, a := range r.Attributes {
		d.Attributes = append(d.Attributes, &a.Common)
	}
	for i := range d.Actions {
		if d.Actions[i].Method == "" {
			d.Actions[i].Method = http.MethodPut
		}
	}
	return d
}

// All are the declarations of all collections of the API, parents before what is below them. Bindings of ports are no
// collection of their own: they are actions of the port (see PortBinding).
func All() []*Declaration {
	var all []*Declaration
	for _, r := range []interface{ Declaration() *Declaration }{
		Network, Subnet, Port, Segment, SegmentRange, IPAvailability, AddressScope, SubnetPool,
		SecurityGroup, SecurityGroupRule, AddressGroup, RBACPolicy, Trunk,
		Router, ConntrackHelper, NDPProxy, FloatingIP, PortForwarding, FloatingIPPool,
		QoSPolicy, QoSBandwidthLimitRule, QoSDSCPMarkingRule, QoSMinimumBandwidthRule, QoSMinimumPacketRateRule,
		QoSPacketRateLimitRule, QoSBandwidthLimitAlias, QoSDSCPMarkingAlias, QoSMinimumBandwidthAlias,
		QoSMinimumPacketRateAlias, QoSRuleType,
		Agent, AvailabilityZone, Log, LoggableResource, Flavor, ServiceProfile, ServiceProvider,
		MeteringLabel, MeteringRule, LocalIP, LocalIPAssociation,
		FirewallRule, FirewallPolicy, FirewallGroup,
	} {
		all = append(all, r.Declaration())
	}
	return all
}
