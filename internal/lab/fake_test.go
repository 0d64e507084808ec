package lab

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestMain lets the test binary play the neutrino program: a server, an agent and the token command that do just what
// the lab sees of the real ones. The tests are about namespaces and processes; those of the whole product run the real
// program. The verbs "lab-up" and "lab-down" run the lab itself in a process that a test can kill.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		play := map[string]func([]string) error{
			"server": fakeServer, "agent": fakeAgent, "token": fakeToken, "lab-up": labUp, "lab-down": labDown,
		}[os.Args[1]]
		if play != nil {
			if err := play(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

func fakeToken([]string) error {
	fmt.Println("join-token")
	return nil
}

// fakeServer serves on the inherited sockets, and refuses to when they were not handed over as systemd does it.
func fakeServer(args []string) error {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	data, api := flags.String("data", "", ""), flags.String("api", "", "")
	identity, _ := flags.String("identity", "", ""), flags.String("southbound", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDNAMES") != "api:identity" {
		return fmt.Errorf("no sockets: LISTEN_PID=%s LISTEN_FDNAMES=%s", os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDNAMES"))
	}
	clouds := fmt.Sprintf("clouds:\n  admin:\n    auth:\n      auth_url: http://%s/v3\n      username: admin\n", *identity)
	if err := os.WriteFile(filepath.Join(*data, "clouds.yaml"), []byte(clouds), 0o600); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /v3/auth/tokens", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Subject-Token", "token")
		fmt.Fprintf(w, `{"token":{"catalog":[{"type":"network","endpoints":[{"interface":"public","url":"http://%s"}]}]}}`, *api)
	})
	mux.HandleFunc("GET /v2.0/agents", func(w http.ResponseWriter, _ *http.Request) {
		var agents []map[string]any
		for _, h := range Topology() {
			for range h.Roles {
				agents = append(agents, map[string]any{"host": h.Name, "alive": true})
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"agents": agents})
	})
	for _, path := range []string{"networks", "ports"} {
		mux.HandleFunc("GET /v2.0/"+path, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{%q:[]}`, path) })
	}
	failed := make(chan error)
	for _, fd := range []uintptr{3, 4} {
		listener, err := net.FileListener(os.NewFile(fd, "socket"))
		if err != nil {
			return err
		}
		go func() { failed <- http.Serve(listener, mux) }()
	}
	return <-failed
}

// fakeAgent makes a namespace as the DHCP role does, with a process that is in it and has left its host's mount
// namespace. It ends on SIGTERM, its helper does not end with it.
func fakeAgent(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	if !strings.Contains(strings.Join(args, " "), "--host "+host+" ") {
		return fmt.Errorf("started on %s with %q", host, args)
	}
	name := "qdhcp-" + host
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil && !strings.Contains(string(out), "exists") {
		return fmt.Errorf("ip netns add: %w: %s", err, out)
	}
	helper := exec.Command("ip", "netns", "exec", name, "sleep", "1000")
	helper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := helper.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// testLab is the lab that the environment describes.
func testLab() (*Lab, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return New(Options{
		Name: os.Getenv("TEST_LAB"), Dir: os.Getenv("TEST_LAB_DIR"), RunDir: os.Getenv("TEST_LAB_RUN"), Binary: self,
	})
}

func labUp([]string) error {
	l, err := testLab()
	if err != nil {
		return err
	}
	_, err = l.Up(context.Background())
	return err
}

func labDown([]string) error {
	l, err := testLab()
	if err != nil {
		return err
	}
	_, err = l.Down(context.Background())
	return err
}
