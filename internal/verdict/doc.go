// Package verdict is the policy of security groups and port security as one plain function: given the objects of the
// API and a packet, Decide says whether the packet passes, and by which rule or check.
//
// It knows nothing of documents, hosts and nftables, and is written for being obviously right, not for being fast.
// The filters of the hosts are held against it, and a trace of a packet explains itself by it. This page is the
// definition; the code is the same in Go: read packet.go for what a packet is, then decide.go, and tracking.go for
// connections.
//
// # Which ports are filtered
//
// A port is filtered unless port_security_enabled is false or its device owner begins with "network:" (DHCP servers,
// routers). A port that is not filtered sends and gets everything: reason "unfiltered". A frame from one port to
// another passes if the sender's egress lets it out and the receiver's ingress lets it in. A frame that comes from
// outside (a router, another host, where it has been through egress already) has no sender here and meets ingress
// only. Broadcasts and multicasts are decided for each receiver.
//
// # Identities
//
// A port may use the identities (MAC, block of addresses):
//   - its own MAC with each of its fixed addresses;
//   - the MAC of each allowed address pair with the block of that pair, host bits masked;
//   - its own MAC, and the MAC of each pair, with the IPv6 link-local address made of that MAC (RFC 4291, appendix
//     A), whether or not it has other IPv6 addresses.
//
// They are pairs: the MAC of one with the address of another is a lie. No block has the unspecified addresses, 0.0.0.0
// and ::, in it. A port without fixed addresses has what is left: its link-local address, and its pairs.
//
// # Egress: what the workload sends
//
// The checks come in this order, the first that decides ends it. All of them are about every packet, whether or not
// it belongs to a connection.
//
//  1. vlan-tag: a frame with an 802.1Q or 802.1ad tag is dropped.
//  2. source-mac: the source MAC is that of an identity, or the frame is dropped.
//  3. ethertype: what is neither ARP, IPv4 nor IPv6 is dropped; so are 802.3 frames, which have a length in its
//     place.
//  4. ARP: it has the form of Ethernet and IPv4, and names as its sender the source MAC of the frame, together with
//     an address that is an identity with it. A probe (RFC 5227: a request whose sender address is 0.0.0.0) may go
//     out for a target that is an identity: asking so for the address of somebody else would keep him from taking it.
//     What is different is dropped, reason arp-sender; the rest passes, reason arp: no rule of a group is about ARP.
//  5. Packets without a source address, which a workload sends before it has one:
//     - IPv4: from 0.0.0.0 to 255.255.255.255, UDP from port 68 to 67, with the frame's source MAC as chaddr: passes,
//     reason dhcp-client.
//     - IPv6: from :: to ff02::/16, ICMPv6 type 131 or 143 (multicast listener reports): passes, reason
//     neighbour-discovery. Type 135 (solicitation, for the detection of duplicates) passes likewise if its target is
//     an identity with the source MAC; else it is dropped, reason nd-target.
//  6. source-address: the source address is an identity with the source MAC, or the packet is dropped.
//  7. What only the network itself says is dropped, whatever the rules allow: dhcp-server (UDP from port 67 to 68 in
//     IPv4, from 547 to 546 in IPv6) and router-advertisement (ICMPv6 type 134).
//  8. nd-target: a neighbour advertisement (ICMPv6 type 136) for a target that is no identity with the source MAC is
//     dropped (CVE-2021-20267). The target of a solicitation from an address of its own may be anybody.
//  9. What a workload always may: DHCP (UDP from port 68 to 67 in IPv4, with the frame's source MAC as chaddr; from
//     546 to 547 in IPv6), reason dhcp-client, and ICMPv6 types 130, 131, 132, 133, 135, 136 and 143, reason
//     neighbour-discovery. A DHCPv4 request with another chaddr is dropped, reason dhcp-client.
//  10. The rules of its groups, see below; direction egress, the other end is the destination.
//
// # Ingress: what the workload gets
//
//  1. vlan-tag and ethertype, as above. ARP passes.
//  2. What always may come: ICMPv6 types 130 (multicast listener query), 135 and 136, and 134 (router advertisement)
//     to ports that have a fixed IPv6 address; reason neighbour-discovery. DHCP answers, reason dhcp-server: UDP from
//     port 67 to 68 to a fixed address of the port or 255.255.255.255, and from 547 to 546 to a fixed address of the
//     port or fe80::/64.
//  3. The rules of its groups, see below; direction ingress, the other end is the source.
//
// # Rules
//
// The groups of a port are either all stateful or all stateless; a port without groups counts as stateful, and only
// lets through what is said above.
//
//   - Where they are stateful, a packet that belongs to a connection (established), or is an ICMP error about one
//     (related), passes; both are decided by the reason "established". A packet begins no connection by passing one
//     of the checks only: it has to pass all that it meets on the host.
//   - A packet that a rule of any of the groups matches passes, and the reason names the rule. That holds for packets
//     that the tracking of connections finds invalid, too, as in Neutron.
//   - All else is dropped, reason no-rule.
//
// A rule matches by its direction, its IP version, and each of these that it has:
//   - protocol: that of the upper layer, behind the extension headers of IPv6, so that the numbers of extension
//     headers (43, 44, 60) match nothing; 0, as "ip" and "hopopt", is no condition. In IPv6, "icmp" is ICMPv6.
//   - ports: of TCP, UDP, UDP-Lite, SCTP and DCCP, the destination port is in the range.
//   - for ICMP and ICMPv6, the port range is the type, and the code if there is one.
//   - remote_ip_prefix, host bits masked: the other end is in it.
//   - remote_group_id: the other end is in the set of the group, which has, for each port in that group with at least
//     one fixed address, its fixed addresses and the blocks of its pairs: whether or not the port is bound, filtered,
//     or on the same network.
//   - remote_address_group_id: the other end is in a block of the address group.
//
// # Firewall groups
//
// What has passed so far, be it because the port is not filtered, meets the firewall group of the port, if it is a port of a
// server and the group has a policy or is switched off: both have to let it pass. Here, too, egress is what the workload
// sends. What is dropped has the reason "firewall".
//
//  1. ARP passes, and so does what a workload always may send, and get, as above: of DHCP whatever address it is about.
//  2. A group that is switched off drops all else; so do all groups what is neither IPv4 nor IPv6 or has a tag.
//  3. A packet of a connection passes, or about one, whatever its security groups are.
//  4. The first rule of the direction's policy that matches and is enabled decides; deny and reject drop. A rule matches by
//     its IP version, the protocol, source and destination, and the ports of both, as above.
//  5. What no rule matches is dropped, and so is everything where the group has no policy for the direction.
//
// On the legs of routers, which are no filtered ports, the firewall is about what is forwarded: see package agent/l3. There
// packets that the tracking of connections finds invalid are dropped, and who sends what is rejected is told.
//
// Of distributed routers no part sees the whole of a connection. So the group of an interface has its say at the ports of the
// network's workloads, of servers or not, about what these send to the interface or get from it: frames to, or from, its MAC,
// that of the central part beside it, or one of the form that it has on other hosts (4a:…) unless it is known to be that of
// another router's interface. It has none about what is from, or to, the router's own addresses in the network, link-local
// addresses and 169.254.0.0/16, to which nothing is routed. What it decides, it decides as above.
//
// # When the objects change
//
// A connection goes on while its first packet would pass if it were sent now. Otherwise it is cut: its packets are
// decided one by one, like those of no connection, until its first packet would pass again. A port without port security
// may use any address: of its connections, only those by its fixed addresses are cut. That a connection is routed is taken
// from the address of its other end, which is in no block of the network's subnets.
//
// # Fragments
//
// A fragmented datagram is decided as the whole that it makes: no part of it arrives unless the whole may pass, and
// none of one whose parts are not all there, or whose first part does not have all headers (RFC 8200, section 4.5).
// Parts of IPv6 that are all shorter than its least MTU, 1280 bytes, may be lost: kernels that track connections in the
// bridge do not make such. Behind the header of the fragment, destination options may make a datagram be lost, too: such a
// kernel puts the parts together and takes them apart as if the options were to be in each of them, and gives up where a
// later part then has no room, because it is as long as the first. (Linux itself, as a sender, has the options before the
// header of the fragment, in each part. The connection has begun all the same.) Every part of a packet from :: has to say that it is one of ICMPv6, which it does not behind
// destination options.
//
// # Where it differs from Neutron's iptables driver
//
// The definition follows that driver, which filters behind a bridge as Neutrino does. It is stricter where the driver
// leaves holes: a port without any IPv6 address could send IPv6 from any, one without any address everything;
// duplicate address detection and ARP probes could be about anybody's address; ARP mixed the MACs and the addresses
// of pairs; a DHCP request could name another client; and ICMPv6 of all types went out without a rule (here as in
// Neutron's Open vSwitch driver, echo requests need one).
package verdict
