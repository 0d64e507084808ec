package nova

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/neutrino-net/neutrino/internal/model"
)

// event is an event in the form of Nova's API.
type event struct {
	Name       string `json:"name"`
	ServerUUID string `json:"server_uuid"`
	Status     string `json:"status,omitempty"`
	Tag        string `json:"tag"`
	// Code is only in answers: what Nova did with the event.
	Code result `json:"code,omitempty"`
}

// result is the status code that Nova gave to one event.
type result int

func (r result) ok() bool { return r >= 200 && r < 300 }

// label is the result as a value of a metric.
func (r result) label() string {
	switch {
	case r.ok():
		return "ok"
	case r == http.StatusNotFound:
		return "no_server"
	case r == http.StatusUnprocessableEntity:
		return "no_host"
	}
	return "refused"
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// errToken says that the token was refused.
var errToken = errors.New("nova: the token was refused")

// post sends the events in one call, and returns what Nova did with each. On an error Nova has to be asked again. What
// Nova has refused for good is no error: asking again would not change it, and would hold up those that follow.
func (n *Notifier) post(ctx context.Context, token string, batch []*model.NovaEvent) ([]result, error) {
	events := make([]event, len(batch))
	for i, e := range batch {
		events[i] = event{Name: e.Event, ServerUUID: e.ServerID, Status: e.Status, Tag: e.PortID}
	}
	body, err := json.Marshal(map[string]any{"events": events})
	if err != nil {
		return nil, fmt.Errorf("nova: encode events: %w", err)
	}
	url := n.opts.URL + "/os-server-external-events"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("nova: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-Auth-Token", token)
	resp, err := n.opts.Client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("nova: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("nova: read the answer: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusMultiStatus:
		return resultsOf(events, text)
	case http.StatusNotFound, http.StatusBadRequest, http.StatusUnprocessableEntity:
		// 404: none of the servers exists any more.
		return all(len(batch), result(resp.StatusCode)), nil
	case http.StatusUnauthorized:
		return nil, errToken
	}
	return nil, fmt.Errorf("nova: %s answered %s: %.200s", url, resp.Status, text)
}

// resultsOf reads the answer: the events again, each with a code. An event that is not in it is as good as the answer.
func resultsOf(events []event, text []byte) ([]result, error) {
	var answer struct {
		Events []event `json:"events"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("nova: read the answer: %w", err)
	}
	codes := make(map[event]result, len(answer.Events))
	for _, e := range answer.Events {
		codes[event{Name: e.Name, ServerUUID: e.ServerUUID, Tag: e.Tag}] = e.Code
	}
	results := all(len(events), http.StatusOK)
	for i, e := range events {
		if code, ok := codes[event{Name: e.Name, ServerUUID: e.ServerUUID, Tag: e.Tag}]; ok && code != 0 {
			results[i] = code
		}
	}
	return results, nil
}

func all(n int, r result) []result {
	results := make([]result, n)
	for i := range results {
		results[i] = r
	}
	return results
}
