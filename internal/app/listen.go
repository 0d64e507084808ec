package app

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// inherited returns the listening sockets that the starter of this process handed over by the protocol of systemd's
// socket activation (sd_listen_fds(3)), by their names. The environment variables are removed, so that children do not
// take them for theirs.
func inherited() (map[string]net.Listener, error) {
	defer func() {
		for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
			_ = os.Unsetenv(name)
		}
	}()
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil {
		return nil, nil
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	listeners := map[string]net.Listener{}
	const first = 3
	for i := range min(n, len(names)) {
		unix.CloseOnExec(first + i)
		f := os.NewFile(uintptr(first+i), names[i])
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("the inherited socket %q: %w", names[i], err)
		}
		listeners[names[i]] = l
	}
	return listeners, nil
}

// listen opens the address, unless a socket of the name was inherited.
func listen(ctx context.Context, sockets map[string]net.Listener, name, address string) (net.Listener, error) {
	if l := sockets[name]; l != nil {
		return l, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("opening the address of %s: %w", name, err)
	}
	return l, nil
}

// loopback says whether the listener can be reached from this machine only.
func loopback(l net.Listener) bool {
	a, ok := l.Addr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}
