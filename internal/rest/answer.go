package rest

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/state"
)

// buffers holds the byte slices in which answers are built. Very large ones are left to the garbage collector.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

const largestPooled = 16 << 20

func getBuffer() *[]byte { return buffers.Get().(*[]byte) }

func putBuffer(b *[]byte) {
	if cap(*b) <= largestPooled {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

var jsonType = []string{"application/json"}

// answer sends a JSON body.
func (q *request) answer(status int, body []byte) {
	h := q.w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	q.w.WriteHeader(status)
	if q.Method != http.MethodHead {
		_, _ = q.w.Write(body) // a client that is gone needs no answer
	}
}

// answerValue sends a small value as JSON.
func (q *request) answerValue(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	q.answer(status, body)
	return nil
}

// nothing sends 204.
func (q *request) nothing() { q.w.WriteHeader(http.StatusNoContent) }

// statusError is an error of the protocol, for which package fault has no kind.
type statusError struct {
	status  int
	typ     string
	message string
}

func (e *statusError) Error() string { return e.message }

// errUnauthorized is answered like the Keystone middleware does.
var errUnauthorized = errors.New("the request you have made requires authentication")

// errNotServed says that the request could not be looked at, and may be repeated.
var errNotServed = errors.New("the service is unavailable at present")

// statuses are the status codes of the kinds of faults.
var statuses = map[fault.Kind]int{
	fault.Invalid:       http.StatusBadRequest,
	fault.Unauthorized:  http.StatusUnauthorized,
	fault.Forbidden:     http.StatusForbidden,
	fault.NotFound:      http.StatusNotFound,
	fault.Conflict:      http.StatusConflict,
	fault.OverQuota:     http.StatusConflict,
	fault.TooLarge:      http.StatusRequestEntityTooLarge,
	fault.Precondition:  http.StatusPreconditionFailed,
	fault.Unavailable:   http.StatusServiceUnavailable,
	fault.Unimplemented: http.StatusNotImplemented,
}

// fail answers with an error. It is the only place where errors become status codes, and where what went wrong inside
// is logged; the client learns nothing of the latter but the request's id.
func (q *request) fail(err error) {
	if q.w.status != 0 {
		q.api.opts.Logger.Error("API request failed after its answer had begun",
			"request_id", q.id, "method", q.Method, "resource", q.resource, "error", err)
		return
	}
	var s *statusError
	f := fault.As(err)
	switch {
	case errors.Is(err, errUnauthorized):
		q.unauthorized()
	case errors.As(err, &s):
		q.fault(s.status, s.typ, s.message, "")
	case errors.Is(err, errNotServed):
		q.api.opts.Logger.Warn("API request not served", "request_id", q.id, "error", err)
		q.w.Header().Set("Retry-After", "1")
		q.fault(http.StatusServiceUnavailable, "ServiceUnavailable", "The service is unavailable at present.", "")
	case f != nil:
		status := statuses[f.Kind]
		if status == http.StatusServiceUnavailable {
			q.w.Header().Set("Retry-After", "1")
		}
		q.fault(status, f.Type, f.Message, f.Detail)
	case errors.Is(err, state.ErrTooLarge):
		q.fault(http.StatusRequestEntityTooLarge, "RequestTooLarge", "The request changes more than is possible at once.", "")
	case errors.Is(err, state.ErrUnavailable):
		if q.Context().Err() == nil {
			q.api.opts.Logger.Warn("API request not served", "request_id", q.id, "error", err)
		}
		q.w.Header().Set("Retry-After", "1")
		q.fault(http.StatusServiceUnavailable, "ServiceUnavailable",
			"The service is unavailable at present; whether a change was made is to be looked up.", "")
	default:
		q.internal(err)
	}
}

// internal answers 500.
func (q *request) internal(err error) {
	attrs := []any{"request_id", q.id, "method", q.Method, "resource", q.resource, "error", err}
	var p *state.PanicError
	if errors.As(err, &p) {
		attrs = append(attrs, slog.String("stack", string(p.Stack)))
	}
	q.api.opts.Logger.Error("API request failed", attrs...)
	q.fault(http.StatusInternalServerError, "HTTPInternalServerError",
		"Request Failed: internal server error while processing your request.", "")
}

// fault sends the API's own form of an error.
func (q *request) fault(status int, typ, message, detail string) {
	type body struct {
		Type    string `json:"type"`
		Message string `json:"message"`
		Detail  string `json:"detail"`
	}
	b, err := json.Marshal(map[string]body{"NeutronError": {typ, message, detail}})
	if err != nil { // three strings cannot fail
		b = nil
	}
	q.answer(status, b)
}

// unauthorized sends 401 as services behind Keystone do: it says where to get a token.
func (q *request) unauthorized() {
	if uri := q.api.opts.IdentityURL; uri != "" {
		q.w.Header().Set("WWW-Authenticate", `Keystone uri="`+strings.ReplaceAll(uri, `"`, "")+`"`)
	}
	q.answer(http.StatusUnauthorized, []byte(`{"error": {"code": 401, "title": "Unauthorized", `+
		`"message": "The request you have made requires authentication."}}`))
}
