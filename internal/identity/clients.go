package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
)

// Names of the files that clients read, in Options.Dir.
const (
	cloudsFile = "clouds.yaml"
	openrcFile = "openrc"
)

// clientAccounts are the users for whom WriteClients writes, by the name of the cloud, the user and the project.
var clientAccounts = [...]string{"admin", "demo"}

// cloudsForm is clouds.yaml, the file from which the openstack command, SDKs and Terraform learn how to log in.
type cloudsForm struct {
	Clouds map[string]cloud `yaml:"clouds"`
}

type cloud struct {
	Auth       cloudAuth `yaml:"auth"`
	RegionName string    `yaml:"region_name"`
	Interface  string    `yaml:"interface"`
	APIVersion string    `yaml:"identity_api_version"`
}

type cloudAuth struct {
	URL               string `yaml:"auth_url"`
	Username          string `yaml:"username"`
	Password          string `yaml:"password"`
	ProjectName       string `yaml:"project_name"`
	UserDomainName    string `yaml:"user_domain_name"`
	ProjectDomainName string `yaml:"project_domain_name"`
}

// WriteClients writes clouds.yaml with the clouds admin and demo, and openrc for the shell ("source openrc" for the
// administrator, "source openrc demo" for the plain project). Both may be read by their owner only.
//
// The passwords are taken from the clouds.yaml of before. Where it has none the user is given a new random one: so it
// is at the first start, and so an administrator who has lost the password gets another by deleting the file.
func (e *Embedded) WriteClients(ctx context.Context) error {
	path := filepath.Join(e.dir, cloudsFile)
	old, err := readClouds(e.dir)
	if err != nil {
		return err
	}
	next := cloudsForm{Clouds: map[string]cloud{}}
	for _, account := range clientAccounts {
		password := old.Clouds[account].Auth.Password
		if password == "" {
			id, exists := e.current.Load().userNames[name{defaultDomainID, account}]
			if !exists {
				continue // removed by an administrator
			}
			password = newPassword()
			if err := e.setPassword(ctx, id, password); err != nil {
				return err
			}
			e.log.Info("user got a new random password", "user", account, "file", path)
		}
		next.Clouds[account] = cloud{
			Auth: cloudAuth{URL: e.url, Username: account, Password: password, ProjectName: account,
				UserDomainName: "Default", ProjectDomainName: "Default"},
			RegionName: e.region, Interface: "public", APIVersion: "3",
		}
	}
	text, err := yaml.Marshal(next)
	if err != nil {
		return fmt.Errorf("identity: encode %s: %w", path, err)
	}
	if err := writeFile(path, text); err != nil {
		return err
	}
	return writeFile(filepath.Join(e.dir, openrcFile), []byte(openrc(next)))
}

// WriteOpenClients writes clouds.yaml and openrc for mode "none": no login, the networking API at networkURL, and whoever
// asks is the administrator. The cloud demo is there under its usual name, and is the same.
func WriteOpenClients(dir, networkURL string) error {
	type openCloud struct {
		AuthType string            `yaml:"auth_type"`
		Auth     map[string]string `yaml:"auth"`
		Network  string            `yaml:"network_endpoint_override"`
	}
	open := openCloud{AuthType: "none", Auth: map[string]string{"endpoint": networkURL}, Network: networkURL}
	text, err := yaml.Marshal(map[string]map[string]openCloud{"clouds": {"admin": open, "demo": open}})
	if err != nil {
		return fmt.Errorf("identity: encode %s: %w", cloudsFile, err)
	}
	if err := writeFile(filepath.Join(dir, cloudsFile), text); err != nil {
		return err
	}
	rc := "# Settings of the openstack command: there is no login. Usage: source openrc\n" +
		"unset OS_CLOUD OS_USERNAME OS_PASSWORD OS_TOKEN OS_PROJECT_NAME OS_AUTH_URL\n" +
		"export OS_AUTH_TYPE=none OS_ENDPOINT=" + shellQuote(networkURL) + " OS_NETWORK_ENDPOINT_OVERRIDE=" + shellQuote(networkURL) + "\n"
	return writeFile(filepath.Join(dir, openrcFile), []byte(rc))
}

// readClouds reads clouds.yaml; without the file there are no clouds.
func readClouds(dir string) (cloudsForm, error) {
	var c cloudsForm
	path := filepath.Join(dir, cloudsFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("identity: read the passwords of clients: %w", err)
	}
	if err := yaml.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("identity: read %s: %w", path, err)
	}
	return c, nil
}

// openrc renders the settings of the clouds as shell commands.
func openrc(c cloudsForm) string {
	var b strings.Builder
	b.WriteString("# Settings of the openstack command. Usage: source openrc [demo]\n")
	b.WriteString("unset OS_CLOUD OS_AUTH_TYPE OS_TOKEN OS_USER_ID OS_PROJECT_ID OS_DOMAIN_ID OS_DOMAIN_NAME\n")
	b.WriteString("unset OS_SYSTEM_SCOPE\n")
	b.WriteString("case \"${1:-admin}\" in\n")
	for _, account := range [...]string{"demo", "admin"} {
		settings, ok := c.Clouds[account]
		if !ok {
			continue
		}
		pattern := account
		if account == "admin" {
			pattern = "*" // a script that sources this file hands its own arguments on
		}
		fmt.Fprintf(&b, "%s)\n", pattern)
		for _, variable := range [...][2]string{
			{"OS_AUTH_URL", settings.Auth.URL},
			{"OS_USERNAME", settings.Auth.Username},
			{"OS_PASSWORD", settings.Auth.Password},
			{"OS_PROJECT_NAME", settings.Auth.ProjectName},
			{"OS_USER_DOMAIN_NAME", settings.Auth.UserDomainName},
			{"OS_PROJECT_DOMAIN_NAME", settings.Auth.ProjectDomainName},
			{"OS_REGION_NAME", settings.RegionName},
			{"OS_INTERFACE", settings.Interface},
			{"OS_IDENTITY_API_VERSION", settings.APIVersion},
		} {
			fmt.Fprintf(&b, "\texport %s=%s\n", variable[0], shellQuote(variable[1]))
		}
		b.WriteString("\t;;\n")
	}
	b.WriteString("esac\n")
	return b.String()
}

// shellQuote makes one word of the text, whatever it holds.
func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// newPassword returns a random password of 128 bits.
func newPassword() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
