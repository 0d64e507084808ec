package openstack

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"
)

// cloud is whom to ask and as whom: settings by the names that clouds.yaml has for them. The environment spells them
// OS_AUTH_URL, and options --os-auth-url.
type cloud map[string]string

// setting is one of them.
type setting struct{ name, help string }

// settings are those that can be given as options and in the environment.
var settings = []setting{
	{"cloud", "the cloud of clouds.yaml"},
	{"auth_type", "password, token, v3applicationcredential or none"},
	{"auth_url", "the URL of the identity service"},
	{"username", "the user"},
	{"user_id", "the id of the user"},
	{"password", "its password"},
	{"user_domain_name", "its domain"},
	{"user_domain_id", "the id of its domain"},
	{"project_name", "the project"},
	{"project_id", "the id of the project"},
	{"project_domain_name", "its domain"},
	{"project_domain_id", "the id of its domain"},
	{"default_domain", "the id of the domain where none is named"},
	{"domain_name", "the domain for which the token is"},
	{"domain_id", "the id of that domain"},
	{"system_scope", "all: the token is for the whole system"},
	{"token", "a token instead of a password"},
	{"application_credential_id", "the id of an application credential"},
	{"application_credential_name", "the name of an application credential of the user"},
	{"application_credential_secret", "its secret"},
	{"region_name", "the region"},
	{"interface", "public, internal or admin"},
	{"cacert", "a file with the certificates of the authorities to trust"},
	{"endpoint", "the URL of the networking API, where there is no login"},
	{"endpoint_override", "the URL of the networking API instead of the catalog's"},
	{"network_endpoint_override", "the same"},
}

// cloudFlags adds the options. All but the first are rare, and left out of the help.
func cloudFlags(flags *pflag.FlagSet) {
	for i, s := range settings {
		name := "os-" + strings.ReplaceAll(s.name, "_", "-")
		flags.String(name, "", s.help)
		if i > 0 {
			_ = flags.MarkHidden(name)
		}
	}
	flags.Bool("insecure", false, "do not check the certificates of the services")
	_ = flags.MarkHidden("insecure")
}

// first is the first of the settings that is there.
func (c cloud) first(names ...string) string {
	for _, n := range names {
		if c[n] != "" {
			return c[n]
		}
	}
	return ""
}

// readCloud reads the settings: of the cloud of clouds.yaml that is named, or else of the environment. Options change
// either.
func readCloud(flags *pflag.FlagSet) (cloud, error) {
	given, env := cloud{}, cloud{}
	for _, s := range settings {
		if v := flagText(flags, "os-"+strings.ReplaceAll(s.name, "_", "-")); v != "" {
			given[s.name] = v
		}
		if v := os.Getenv("OS_" + strings.ToUpper(s.name)); v != "" {
			env[s.name] = v
		}
	}
	c := env
	if name := cmp.Or(given["cloud"], env["cloud"]); name != "" {
		var err error
		if c, err = readCloudsFile(name); err != nil {
			return nil, err
		}
	}
	maps.Copy(c, given)
	if flagText(flags, "insecure") == "true" || os.Getenv("OS_INSECURE") != "" {
		c["verify"] = "false"
	}
	if c["auth_url"] == "" && c["auth_type"] != "none" {
		return nil, errors.New("which cloud? Name one of clouds.yaml with --os-cloud or OS_CLOUD, " +
			"or set OS_AUTH_URL and the rest of openrc")
	}
	return c, nil
}

// cloudsFiles are the places of clouds.yaml; the first that is there counts.
func cloudsFiles() []string {
	if path := os.Getenv("OS_CLIENT_CONFIG_FILE"); path != "" {
		return []string{path}
	}
	files := []string{"clouds.yaml"}
	if dir, err := os.UserConfigDir(); err == nil {
		files = append(files, filepath.Join(dir, "openstack", "clouds.yaml"))
	}
	return append(files, "/etc/openstack/clouds.yaml")
}

// readCloudsFile reads a cloud of clouds.yaml, and its secrets from secure.yaml beside it.
func readCloudsFile(name string) (cloud, error) {
	for _, path := range cloudsFiles() {
		clouds, err := parseClouds(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c, ok := clouds[name]
		if !ok {
			names := strings.Join(slices.Sorted(maps.Keys(clouds)), ", ")
			return nil, fmt.Errorf("%s has no cloud %q, it has %s", path, name, names)
		}
		secret, err := parseClouds(filepath.Join(filepath.Dir(path), "secure.yaml"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		maps.Copy(c, secret[name])
		return c, nil
	}
	return nil, fmt.Errorf("there is no clouds.yaml: looked for %s", strings.Join(cloudsFiles(), ", "))
}

// parseClouds reads a file of clouds; what is below auth stands beside the rest.
func parseClouds(path string) (map[string]cloud, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Clouds map[string]map[string]any `yaml:"clouds"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	clouds := map[string]cloud{}
	for name, values := range file.Clouds {
		c := cloud{}
		for key, v := range values {
			if inner, ok := v.(map[string]any); ok && key == "auth" {
				for key, v := range inner {
					c[key] = fmt.Sprint(v)
				}
			} else {
				c[key] = fmt.Sprint(v)
			}
		}
		clouds[name] = c
	}
	return clouds, nil
}

// request is the body that asks for a token (identity API v3, POST /auth/tokens).
func (c cloud) request() (object, error) {
	identity, scoped, err := c.identity()
	if err != nil {
		return nil, err
	}
	auth := object{"identity": identity}
	if scope := c.scope(); scope != nil && scoped {
		auth["scope"] = scope
	}
	return object{"auth": auth}, nil
}

// identity says who asks. Application credentials have a scope of their own.
func (c cloud) identity() (identity object, scoped bool, err error) {
	switch {
	case c["application_credential_secret"] != "":
		credential := object{"secret": c["application_credential_secret"]}
		if id := c["application_credential_id"]; id != "" {
			credential["id"] = id
		} else {
			credential["name"], credential["user"] = c["application_credential_name"], c.user()
		}
		return object{"methods": []string{"application_credential"}, "application_credential": credential}, false, nil
	case c["token"] != "":
		return object{"methods": []string{"token"}, "token": object{"id": c["token"]}}, true, nil
	case c.first("username", "user_id") == "" || c["password"] == "":
		return nil, false, errors.New("who asks? Set OS_USERNAME and OS_PASSWORD, OS_TOKEN, or an application credential")
	}
	user := c.user()
	user["password"] = c["password"]
	return object{"methods": []string{"password"}, "password": object{"user": user}}, true, nil
}

func (c cloud) user() object {
	if id := c["user_id"]; id != "" {
		return object{"id": id}
	}
	return object{"name": c["username"], "domain": c.domain("user_domain")}
}

// scope says what the token is for.
func (c cloud) scope() object {
	switch {
	case c["system_scope"] != "":
		return object{"system": object{"all": true}}
	case c["project_id"] != "":
		return object{"project": object{"id": c["project_id"]}}
	case c["project_name"] != "":
		return object{"project": object{"name": c["project_name"], "domain": c.domain("project_domain")}}
	case c.first("domain_id", "domain_name") != "":
		return object{"domain": c.domain("domain")}
	}
	return nil
}

// domain names a domain by the settings with the prefix.
func (c cloud) domain(prefix string) object {
	if id := c[prefix+"_id"]; id != "" {
		return object{"id": id}
	}
	if name := c[prefix+"_name"]; name != "" {
		return object{"name": name}
	}
	return object{"id": cmp.Or(c["default_domain"], "default")}
}
