package parity

// Plane is what hosts do for an extension.
type Plane string

// The states of the data plane.
const (
	Works   Plane = "yes"     // hosts carry it out
	NotYet  Plane = "not yet" // hosts will have to, and do not
	Nothing Plane = "–"       // there is nothing to do for hosts
)

// Family is a group of extensions of which the same can be said.
type Family struct {
	Aliases []string
	Plane   Plane
	Note    string // what there is to add, in a few words
	// Tests prove it, each as the directory of the package, a dot, and the name.
	Tests []string
}

// Where the tests are.
const (
	rest    = "internal/rest."
	service = "internal/service/"
	l2      = "internal/agent/l2."
	l3      = "internal/agent/l3."
	dhcp    = "internal/agent/dhcp."
	filter  = "internal/agent/filter."
	e2e     = "test/e2e."
)

// missing are the extensions of Neutron that are not served, and why.
var missing = map[string]string{
	"dns-integration-domain-keywords": "domains with `<project_name>` or `<user_name>` in them need names that only the " +
		"identity service has, for a DNS service outside, to which nothing is published yet.",
	"port-mac-override": "it is about ports that are a whole physical device (`direct-physical`), which no host can wire yet.",
}

// Families are all extensions that are served.
func Families() []Family {
	return append(append(append(general(), networks()...), ports()...), append(routing(), services()...)...)
}

func general() []Family {
	return []Family{
		{
			Aliases: []string{"empty-string-filtering", "filter-validation", "ip-substring-filtering"},
			Plane:   Nothing, Tests: []string{rest + "TestFilters", rest + "TestQueriesThatAreRefused"},
		},
		{
			Aliases: []string{"pagination", "sorting"}, Plane: Nothing,
			Tests: []string{rest + "TestPagesCoverTheListOnceInBothDirections", rest + "TestSorting"},
		},
		{
			Aliases: []string{"project-id", "standard-attr-description", "standard-attr-revisions", "standard-attr-timestamp"},
			Plane:   Nothing, Tests: []string{rest + "TestCreateReadUpdateDelete", rest + "TestWhatCallersSee"},
		},
		{Aliases: []string{"standard-attr-tag"}, Plane: Nothing, Tests: []string{rest + "TestTags", rest + "TestBoundsOfTags"}},
		{Aliases: []string{"tag-ports-during-bulk-creation"}, Plane: Nothing, Tests: []string{rest + "TestPortsAreMadeWithTheirTags"}},
		{
			Aliases: []string{"revision-if-match"}, Plane: Nothing,
			Tests: []string{rest + "TestIfMatch", rest + "TestConcurrentUpdatesWithIfMatchLoseNothing"},
		},
		{
			Aliases: []string{"quotas", "quota-check-limit", "quota_details"}, Plane: Nothing,
			Tests: []string{rest + "TestQuotasAPI", rest + "TestOf64ClientsWithQuota100Exactly100Succeed"},
		},
		{
			Aliases: []string{
				"rbac-policies", "rbac-address-group", "rbac-address-scope", "rbac-security-groups", "rbac-subnetpool",
			},
			Plane: Nothing, Tests: []string{rest + "TestANetworkIsSharedWithWhomAPolicySays", rest + "TestProjectsAreIsolated"},
		},
		{
			Aliases: []string{"agent", "agent-resources-synced"}, Plane: Nothing,
			Tests: []string{rest + "TestAgentsShowWhatIsNotInTheState", service + "agent.TestAHostHasAnAgentForEachOfItsRoles"},
		},
		{
			Aliases: []string{"availability_zone", "availability_zone_filter", "network_availability_zone"}, Plane: Nothing,
			Tests: []string{service + "dhcp.TestServersAreInTheZonesThatTheNetworkAsksFor"},
		},
		{
			Aliases: []string{"flavors", "l3-flavors", "service-type"}, Plane: Nothing,
			Tests: []string{rest + "TestFlavorsAndServiceProfiles"},
		},
	}
}

func networks() []Family {
	return []Family{
		{
			Aliases: []string{"provider"}, Plane: Works, Note: "VXLAN, flat and local; not yet VLAN, GRE, Geneve",
			Tests: []string{l2 + "TestTwoHostsReachEachOtherAndTheThirdHearsNothing", l2 + "TestAFlatNetworkReachesThePhysicalOne"},
		},
		{
			Aliases: []string{"net-mtu", "net-mtu-writable"}, Plane: Works,
			Tests: []string{service + "network.TestNetworkGetsSegmentAndMTU", dhcp + "TestAWorkloadGetsAllThatTheSubnetSays"},
		},
		{
			Aliases: []string{
				"multi-provider", "segment", "standard-attr-segment", "subnet-segmentid-writable", "network-segment-range",
				"l2_adjacency",
			},
			Plane: Nothing, Note: "which segment a host reaches is decided when a port is bound",
			Tests: []string{
				service + "segment.TestSegmentsFollowTheNetwork", service + "segment.TestRangesDecideWhoGetsWhichID",
				service + "port.TestAddressesOfRoutedNetworksFollowTheHost",
			},
		},
		{
			Aliases: []string{"segments-peer-subnet-host-routes"}, Plane: Works, Note: "DHCP tells the routes",
			Tests: []string{service + "subnet.TestSubnetsOfRoutedNetworksHaveRoutesToEachOther"},
		},
		{Aliases: []string{"vlan-transparent"}, Plane: NotYet, Tests: []string{service + "network.TestNetworkUpdates"}},
		{
			Aliases: []string{"network-ip-availability"}, Plane: Nothing, Tests: []string{rest + "TestAddressesThatAreLeft"},
		},
		{
			Aliases: []string{"subnet_allocation", "default-subnetpools", "subnet_onboard", "subnetpool-prefix-ops"}, Plane: Nothing,
			Tests: []string{rest + "TestPoolsOverTheAPI", service + "subnetpool.TestSubnetsAreCarved"},
		},
		{
			Aliases: []string{"address-scope"}, Plane: Works,
			Tests: []string{service + "subnetpool.TestPoolsOfAScopeDoNotOverlap", l3 + "TestAddressScopes"},
		},
		{
			Aliases: []string{"subnet-service-types"}, Plane: Nothing,
			Tests: []string{service + "port.TestServiceTypesReserveSubnets"},
		},
		{
			Aliases: []string{"subnet-dns-publish-fixed-ip", "dns-domain-ports"}, Plane: NotYet,
			Note: "nothing is published in a DNS outside", Tests: []string{rest + "TestANewPortShowsAllThatPortsHave"},
		},
		{
			Aliases: []string{"dns-integration"}, Plane: Works, Note: "by DHCP; nothing is published in a DNS outside",
			Tests: []string{service + "port.TestNamesFitTheDomainOfTheCloud", dhcp + "TestAWorkloadGetsAllThatTheSubnetSays"},
		},
		{
			Aliases: []string{"dhcp_agent_scheduler"}, Plane: Works,
			Tests: []string{rest + "TestPlacementOfServices", service + "dhcp.TestServersAreSpreadOverTheHosts"},
		},
		{
			Aliases: []string{"auto-allocated-topology"}, Plane: Nothing, Note: "it is made of a network and a router",
			Tests: []string{service + "autotopology.TestTopologyIsMadeOnceAndGoesWithAll"},
		},
	}
}

func ports() []Family {
	return []Family{
		{
			Aliases: []string{"binding"}, Plane: Works,
			Tests: []string{service + "port.TestBindingFollowsTheHostAndHealsWhenItsAgentComes", l2 + "TestATapThatAppearsIsWiredAtOnce"},
		},
		{
			Aliases: []string{"binding-extended"}, Plane: Works,
			Tests: []string{rest + "TestNovaMigratesAPort", service + "port.TestLiveMigration"},
		},
		{
			Aliases: []string{"port-status-reason"}, Plane: Works, Tests: []string{service + "port.TestStatusIsWhatTheHostReports"},
		},
		{
			Aliases: []string{"extra_dhcp_opt"}, Plane: NotYet, Note: "the DHCP servers hand out what the subnet says",
			Tests: []string{service + "port.TestExtraDHCPOptionsAreMerged"},
		},
		{
			Aliases: []string{"allowed-address-pairs"}, Plane: Works,
			Tests: []string{filter + "TestAddressPairsAddToWhatAPortMayUse", l2 + "TestAnAddressThatMovesIsLearned"},
		},
		{
			Aliases: []string{"port-security"}, Plane: Works,
			Tests: []string{filter + "TestAWorkloadCannotPretend", filter + "TestPortSecurityCanBeLifted"},
		},
		{
			Aliases: []string{"security-group"}, Plane: Works,
			Tests: []string{filter + "TestOnlyWhatARuleAllowsArrives", filter + "TestAMemberOfARemoteGroupIsLetIn"},
		},
		{
			Aliases: []string{"stateful-security-group"}, Plane: Works,
			Tests: []string{filter + "TestStatelessGroupsNeedRulesForBothDirections"},
		},
		{
			Aliases: []string{"address-group", "security-groups-remote-address-group"}, Plane: Works,
			Tests: []string{rest + "TestAddressGroupsAreChangedByActions", "test/filter.TestKernelDecidesLikeTheDefinition"},
		},
		{
			Aliases: []string{
				"security-groups-normalized-cidr", "security-groups-rules-belongs-to-default-sg",
				"security-groups-shared-filtering", "port-security-groups-filtering",
			},
			Plane: Nothing, Tests: []string{rest + "TestSecurityGroupsShowTheirRules", rest + "TestPortsAreFoundByWhatTheyHave"},
		},
		{
			Aliases: []string{"data-plane-status", "ip_allocation"}, Plane: Nothing,
			Tests: []string{rest + "TestANewPortShowsAllThatPortsHave"},
		},
		{
			Aliases: []string{"port-mac-address-regenerate"}, Plane: Nothing, Tests: []string{service + "port.TestRegeneratedMAC"},
		},
		{
			Aliases: []string{
				"port-resource-request", "port-resource-request-groups", "port-device-profile", "port-numa-affinity-policy",
			},
			Plane: Nothing, Note: "it is for Nova", Tests: []string{service + "qos.TestWhatPortsAskOfTheirHost"},
		},
		{
			Aliases: []string{"uplink-status-propagation"}, Plane: NotYet, Note: "it is for SR-IOV",
			Tests: []string{rest + "TestANewPortShowsAllThatPortsHave"},
		},
		{
			Aliases: []string{"trunk", "trunk-details"}, Plane: NotYet,
			Tests: []string{rest + "TestTrunksOverTheAPI", service + "trunk.TestTrunkGrowsAndShrinks"},
		},
	}
}

func routing() []Family {
	return []Family{
		{
			Aliases: []string{"router", "external-net"}, Plane: Works,
			Tests: []string{rest + "TestRouterOverTheAPI", e2e + "TestWaysThroughARouter"},
		},
		{
			Aliases: []string{"ext-gw-mode"}, Plane: Works, Tests: []string{l3 + "TestWithoutSourceNATAddressesStay"},
		},
		{
			Aliases: []string{"extraroute", "extraroute-atomic"}, Plane: Works,
			Tests: []string{service + "router.TestExtraRoutes", l3 + "TestExtraRoutesLeadOnward"},
		},
		{
			Aliases: []string{"fip-port-details", "floatingip-pools"}, Plane: Nothing,
			Tests: []string{rest + "TestFloatingIPOverTheAPI", service + "floatingip.TestPoolsAreTheSubnetsOfExternalNetworks"},
		},
		{
			Aliases: []string{
				"floating-ip-port-forwarding", "floating-ip-port-forwarding-description", "floating-ip-port-forwarding-detail",
				"floating-ip-port-forwarding-port-ranges", "expose-port-forwarding-in-fip",
			},
			Plane: Works, Tests: []string{service + "floatingip.TestPortForwardings", l3 + "TestTrafficIsSeenFromTheRightAddress"},
		},
		{
			Aliases: []string{"l3-status-reason"}, Plane: Works, Tests: []string{l3 + "TestReasonsOfRouters"},
		},
		{
			Aliases: []string{"l3_agent_scheduler", "router_availability_zone"}, Plane: Works,
			Tests: []string{service + "l3.TestAnOperatorsChoiceStands", service + "l3.TestZonesAreAskedFor", e2e + "TestAnOperatorMovesARouter"},
		},
		{
			Aliases: []string{"router-admin-state-down-before-update", "l3-port-ip-change-not-allowed"}, Plane: Nothing,
			Tests: []string{
				service + "router.TestKindChangesOnlyWhileTheRouterIsDown", service + "router.TestInterfaceKeepsItsAddressAndRouter",
			},
		},
		{
			Aliases: []string{"l3-ha"}, Plane: Works, Note: "on hosts with a tunnel address and keepalived",
			Tests: []string{
				service + "l3.TestAHighlyAvailableRouterIsOnAllHostsOfItsGroup", service + "l3.TestAGroupChangesOneHostAtATime",
				rest + "TestHighlyAvailableRoutersShowTheRolesOfTheirHosts",
				"internal/agent/gateway.TestConnectionsSurviveTheDeathOfTheActiveHost",
			},
		},
		{
			Aliases: []string{"dvr"}, Plane: Works, Note: "not yet IPv6 address pairs from another host",
			Tests: []string{e2e + "TestWaysThroughADistributedRouter", service + "l3.TestADistributedRouterIsWhereItsWorkloadsAre"},
		},
		{
			Aliases: []string{"l3-conntrack-helper", "expose-l3-conntrack-helper"}, Plane: Works,
			Note: "where the kernel has the helper", Tests: []string{service + "router.TestConntrackHelpers", l3 + "TestTables"},
		},
		{
			Aliases: []string{"l3-ndp-proxy", "l3-ext-ndp-proxy"}, Plane: Works,
			Tests: []string{l3 + "TestSolicitationsForProxiedAddressesAreAnswered"},
		},
	}
}

func services() []Family {
	return []Family{
		{
			Aliases: []string{
				"qos", "qos-bw-limit-direction", "qos-bw-minimum-ingress", "qos-fip", "qos-gateway-ip", "qos-pps", "qos-pps-minimum",
			},
			Plane: NotYet, Tests: []string{rest + "TestQoSRulesAreChecked", rest + "TestQoSPolicyShowsItsRulesAndChangesWithThem"},
		},
		{
			Aliases: []string{
				"qos-default", "qos-port-network-policy", "qos-pps-minimum-rule-alias", "qos-rule-type-details",
				"qos-rule-type-filter", "qos-rules-alias",
			},
			Plane: Nothing,
			Tests: []string{
				rest + "TestQoSRulesByTheirIDsAlone", rest + "TestOneDefaultQoSPolicyOfAProject", rest + "TestQoSRuleTypes",
			},
		},
		{
			Aliases: []string{"logging"}, Plane: Works, Note: "`neutrino filter log` shows what a host has recorded",
			Tests: []string{
				rest + "TestLogsOfSecurityGroupsAndPorts", filter + "TestAcceptedAndDroppedConnectionsAreRecordedOnce",
				filter + "TestALogIsLimited",
			},
		},
		{
			Aliases: []string{"metering", "metering_source_and_destination_fields"}, Plane: NotYet,
			Tests: []string{rest + "TestMeteringLabelsAndTheirRules"},
		},
		{
			Aliases: []string{"fwaas_v2", "fwaas-status-reason", "standard-attr-fwaas-v2"}, Plane: Works,
			Note: "on routers and on ports of servers; at these, and of distributed routers, reject is deny; the default group has no ports but those put there",
			Tests: []string{
				rest + "TestRulesOfAFirewallPolicyAreInOrder", rest + "TestAFirewallGroupIsActiveOnlyWhenItsHostsSaySo",
				l3 + "TestTheFirstRuleOfAFirewallThatMatchesDecides", filter + "TestSecurityGroupAndFirewallHaveToAcceptBoth",
				"test/filter.TestKernelDecidesLikeTheDefinition", e2e + "TestFirewallGroupsAreInForceWhenTheySayTheyAre",
				e2e + "TestAFirewallOfADistributedRouterIsInForceOnAllHosts",
			},
		},
		{
			Aliases: []string{"local_ip"}, Plane: NotYet, Tests: []string{rest + "TestLocalIPsHoldAnAddressAndPortsAnswerForIt"},
		},
	}
}
