package e2e

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"
)

// BenchmarkFloatingIPToPacket: from the answer to POST /v2.0/floatingips to the first packet that comes back through the
// address from outside. Budget: p50 under 100 ms.
func BenchmarkFloatingIPToPacket(b *testing.B) {
	w := startRouted(b)
	vm := w.member(w.red, "vm", "compute1")
	w.reach(vm, w.member(w.red, "peer", "compute2"))
	w.echo(b, at(vm))
	var took []time.Duration
	for b.Loop() {
		f := w.floating(vm.ID)
		begin := time.Now()
		w.answered(out(), f.str("floating_ip_address"))
		took = append(took, time.Since(begin))
		b.StopTimer()
		w.s.Must(b, 204, "DELETE", "/floatingips/"+f.str("id"), nil, nil)
		b.StartTimer()
	}
	slices.Sort(took)
	p50 := float64(took[len(took)/2].Microseconds()) / 1000
	b.ReportMetric(p50, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	if p50 >= 100 {
		b.Errorf("the median is %.1f ms; the budget is 100 ms", p50)
	}
}

// echoPort is where echo listens.
const echoPort = 7

// echo sends back every datagram that comes to the port there, until the test ends.
func (w *world) echo(b *testing.B, p place) {
	var conn net.PacketConn
	err := w.within(p, func() (err error) {
		conn, err = net.ListenPacket("udp", fmt.Sprintf(":%d", echoPort))
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	go func() { // ends with the socket
		buffer := make([]byte, 64)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(buffer[:n], from) // one that is lost is sent again by the other side
		}
	}()
}

// answered sends a datagram from there every millisecond until one comes back from the address.
func (w *world) answered(from place, address string) {
	w.t.Helper()
	var conn net.Conn
	err := w.within(from, func() (err error) {
		conn, err = net.Dial("udp", net.JoinHostPort(address, strconv.Itoa(echoPort)))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	buffer := make([]byte, 64)
	for begin := time.Now(); time.Since(begin) < 10*time.Second; {
		// What the network says meanwhile (no such host, port closed) is no answer.
		_, _ = conn.Write([]byte("there?"))
		next := time.Now().Add(time.Millisecond)
		if err := conn.SetReadDeadline(next); err != nil {
			w.t.Fatal(err)
		}
		if _, err := conn.Read(buffer); err == nil {
			return
		}
		time.Sleep(time.Until(next)) //nolint:forbidigo // an error comes before the deadline
	}
	w.t.Fatalf("%s does not answer", address)
}
