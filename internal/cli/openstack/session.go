package openstack

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// answerTime is how long the service may take for one answer.
const answerTime = 2 * time.Minute

// session is what one command knows after it has logged in.
type session struct {
	http     *http.Client
	token    string // empty: the service asks for none
	network  string // the URL of the networking API, with /v2.0
	identity string // the URL of the identity API, with /v3; empty: there is none
	project  struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
}

// apiError is a request that the service has refused.
type apiError struct {
	status  int
	message string
}

func (e *apiError) Error() string { return e.message }

// login reads whom to ask, and as whom, and gets a token.
func login(ctx context.Context, flags *pflag.FlagSet) (*session, error) {
	c, err := readCloud(flags)
	if err != nil {
		return nil, err
	}
	client, err := c.httpClient()
	if err != nil {
		return nil, err
	}
	s := &session{http: client, network: c.first("network_endpoint_override", "endpoint_override")}
	if c["auth_type"] == "none" {
		s.network = cmp.Or(s.network, c.first("endpoint"))
		if s.network == "" {
			return nil, errors.New("without a login the address of the networking API is needed: set OS_ENDPOINT")
		}
		s.network = versioned(s.network, "/v2.0")
		return s, nil
	}
	if err := s.authenticate(ctx, c); err != nil {
		return nil, err
	}
	return s, nil
}

func (c cloud) httpClient() (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: c["verify"] == "false"}
	if path := c["cacert"]; path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("the certificates of the cloud: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificates", path)
		}
	}
	return &http.Client{Timeout: answerTime, Transport: transport}, nil
}

// versioned is a URL that ends with the version of the API.
func versioned(address, version string) string {
	return strings.TrimSuffix(strings.TrimRight(address, "/"), version) + version
}

// authenticate asks the identity service for a token and for where the networking API is.
func (s *session) authenticate(ctx context.Context, c cloud) error {
	request, err := c.request()
	if err != nil {
		return err
	}
	s.identity = versioned(c["auth_url"], "/v3")
	var answer struct {
		Token struct {
			Project *struct {
				ID   string `json:"id"`
				Name string `json:"name"`
			} `json:"project"`
			Catalog []service `json:"catalog"`
		} `json:"token"`
	}
	resp, err := s.send(ctx, http.MethodPost, s.identity+"/auth/tokens", request)
	if err != nil {
		return fmt.Errorf("the identity service does not answer: %w", err)
	}
	defer resp.Body.Close()
	if err := read(resp, &answer); err != nil {
		return fmt.Errorf("the login failed: %w", err)
	}
	if answer.Token.Project != nil {
		s.project = *answer.Token.Project
	}
	if s.token = resp.Header.Get("X-Subject-Token"); s.token == "" {
		return errors.New("the identity service gave no token")
	}
	if s.network == "" {
		if s.network = endpoint(answer.Token.Catalog, c["region_name"], cmp.Or(c["interface"], "public")); s.network == "" {
			return errors.New("the catalog of the identity service has no networking API for this region and interface")
		}
	}
	s.network = versioned(s.network, "/v2.0")
	return nil
}

// service is an entry of the catalog.
type service struct {
	Type      string `json:"type"`
	Endpoints []struct {
		Interface string `json:"interface"`
		Region    string `json:"region_id"`
		URL       string `json:"url"`
	} `json:"endpoints"`
}

// endpoint is the URL of the networking API; an empty region stands for any.
func endpoint(catalog []service, region, iface string) string {
	for _, s := range catalog {
		for _, e := range s.Endpoints {
			if s.Type == "network" && e.Interface == strings.TrimSuffix(iface, "URL") && (region == "" || e.Region == region) {
				return e.URL
			}
		}
	}
	return ""
}

// do sends a request to the networking API and decodes the answer, where into is not nil.
func (s *session) do(ctx context.Context, method, path string, query url.Values, body, into any) error {
	address := s.network + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	resp, err := s.send(ctx, method, address, body)
	if err != nil {
		return fmt.Errorf("the networking API does not answer: %w", err)
	}
	defer resp.Body.Close()
	return read(resp, into)
}

// get asks another service.
func (s *session) get(ctx context.Context, address string, query url.Values, into any) error {
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	resp, err := s.send(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return read(resp, into)
}

func (s *session) send(ctx context.Context, method, address string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if s.token != "" {
		req.Header.Set("X-Auth-Token", s.token)
	}
	return s.http.Do(req)
}

// read decodes an answer, or says why there is none.
func read(resp *http.Response, into any) error {
	if resp.StatusCode >= http.StatusBadRequest {
		return refusal(resp)
	}
	if into == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := decode(resp.Body, into); err != nil {
		return fmt.Errorf("the answer is not JSON: %w", err)
	}
	return nil
}

// decode reads JSON and keeps numbers as they are written.
func decode(r io.Reader, into any) error {
	d := json.NewDecoder(r)
	d.UseNumber()
	return d.Decode(into)
}

// refusal is what an answer says about why the request was refused, as one sentence.
func refusal(resp *http.Response) error {
	const most = 64 << 10
	text, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return err
	}
	var said struct {
		Neutron json.RawMessage `json:"NeutronError"`
		Other   json.RawMessage `json:"error"` // of the identity service
	}
	message := resp.Status
	if json.Unmarshal(text, &said) == nil {
		raw := said.Neutron
		if raw == nil {
			raw = said.Other
		}
		var detailed struct {
			Message string `json:"message"`
		}
		var plain string
		if json.Unmarshal(raw, &detailed) == nil && detailed.Message != "" {
			message = detailed.Message
		} else if json.Unmarshal(raw, &plain) == nil && plain != "" {
			message = plain
		}
	}
	return &apiError{resp.StatusCode, strings.Join(strings.Fields(message), " ")}
}
