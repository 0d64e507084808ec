package lab

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The places where labs live unless told otherwise.
const (
	DefaultName   = "lab"
	DefaultDir    = "/var/lib/neutrino/lab"
	DefaultRunDir = "/run/neutrino/lab"
)

// Options says which lab, and where.
type Options struct {
	// Name tells several labs of one machine apart; DefaultName when empty.
	Name string
	// Dir holds a directory for each lab, with the data and the logs of its hosts; DefaultDir when empty. A lab that
	// is up stays where it is.
	Dir string
	// RunDir holds the pins and the record of each lab; DefaultRunDir when empty.
	RunDir string
	// Binary is the neutrino program that the hosts run; this very program when empty.
	Binary string
	// APIPort and IdentityPort are the ports of the machine's loopback that are tried first; the usual ones when 0.
	APIPort, IdentityPort int
	// ServerArgs are further arguments of the server, which has to be given them whenever it may be started again.
	ServerArgs []string
	// Progress is told, in one line each, what is being done; nil tells nobody.
	Progress func(line string)
}

// Lab is a lab that exists or may come to exist. Its methods may be used by several processes at the same time:
// those that change something wait for each other.
type Lab struct {
	name, dir, run, binary string
	apiPort, identityPort  int
	serverArgs             []string
	progress               func(string)
}

// New returns the lab of that name without touching anything.
func New(o Options) (*Lab, error) {
	l := &Lab{name: o.Name, dir: o.Dir, run: o.RunDir, binary: o.Binary, progress: o.Progress}
	l.serverArgs = o.ServerArgs
	l.apiPort, l.identityPort = cmp.Or(o.APIPort, apiPort), cmp.Or(o.IdentityPort, identityPort)
	for _, d := range []struct {
		to    *string
		value string
	}{{&l.name, DefaultName}, {&l.dir, DefaultDir}, {&l.run, DefaultRunDir}} {
		if *d.to == "" {
			*d.to = d.value
		}
	}
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`).MatchString(l.name) {
		return nil, fmt.Errorf("lab name %q: use up to 32 lower-case letters, digits and dashes", l.name)
	}
	var err error
	if l.dir, err = filepath.Abs(l.dir); err != nil {
		return nil, err
	}
	if l.binary == "" {
		if l.binary, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("finding this program: %w", err)
		}
	}
	if l.progress == nil {
		l.progress = func(string) {}
	}
	return l, nil
}

// List returns the names of all labs below a run directory, also of those that were left half way.
func List(runDir string) ([]string, error) {
	entries, err := os.ReadDir(runDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.name }

// Binary is the neutrino program that the hosts run.
func (l *Lab) Binary() string { return l.binary }

// runDir holds what is gone after a reboot: the record and the pins.
func (l *Lab) runDir() string { return filepath.Join(l.run, l.name) }

func (l *Lab) say(format string, args ...any) { l.progress(fmt.Sprintf(format, args...)) }

// Record is what a lab remembers from one command to the next.
type Record struct {
	// BootID tells whether the machine has been started anew since.
	BootID string `json:"boot_id"`
	// Dir is the lab's own directory, with one directory for each host.
	Dir string `json:"dir"`
	// Complete is set once everything stood; without it the lab was left half way.
	Complete bool `json:"complete"`
	// API and Identity are the addresses on the machine's loopback at which the server answers.
	API       string    `json:"api"`
	Identity  string    `json:"identity"`
	Processes []Process `json:"processes"`
}

// HostDir is where a host keeps its data and its log.
func (r *Record) HostDir(host string) string { return filepath.Join(r.Dir, host) }

// CloudsFile is the file with which the `openstack` command finds the lab's cloud.
func (r *Record) CloudsFile() string {
	return filepath.Join(r.HostDir(serverSpec().Name), "clouds.yaml")
}

// Process returns the process of that host and name.
func (r *Record) Process(host, name string) (Process, bool) {
	i := slices.IndexFunc(r.Processes, func(p Process) bool { return p.Host == host && p.Name == name })
	if i < 0 {
		return Process{}, false
	}
	return r.Processes[i], true
}

// put adds a process in place of an older one of the same host and name.
func (r *Record) put(p Process) {
	r.Processes = slices.DeleteFunc(r.Processes, func(q Process) bool { return q.Host == p.Host && q.Name == p.Name })
	r.Processes = append(r.Processes, p)
}

func (l *Lab) recordFile() string { return filepath.Join(l.runDir(), "record.json") }

func (l *Lab) nextRecordFile() string { return l.recordFile() + ".next" }

// Load reads the lab's record. It returns nil when there is no such lab, or none that got as far as writing one.
func (l *Lab) Load() (*Record, error) {
	text, err := os.ReadFile(l.recordFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("reading %s: %w", l.recordFile(), err)
	}
	return &r, nil
}

// save writes the record so that at any moment either the old or the new one is there, as a whole.
func (l *Lab) save(r *Record) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	next := l.nextRecordFile()
	if err := os.WriteFile(next, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(next, l.recordFile())
}

// bootID identifies the time since the machine started.
func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}

// lock keeps other commands away from the lab until unlock is called or this process ends. It makes the lab's run
// directory, and waits a while for whoever has it.
func (l *Lab) lock(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second,
		fmt.Errorf("another command is busy with lab %q since 30 seconds", l.name))
	defer cancel()
	told := false
	for {
		unlock, err := l.tryLock()
		if err != nil || unlock != nil {
			return unlock, err
		}
		if !told {
			l.say("waiting for another command that is busy with lab %q", l.name)
			told = true
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// tryLock locks the run directory itself, so that no file is left over. It returns nil when somebody else has it.
func (l *Lab) tryLock() (unlock func(), err error) {
	if err := os.MkdirAll(l.runDir(), 0o755); err != nil {
		return nil, err
	}
	dir, err := os.Open(l.runDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // removed by somebody's down, between the two calls
	}
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil && sameFile(dir, l.runDir()) {
		return func() { dir.Close() }, nil
	}
	dir.Close()
	if err == nil || errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, fmt.Errorf("locking %s: %w", l.runDir(), err)
}

// sameFile says whether the path still leads to the open file.
func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// The marker file says that a directory was made by a lab, and may be removed with everything in it.
const marker = ".neutrino-lab"

// makeDir makes the lab's directory. It refuses one that somebody else has filled.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	ours := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == marker })
	if len(entries) > 0 && !ours {
		return fmt.Errorf("%s is not empty and was not made by a lab: choose another --dir or --name", dir)
	}
	return os.WriteFile(filepath.Join(dir, marker), []byte("neutrino lab down removes this directory\n"), 0o600)
}

// removeDir removes the lab's directory, if a lab has made it.
func removeDir(dir string) error {
	if !exists(filepath.Join(dir, marker)) {
		_ = os.Remove(dir) // empty: left between the making of the directory and of the marker
		return nil
	}
	// The marker goes last: whoever is killed on the way can begin again.
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != marker {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(dir)
}
