package identity

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"
)

// TestDirectorySurvivesItsFile writes and reads directories with every text that the API lets through.
func TestDirectorySurvivesItsFile(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(
		rapid.SampledFrom([]string{"", "null", "true", "~", "1e3", "0x10", "-", "- a", "a: b", "# no", "'", `"`, "%", "@", "`x`",
			"|", "> ", "{}", "[a", "&a", "*a", "!x", "a\nb", "\ta", " a ", "a\n", "\n",
			"2026-01-01", "é", "日本", "😀", "a\n  b\n", "\\n", "---", "..."}),
		rapid.StringMatching(`[ -~\n\t]{0,40}`),
		rapid.String(),
	).Filter(func(s string) bool { return checkText("x", s, 1000) == nil })
	rapid.Check(t, func(t *rapid.T) {
		d, err := bootstrap()
		if err != nil {
			t.Fatal(err)
		}
		u := &user{ID: newID(), Name: text.Draw(t, "name"), DomainID: defaultDomainID, Email: text.Draw(t, "email"),
			Description: text.Draw(t, "description"),
			TokensSince: time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "since")).UTC(),
			Revoked:     []revocation{{AuditID: auditID{1}.String(), Issued: time.UnixMicro(7).UTC(), Expires: time.UnixMicro(8).UTC()}}}
		d.users[u.ID] = u
		p := &project{ID: newID(), Name: text.Draw(t, "project"), DomainID: defaultDomainID, Description: text.Draw(t, "of project")}
		d.projects[p.ID] = p
		if d.index() != nil {
			return // a name that is taken
		}
		data, err := d.encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeDirectory(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if diff := cmp.Diff(d.users, back.users) + cmp.Diff(d.projects, back.projects) + cmp.Diff(d.roles, back.roles) +
			cmp.Diff(d.domains, back.domains); diff != "" {
			t.Fatalf("%s\n%s", diff, data)
		}
		if len(d.grants) != len(back.grants) {
			t.Fatalf("%d grants became %d", len(d.grants), len(back.grants))
		}
	})
}

func TestBrokenFilesAreRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"other version":  "version: 2\n",
		"unknown key":    "version: 1\nusers: []\nsecrets: []\n",
		"no id":          "version: 1\nroles: [{name: x}]\n",
		"same id":        "version: 1\nroles: [{id: a, name: x}, {id: a, name: y}]\n",
		"same name":      "version: 1\nroles: [{id: a, name: x}, {id: b, name: X}]\n",
		"unknown domain": "version: 1\nusers: [{id: a, name: x, domain_id: nowhere}]\n",
		"long id":        "version: 1\nroles: [{id: " + strings.Repeat("a", 300) + ", name: x}]\n",
		"no YAML":        "{",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, directoryFile), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(Options{Dir: dir, IdentityURL: "http://x", NetworkURL: "http://y"}); err == nil {
				t.Error("accepted")
			}
		})
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, keyFile), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, IdentityURL: "http://x", NetworkURL: "http://y"}); err == nil {
		t.Error("a short key is accepted")
	}
}

// TestFailedWriteChangesNothing makes the directory of the files unwritable by removing it.
func TestFailedWriteChangesNothing(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	admin := c.login("admin")
	if err := os.RemoveAll(c.options.Dir); err != nil {
		t.Fatal(err)
	}
	c.as(admin, 500, "POST", "/v3/projects", `{"project": {"name": "lost"}}`)
	if got := c.as(admin, 200, "GET", "/v3/projects", "").names("projects"); got != "admin demo service" {
		t.Errorf("projects: %s", got)
	}
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	var names []string
	err := filepath.WalkDir(c.options.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		names = append(names, entry.Name())
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names, " "); got != "clouds.yaml identity.key identity.yaml openrc" {
		t.Errorf("files: %s", got)
	}
	data, err := os.ReadFile(filepath.Join(c.options.Dir, directoryFile))
	if err != nil || strings.Contains(string(data), c.password("admin")) {
		t.Errorf("identity.yaml holds a password, or %v", err)
	}
}

func TestClientsKeepTheirPasswords(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	before := c.password("admin")
	c.reopen()
	if after := c.password("admin"); after != before || len(after) < 20 {
		t.Errorf("the password was %q and is %q", before, after)
	}
	c.login("admin")
	// Deleting the file is the way to a new password.
	if err := os.Remove(filepath.Join(c.options.Dir, cloudsFile)); err != nil {
		t.Fatal(err)
	}
	c.reopen()
	if after := c.password("admin"); after == before {
		t.Error("the password is the same after clouds.yaml was deleted")
	}
	c.login("admin")
	if a := c.do("POST", "/v3/auth/tokens", loginBody("admin", before, "")); a.status != 401 {
		t.Errorf("the old password: %d", a.status)
	}
	// Whom an administrator removed does not come back.
	c.as(c.login("admin"), 204, "DELETE", "/v3/users/"+c.id("users", "demo"), "")
	if err := os.Remove(filepath.Join(c.options.Dir, cloudsFile)); err != nil {
		t.Fatal(err)
	}
	c.reopen()
	if c.password("demo") != "" {
		t.Error("the demo user is back")
	}
}

func TestOpenrcIsShell(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	for _, row := range []struct{ script, user string }{
		{"bash -c '. \"$0\"; echo $OS_USERNAME $OS_PASSWORD $OS_AUTH_URL $OS_CLOUD'", "admin"},
		{"bash -c '. \"$0\" demo; echo $OS_USERNAME $OS_PASSWORD $OS_AUTH_URL $OS_CLOUD'", "demo"},
		{"bash -c '. \"$0\"; echo $OS_USERNAME $OS_PASSWORD $OS_AUTH_URL $OS_CLOUD' FILE verbose", "admin"},
		{"sh -c '. \"$0\"; echo $OS_USERNAME $OS_PASSWORD $OS_AUTH_URL $OS_CLOUD'", "admin"},
	} {
		file := filepath.Join(c.options.Dir, openrcFile)
		script := row.script
		if before, after, found := strings.Cut(script, " FILE"); found {
			script = before + " " + file + after
		} else {
			script += " " + file
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", script)
		cmd.Env = append(os.Environ(), "OS_CLOUD=other")
		out, err := cmd.CombinedOutput()
		want := row.user + " " + c.password(row.user) + " " + c.options.IdentityURL + "/v3\n"
		if err != nil || string(out) != want {
			t.Errorf("%s: got %q, %v; want %q", row.script, out, err, want)
		}
	}
	if got := shellQuote(`a'b $(x)`); got != `'a'\''b $(x)'` {
		t.Errorf("shellQuote: %s", got)
	}
}

func TestImpliedRoles(t *testing.T) {
	t.Parallel()
	c := openCloud(t)
	d := c.current.Load().clone()
	user, home := d.userNames[name{defaultDomainID, "demo"}], scope{projectScope, d.projectNames[name{defaultDomainID, "demo"}]}
	d.roles["x"] = &role{ID: "x", Name: "Auditor"}
	for _, row := range []struct{ granted, want string }{
		{"admin", "admin manager member reader"},
		{"manager", "manager member reader"},
		{"reader", "reader"},
		{"reader member", "member reader"},
		{"service", "service"},
		{"service manager", "manager member reader service"},
		{"Auditor", "Auditor"},
		{"", ""},
	} {
		clear(d.grants)
		if err := d.index(); err != nil {
			t.Fatal(err)
		}
		for _, roleName := range strings.Fields(row.granted) {
			d.grants[grant{UserID: user, RoleID: d.roleNames[name{"", strings.ToLower(roleName)}], Scope: home}] = true
		}
		if err := d.index(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range d.rolesOf(user, home) {
			got = append(got, r.Name)
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("%q: got %q, want %q", row.granted, got, row.want)
		}
	}
}

// TestUnknownUserCostsAsMuch checks that the decoy makes bcrypt work, at the same cost as a real hash.
func TestUnknownUserCostsAsMuch(t *testing.T) {
	t.Parallel()
	for _, cost := range []int{0, 4, 12} {
		p := newPasswords(cost)
		if got, err := bcrypt.Cost([]byte(p.decoy)); err != nil || got != p.cost {
			t.Errorf("the decoy has cost %d, %v; want %d", got, err, p.cost)
		}
	}
	p := newPasswords(bcrypt.MinCost)
	if err := bcrypt.CompareHashAndPassword([]byte(p.decoy), []byte("x")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		t.Errorf("the decoy is refused before the work: %v", err)
	}
}

func TestPasswordsAreRecognised(t *testing.T) {
	t.Parallel()
	p := newPasswords(bcrypt.MinCost)
	hash, err := p.hash(t.Context(), "right")
	if err != nil {
		t.Fatal(err)
	}
	other, err := p.hash(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from memory
		for _, row := range []struct {
			hash, password string
			want           bool
		}{
			{hash, "right", true}, {hash, "other", false}, {hash, "", false}, {other, "right", false},
			{"", "", false}, {"", "right", false}, {hash, "right" + strings.Repeat("\x00", 80), false}} {
			got, err := p.verify(t.Context(), row.hash, row.password)
			if err != nil || got != row.want {
				t.Errorf("%q: got %v, %v", row.password, got, err)
			}
		}
	}
	if len(p.verified) != 1 {
		t.Errorf("%d passwords are remembered, want the right one only", len(p.verified))
	}
	// With all processors taken, what is remembered still answers, and the rest ends with its request.
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	if ok, err := p.verify(t.Context(), hash, "right"); !ok || err != nil {
		t.Errorf("a remembered password: %v, %v", ok, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.verify(gone, hash, "wrong"); err == nil {
		t.Error("did not end with its context")
	}
	for _, bad := range []string{"", strings.Repeat("x", 73)} {
		if _, err := p.hash(t.Context(), bad); err == nil {
			t.Errorf("a password of %d bytes is accepted", len(bad))
		}
	}
}
