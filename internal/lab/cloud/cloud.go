// Package cloud is a small client of a cloud's identity and networking API, for the lab and its tour.
//
// It logs in the way every OpenStack client does: with the credentials of a clouds.yaml file, by password, at the
// identity service, which names the networking endpoint in its catalog. It knows just the resources that the lab shows.
package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Client speaks to one cloud as one user.
type Client struct {
	http      *http.Client
	network   string // the networking endpoint, without the version
	token     string
	projectID string
}

// Error is an answer that says no.
type Error struct {
	Method, Path string
	Status       int
	// Type and Message are those of the API's error document; empty when there was none.
	Type, Message string
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s %s: %d %s", e.Method, e.Path, e.Status, http.StatusText(e.Status))
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// clouds is the part of a clouds.yaml file that is used here.
type clouds struct {
	Clouds map[string]struct {
		Auth struct {
			URL               string `yaml:"auth_url"`
			Username          string `yaml:"username"`
			Password          string `yaml:"password"`
			ProjectName       string `yaml:"project_name"`
			UserDomainName    string `yaml:"user_domain_name"`
			UserDomainID      string `yaml:"user_domain_id"`
			ProjectDomainName string `yaml:"project_domain_name"`
			ProjectDomainID   string `yaml:"project_domain_id"`
		} `yaml:"auth"`
	} `yaml:"clouds"`
}

// Login reads the credentials of the named cloud from a clouds.yaml file and fetches a token with them.
func Login(ctx context.Context, file, name string) (*Client, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all clouds
	if err := yaml.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	entry, ok := all.Clouds[name]
	if !ok {
		return nil, fmt.Errorf("%s has no cloud %q", file, name)
	}
	auth := entry.Auth
	request := object{"auth": object{
		"identity": object{
			"methods": []string{"password"},
			"password": object{"user": object{
				"name": auth.Username, "password": auth.Password, "domain": domain(auth.UserDomainID, auth.UserDomainName),
			}},
		},
		"scope": object{"project": object{
			"name": auth.ProjectName, "domain": domain(auth.ProjectDomainID, auth.ProjectDomainName),
		}},
	}}
	c := &Client{http: &http.Client{Timeout: 10 * time.Second}}
	if err := c.authenticate(ctx, auth.URL, request); err != nil {
		return nil, fmt.Errorf("logging in as %s: %w", auth.Username, err)
	}
	return c, nil
}

type object map[string]any

// domain names a domain by id or by name, as the credentials do; without either it is the default one.
func domain(id, name string) object {
	switch {
	case id != "":
		return object{"id": id}
	case name != "":
		return object{"name": name}
	default:
		return object{"id": "default"}
	}
}

// authenticate fetches a token, and learns the project and the networking endpoint from it.
func (c *Client) authenticate(ctx context.Context, authURL string, request object) error {
	authURL = strings.TrimRight(authURL, "/")
	if !strings.HasSuffix(authURL, "/v3") {
		authURL += "/v3"
	}
	var answer struct {
		Token struct {
			Project struct {
				ID string `json:"id"`
			} `json:"project"`
			Catalog []struct {
				Type      string `json:"type"`
				Endpoints []struct {
					Interface string `json:"interface"`
					URL       string `json:"url"`
				} `json:"endpoints"`
			} `json:"catalog"`
		} `json:"token"`
	}
	header, err := c.call(ctx, http.MethodPost, authURL+"/auth/tokens", request, &answer)
	if err != nil {
		return err
	}
	c.token, c.projectID = header.Get("X-Subject-Token"), answer.Token.Project.ID
	for _, service := range answer.Token.Catalog {
		for _, e := range service.Endpoints {
			if service.Type == "network" && e.Interface == "public" {
				c.network = strings.TrimSuffix(strings.TrimRight(e.URL, "/"), "/v2.0")
			}
		}
	}
	if c.network == "" {
		return fmt.Errorf("the catalog names no public endpoint of type network")
	}
	return nil
}

// ProjectID is the id of the project to which the token belongs.
func (c *Client) ProjectID() string { return c.projectID }

// call sends one request and decodes the answer into a value, which may be nil.
func (c *Client) call(ctx context.Context, method, address string, body, into any) (http.Header, error) {
	var payload io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, payload)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		request.Header.Set("X-Auth-Token", c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the answer to %s %s: %w", method, request.URL.Path, err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return nil, refusal(method, request.URL.Path, response.StatusCode, text)
	}
	if into == nil || len(text) == 0 {
		return response.Header, nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return nil, fmt.Errorf("the answer to %s %s: %w", method, request.URL.Path, err)
	}
	return response.Header, nil
}

// refusal makes an error of an answer; both services' error documents are understood.
func refusal(method, path string, status int, text []byte) error {
	e := &Error{Method: method, Path: path, Status: status}
	var document struct {
		Networking struct {
			Type    string `json:"type"`
			Message string `json:"message"`
		} `json:"NeutronError"`
		Identity struct {
			Title   string `json:"title"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(text, &document) == nil {
		e.Type, e.Message = document.Networking.Type, document.Networking.Message
		if e.Message == "" {
			e.Type, e.Message = document.Identity.Title, document.Identity.Message
		}
	}
	return e
}

// do sends a request to the networking API; the path begins after the version.
func (c *Client) do(ctx context.Context, method, path string, body, into any) error {
	_, err := c.call(ctx, method, c.network+"/v2.0"+path, body, into)
	return err
}

// query renders filters as the query string of a list.
func query(filters map[string]string) string {
	if len(filters) == 0 {
		return ""
	}
	values := url.Values{}
	for k, v := range filters {
		values.Set(k, v)
	}
	return "?" + values.Encode()
}
