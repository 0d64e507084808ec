package identity

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Names of the files in Options.Dir.
const (
	directoryFile = "identity.yaml"
	keyFile       = "identity.key"
)

// fileVersion is the version of the format of identity.yaml.
const fileVersion = 1

// fileForm is how the directory is written: lists, each in the order of names, so that changes read well in a diff.
type fileForm struct {
	Version     int           `yaml:"version"`
	Domains     []*domain     `yaml:"domains"`
	Projects    []*project    `yaml:"projects"`
	Roles       []*role       `yaml:"roles"`
	Users       []*user       `yaml:"users"`
	Groups      []*group      `yaml:"groups,omitempty"`
	Grants      []grant       `yaml:"grants"`
	Credentials []*credential `yaml:"application_credentials,omitempty"`
}

// loadDirectory reads identity.yaml. It returns nil if there is none.
func loadDirectory(dir string) (*directory, error) {
	path := filepath.Join(dir, directoryFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("identity: read users and projects: %w", err)
	}
	d, err := decodeDirectory(data)
	if err != nil {
		return nil, fmt.Errorf("identity: read %s: %w", path, err)
	}
	return d, nil
}

func decodeDirectory(data []byte) (*directory, error) {
	var f fileForm
	if err := yaml.UnmarshalWithOptions(data, &f, yaml.Strict()); err != nil {
		return nil, err
	}
	if f.Version != fileVersion {
		return nil, fmt.Errorf("version %d of the format is unknown, expected %d", f.Version, fileVersion)
	}
	d := newDirectory()
	if err := f.checkIDs(); err != nil {
		return nil, err
	}
	for _, x := range f.Domains {
		d.domains[x.ID] = x
	}
	for _, x := range f.Projects {
		d.projects[x.ID] = x
	}
	for _, x := range f.Roles {
		d.roles[x.ID] = x
	}
	for _, x := range f.Users {
		d.users[x.ID] = x
	}
	for _, x := range f.Groups {
		d.groups[x.ID] = x
	}
	for _, x := range f.Credentials {
		d.credentials[x.ID] = x
	}
	for _, g := range f.Grants {
		d.grants[g] = true
	}
	return d, d.index()
}

// maxIDLength is in bytes. Tokens have one byte for it, and Keystone's own ids are not longer.
const maxIDLength = 64

// checkIDs fails if an entry has no id, one that is too long, or one that another entry of its kind has.
func (f *fileForm) checkIDs() error {
	for kind, ids := range map[string][]string{
		"domain":  each(f.Domains, func(x *domain) string { return x.ID }),
		"project": each(f.Projects, func(x *project) string { return x.ID }),
		"role":    each(f.Roles, func(x *role) string { return x.ID }),
		"user":    each(f.Users, func(x *user) string { return x.ID }),
		"group":   each(f.Groups, func(x *group) string { return x.ID }),

		"application credential": each(f.Credentials, func(x *credential) string { return x.ID }),
	} {
		seen := map[string]bool{}
		for _, id := range ids {
			if id == "" || len(id) > maxIDLength || seen[id] {
				return fmt.Errorf("the %s id %q is empty, too long, or there twice", kind, id)
			}
			seen[id] = true
		}
	}
	return nil
}

func each[T any](list []T, get func(T) string) []string {
	values := make([]string, len(list))
	for i, x := range list {
		values[i] = get(x)
	}
	return values
}

func (d *directory) encode() ([]byte, error) {
	f := fileForm{Version: fileVersion}
	f.Domains = sorted(d.domains, func(x *domain) string { return x.Name })
	f.Projects = sorted(d.projects, func(x *project) string { return x.Name })
	f.Roles = sorted(d.roles, func(x *role) string { return x.Name })
	f.Users = sorted(d.users, func(x *user) string { return x.Name })
	f.Groups = sorted(d.groups, func(x *group) string { return x.Name })
	f.Grants = slices.SortedFunc(maps.Keys(d.grants), compareGrants)
	f.Credentials = sorted(d.credentials, func(x *credential) string { return x.Name })
	data, err := yaml.MarshalWithOptions(f, yaml.CustomMarshaler(quoted))
	if err != nil {
		return nil, fmt.Errorf("identity: encode users and projects: %w", err)
	}
	return data, nil
}

// quoted writes a text as a JSON string, which YAML reads too. The encoder's own choice of form breaks on some texts of
// several lines, and a description that a client sends must never make the file unreadable.
func quoted(text string) ([]byte, error) { return json.Marshal(text) }

func compareGrants(a, b grant) int {
	return strings.Compare(strings.Join([]string{a.UserID, a.GroupID, string(a.Scope.Kind), a.Scope.ID, a.RoleID}, " "),
		strings.Join([]string{b.UserID, b.GroupID, string(b.Scope.Kind), b.Scope.ID, b.RoleID}, " "))
}

// sorted returns the values of the map in the order of key, then of id.
func sorted[T any](m map[string]T, key func(T) string) []T {
	type entry struct {
		key, id string
		value   T
	}
	entries := make([]entry, 0, len(m))
	for id, v := range m {
		entries = append(entries, entry{key(v), id, v})
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if c := strings.Compare(a.key, b.key); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
	values := make([]T, len(entries))
	for i, e := range entries {
		values[i] = e.value
	}
	return values
}

// save writes the directory to disk; it survives a crash afterwards.
func (d *directory) save(dir string) error {
	data, err := d.encode()
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, directoryFile), data)
}

// update changes the directory: change works on a copy, which is checked, written to disk, and then put in place.
// Nothing changes if it fails.
func (e *Embedded) update(change func(*directory) error) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	next := e.current.Load().clone()
	if err := change(next); err != nil {
		return err
	}
	if err := next.index(); err != nil {
		return err
	}
	if err := next.save(e.dir); err != nil {
		return err
	}
	e.current.Store(next)
	return nil
}

// bootstrap makes the directory of a new cloud.
func bootstrap() (*directory, error) {
	d := newDirectory()
	d.domains[defaultDomainID] = &domain{ID: defaultDomainID, Name: "Default", Description: "The default domain"}
	roleIDs := map[string]string{}
	for _, roleName := range append(hierarchy[:], roleService) {
		r := &role{ID: newID(), Name: roleName}
		d.roles[r.ID] = r
		roleIDs[roleName] = r.ID
	}
	for _, account := range []struct{ name, role, description string }{
		{"admin", roleAdmin, "Administrators of the cloud"},
		{"service", roleService, "Services that act for users, such as Nova"},
		{"demo", roleMember, "A plain project to begin with"},
	} {
		p := &project{ID: newID(), Name: account.name, DomainID: defaultDomainID, Description: account.description}
		u := &user{ID: newID(), Name: account.name, DomainID: defaultDomainID, DefaultProjectID: p.ID}
		d.projects[p.ID], d.users[u.ID] = p, u
		d.grants[grant{UserID: u.ID, RoleID: roleIDs[account.role], Scope: scope{projectScope, p.ID}}] = true
		if account.role == roleAdmin {
			d.grants[grant{UserID: u.ID, RoleID: roleIDs[roleAdmin], Scope: scope{systemScope, systemScopeID}}] = true
		}
	}
	return d, d.index()
}

// defaultDomainID is the id of the domain Default in every cloud.
const defaultDomainID = "default"

// newID returns a random id in Keystone's form: 32 hexadecimal digits.
func newID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails, see package crypto/rand
	return hex.EncodeToString(id[:])
}

// loadKey reads the key that signs tokens, or makes it.
func loadKey(dir string) ([]byte, error) {
	path := filepath.Join(dir, keyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, keySize)
		rand.Read(key)
		return key, writeFile(path, []byte(hex.EncodeToString(key)+"\n"))
	}
	if err != nil {
		return nil, fmt.Errorf("identity: read the key of tokens: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("identity: %s does not hold a key of %d hexadecimal digits", path, 2*keySize)
	}
	return key, nil
}

// writeFile replaces a file that only its owner may read: after a crash it is either the old or the new one.
func writeFile(path string, data []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("identity: write %s: %w", path, err)
		}
	}()
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already if all went well
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
