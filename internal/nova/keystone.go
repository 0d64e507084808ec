package nova

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Keystone is a TokenSource: it logs in at an identity service with what the usual environment variables say.
type Keystone struct {
	url    string // of the tokens
	body   []byte // of the request for a token
	client *http.Client

	mu      sync.Mutex
	token   string
	renewAt time.Time
}

// KeystoneFrom reads OS_AUTH_URL and either OS_APPLICATION_CREDENTIAL_ID and OS_APPLICATION_CREDENTIAL_SECRET, or
// OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME and the domains (OS_USER_DOMAIN_NAME and OS_PROJECT_DOMAIN_NAME, or with _ID;
// the domain with the id default if there is neither). It returns nil if OS_AUTH_URL is not set.
func KeystoneFrom(getenv func(string) string) (*Keystone, error) {
	url := strings.TrimRight(getenv("OS_AUTH_URL"), "/")
	if url == "" {
		return nil, nil
	}
	identity, scope, err := credentials(getenv)
	if err != nil {
		return nil, err
	}
	auth := map[string]any{"identity": identity}
	if scope != nil {
		auth["scope"] = scope
	}
	body, err := json.Marshal(map[string]any{"auth": auth})
	if err != nil {
		return nil, fmt.Errorf("nova: encode a login: %w", err)
	}
	return &Keystone{
		url:  strings.TrimSuffix(url, "/v3") + "/v3/auth/tokens",
		body: body, client: &http.Client{Timeout: 30 * time.Second},
	}, nil
}

func credentials(getenv func(string) string) (identity, scope map[string]any, err error) {
	if id := getenv("OS_APPLICATION_CREDENTIAL_ID"); id != "" {
		secret := map[string]any{"id": id, "secret": getenv("OS_APPLICATION_CREDENTIAL_SECRET")}
		return map[string]any{"methods": []string{"application_credential"}, "application_credential": secret}, nil, nil
	}
	for _, name := range []string{"OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME"} {
		if getenv(name) == "" {
			return nil, nil, errors.New("nova: OS_AUTH_URL is set, but " + name + " is not")
		}
	}
	domain := func(prefix string) map[string]any {
		if name := getenv(prefix + "_DOMAIN_NAME"); name != "" {
			return map[string]any{"name": name}
		}
		if id := getenv(prefix + "_DOMAIN_ID"); id != "" {
			return map[string]any{"id": id}
		}
		return map[string]any{"id": "default"}
	}
	user := map[string]any{"name": getenv("OS_USERNAME"), "password": getenv("OS_PASSWORD"), "domain": domain("OS_USER")}
	project := map[string]any{"name": getenv("OS_PROJECT_NAME"), "domain": domain("OS_PROJECT")}
	return map[string]any{"methods": []string{"password"}, "password": map[string]any{"user": user}},
		map[string]any{"project": project}, nil
}

// renewBefore is how long before its end a token is no longer used.
const renewBefore = 2 * time.Minute

// Token implements TokenSource.
func (k *Keystone) Token(ctx context.Context, renew bool) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !renew && k.token != "" && time.Now().Before(k.renewAt) {
		return k.token, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url, bytes.NewReader(k.body))
	if err != nil {
		return "", fmt.Errorf("nova: log in: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := k.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("nova: log in: %w", err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token struct {
			ExpiresAt time.Time `json:"expires_at"`
		} `json:"token"`
	}
	if resp.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("nova: log in: %s answered %s", k.url, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return "", fmt.Errorf("nova: log in: read the answer: %w", err)
	}
	k.token, k.renewAt = resp.Header.Get("X-Subject-Token"), answer.Token.ExpiresAt.Add(-renewBefore)
	return k.token, nil
}
