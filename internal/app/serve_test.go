package app

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/netutil"
)

func TestConnectionsAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) })
	go func() { ended <- serveHTTP(netutil.LimitListener(l, 2), hello)(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	// ask sends a request on a connection of its own, and says whether it was answered in time.
	ask := func(patience time.Duration) (net.Conn, bool) {
		t.Helper()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		n, _ := conn.Read(make([]byte, 1024))
		return conn, n > 0
	}
	first, answered := ask(10 * time.Second)
	if !answered {
		t.Fatal("the first connection was not answered")
	}
	second, answered := ask(10 * time.Second)
	if !answered {
		t.Fatal("the second connection was not answered")
	}
	defer second.Close()
	third, answered := ask(100 * time.Millisecond)
	if answered {
		t.Error("a third connection was answered while two were open")
	}
	first.Close()
	_ = third.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := third.Read(make([]byte, 1024)); n == 0 {
		t.Errorf("when there was room, the third connection was not answered: %v", err)
	}
	third.Close()
}
