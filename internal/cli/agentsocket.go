package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// maxAgentAnswer bounds what is read of the agent's answer, in bytes.
const maxAgentAnswer = 4 << 20

// agentClient speaks to the agent of this host through its socket.
func agentClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
}

// askAgent gets the answer to a question. absent is the error when the agent does not know such questions, because it has
// no role that answers them.
func askAgent(ctx context.Context, client *http.Client, path, absent string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no agent answers: %w", errors.Unwrap(err))
	}
	defer resp.Body.Close()
	body := io.LimitReader(resp.Body, maxAgentAnswer)
	if resp.StatusCode == http.StatusOK {
		return json.NewDecoder(body).Decode(answer)
	}
	var refusal struct {
		Error string `json:"error"`
	}
	if json.NewDecoder(body).Decode(&refusal) != nil || refusal.Error == "" {
		refusal.Error = "the agent answers " + resp.Status
		if resp.StatusCode == http.StatusNotFound {
			refusal.Error = absent
		}
	}
	return errors.New(refusal.Error)
}
