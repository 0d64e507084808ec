package verdict

import "net/netip"

// Connections is a model of the tracking of connections on one host, as far as verdicts depend on it: which packets
// have passed, so that their answers, and errors about them, are established. The zero value is ready. It is not for
// concurrent use.
//
// It is kept by network, since addresses of different networks have nothing to do with each other. It knows no time: a
// connection ends with the Connections.
type Connections struct{ flows map[flow]*progress }

// flow is a connection as its first packet saw it.
type flow struct {
	network     string
	source, to  netip.Addr
	protocol    uint8
	first, last uint16 // the ports, or the identifier of an echo and whether it asks or answers
}

type progress struct {
	first         *Packet
	answered, cut bool
}

// What stands for a port in the flow of an echo.
const (
	echoRequest = 1
	echoReply   = 2
)

// flowOf returns the flow that the packet would begin. It is not ok for what belongs to none: what is not IP or has a
// tag, neighbour discovery, and ICMP other than echoes.
func flowOf(network string, p *Packet) (f flow, ok bool) {
	if p.Tagged || p.EtherType != TypeIPv4 && p.EtherType != TypeIPv6 {
		return f, false
	}
	f = flow{network: network, source: p.SourceIP, to: p.DestinationIP, protocol: p.Protocol}
	switch {
	case hasPorts(p.Protocol):
		f.first, f.last = p.SourcePort, p.DestinationPort
	case p.Protocol == ProtoICMP || p.Protocol == ProtoICMPv6:
		request, reply := echoTypes(p)
		switch p.ICMPType {
		case request:
			f.first, f.last = p.ICMPID, echoRequest
		case reply:
			f.first, f.last = p.ICMPID, echoReply
		default:
			return f, false
		}
	}
	return f, true
}

// echoTypes are the types of the echo request and reply of the packet's IP version.
func echoTypes(p *Packet) (request, reply uint8) {
	if p.Protocol == ProtoICMP {
		return 8, 0
	}
	return 128, 129
}

func (f flow) answer() flow {
	f.source, f.to = f.to, f.source
	if f.protocol != ProtoICMP && f.protocol != ProtoICMPv6 {
		f.first, f.last = f.last, f.first
		return f
	}
	f.last = echoRequest + echoReply - f.last
	return f
}

// Established says whether the packet belongs to a connection that has passed before, in the direction of its answers
// or after an answer; or is an error about one, to who has sent the packet that it quotes.
func (c *Connections) Established(network string, p *Packet) bool {
	if p.About != nil {
		f, ok := flowOf(network, p.About)
		return ok && p.DestinationIP == p.About.SourceIP && (c.flows[f].alive() || c.flows[f.answer()].alive())
	}
	f, ok := flowOf(network, p)
	if !ok {
		return false
	}
	if began := c.flows[f]; began != nil {
		return began.answered && began.alive()
	}
	return c.flows[f.answer()].alive()
}

func (p *progress) alive() bool { return p != nil && !p.cut }

// Review cuts the connections whose first packet would not be permitted if it were sent now, and takes up those again
// that were cut and would be.
func (c *Connections) Review(permitted func(network string, first *Packet) bool) {
	for f, p := range c.flows {
		p.cut = !permitted(f.network, p.first)
	}
}

// Passed tells that the packet has passed everything that it met on the host.
func (c *Connections) Passed(network string, p *Packet) {
	f, ok := flowOf(network, p)
	if !ok || p.About != nil {
		return
	}
	if began := c.flows[f.answer()]; began != nil {
		began.answered = true
		return
	}
	if c.flows == nil {
		c.flows = map[flow]*progress{}
	}
	if c.flows[f] == nil && begins(p) {
		c.flows[f] = &progress{first: p}
	}
}

// begins says whether the packet can be the first of a connection. An echo reply cannot, nor an answer of TCP; but one
// in the midst of a connection, begun before its packets were looked at, can.
func begins(p *Packet) bool {
	switch p.Protocol {
	case ProtoICMP, ProtoICMPv6:
		request, _ := echoTypes(p)
		return p.ICMPType == request
	case ProtoTCP:
		flags := p.TCPFlags &^ FlagPSH
		return flags == FlagSYN || flags == FlagACK
	}
	return true
}
