package tour

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/neutrino-net/neutrino/internal/lab"
)

// spot is where a web server or its client is: a network namespace of a host, or the host itself.
type spot struct{ host, namespace string }

// inside is the spot of a workload.
func inside(w *workload) spot { return spot{w.host, w.name} }

// command is what a user would type to run a command there.
func (s spot) command(t *tour, text string) string {
	prefix := fmt.Sprintf("neutrino lab exec%s %s -- ", t.nameFlag(), s.host)
	if s.namespace != "" {
		prefix += "ip netns exec " + s.namespace + " "
	}
	return prefix + text
}

// do runs fn there, on a thread of its own. Sockets that it opens stay there.
func (s spot) do(l *lab.Lab, fn func() error) error {
	host, err := l.Host(s.host)
	if err != nil {
		return err
	}
	if s.namespace == "" {
		return host.Do(fn)
	}
	return host.DoIn(s.namespace, fn)
}

// webPort is where the web servers of the tour listen.
const webPort = "80"

// serveWeb runs a web server there, which tells each client where it is and from which address the client has come. It
// ends when stop is called.
func (t *tour) serveWeb(ctx context.Context, s spot, name string) (stop func(), err error) {
	var listener net.Listener
	err = s.do(t.lab, func() (err error) {
		listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("", webPort))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("serving the web on %s: %w", s.host, err)
	}
	server := &http.Server{
		ReadHeaderTimeout: patience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			client, _, _ := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprintf(w, "this is %s, and you are %s", name, client)
		}),
	}
	ended := make(chan struct{})
	go func() {
		_ = server.Serve(listener) // ends with Close
		close(ended)
	}()
	return func() {
		_ = server.Close()
		<-ended
	}, nil
}

// fetch gets a page from there.
func (t *tour) fetch(ctx context.Context, s spot, address string) (page string, err error) {
	// An attempt is short: one that is made before the way is open waits for nothing.
	client := &http.Client{Timeout: 250 * time.Millisecond, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = s.do(t.lab, func() (err error) {
				conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	return strings.TrimSpace(string(text)), err
}

// curl shows what a user would type to get a page, gets it, and expects it to end with the words.
func (t *tour) curl(ctx context.Context, from spot, address, words string) error {
	t.typed("%s", from.command(t, "curl http://"+address+"/"))
	var page string
	expected := fmt.Sprintf("a page from %s that says %q", address, words)
	err := eventually(ctx, from.host, expected, func(ctx context.Context) (err error) {
		if page, err = t.fetch(ctx, from, address); err == nil && !strings.HasSuffix(page, words) {
			err = errors.New(page)
		}
		return err
	})
	if err == nil {
		t.say("%s", page)
	}
	return err
}
