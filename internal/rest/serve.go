package rest

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/state"
)

// request is a request on its way through an endpoint.
type request struct {
	*http.Request
	api      *API
	w        *recorder
	id       string // req-<uuid>
	global   string // the id that the client gave, where it gave a valid one
	resource string // in the metrics
	caller   *auth.Caller
}

// recorder remembers the status of an answer, and brings the request through the mux.
type recorder struct {
	http.ResponseWriter
	request *request
	status  int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

const requestIDHeader = "X-Openstack-Request-Id"

// serve handles every request.
func (a *API) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	q := &request{Request: r, api: a, id: "req-" + uuid.NewString(), resource: "unknown"}
	q.w = &recorder{ResponseWriter: w, request: q}
	if id := r.Header.Get(requestIDHeader); validRequestID(id) {
		q.global = id
	}
	w.Header()[requestIDHeader] = []string{q.id}
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			q.fail(&state.PanicError{Value: p, Stack: debug.Stack()})
		}
		a.observe(q, time.Since(start))
	}()
	r.URL = canonical(r.URL)
	if !clean(r.URL.EscapedPath()) {
		if err := q.unknown(); err != nil {
			q.fail(err)
		}
		return
	}
	a.mux.ServeHTTP(q.w, r)
}

// run authenticates the caller and calls the handler of the method.
func (q *request) run(e *endpoint) error {
	if !e.public {
		if err := q.authenticate(); err != nil {
			return err
		}
	}
	if len(q.URL.RawQuery) > maxQuery {
		return &statusError{http.StatusRequestURITooLong, "HTTPRequestURITooLong", "The query string is too long."}
	}
	h := e.any
	if h == nil {
		h = e.methods[q.Method]
	}
	if h == nil {
		q.w.Header().Set("Allow", e.allow)
		return &statusError{http.StatusMethodNotAllowed, "HTTPMethodNotAllowed",
			"The method is not allowed for this resource."}
	}
	return h(q)
}

// unknown answers a path that is not served. Below /v2.0 the caller has to say who it is first, like everywhere else.
func (q *request) unknown() error {
	if strings.HasPrefix(q.URL.Path, root) {
		if err := q.authenticate(); err != nil {
			return err
		}
	}
	return notServed()
}

func notServed() error {
	return fault.New(fault.NotFound, "HTTPNotFound", "The resource could not be found.")
}

// authenticate finds out who calls. Whatever goes wrong while doing so, nobody is let through.
func (q *request) authenticate() error {
	caller, err := q.api.opts.Authenticator.Authenticate(q.Context(), q.Header.Get("X-Auth-Token"))
	switch f := fault.As(err); {
	case err == nil && caller != nil:
		q.caller = caller
		return nil
	case err == nil, f != nil && f.Kind != fault.Unavailable:
		return errUnauthorized
	}
	return fmt.Errorf("%w: authenticating: %w", errNotServed, err)
}

// canonical removes what may follow the path of a collection or an object: a slash, and ".json". A tag keeps all its
// characters. It works on the escaped path, so that an escaped slash in a tag stays what it is.
func canonical(u *url.URL) *url.URL {
	path := u.EscapedPath()
	if !strings.HasPrefix(path, root) {
		return u
	}
	short := strings.TrimSuffix(path, "/")
	if !strings.Contains(short, "/tags/") {
		short = strings.TrimSuffix(short, ".json")
	}
	unescaped, err := url.PathUnescape(short)
	if short == path || err != nil {
		return u
	}
	c := *u
	c.Path, c.RawPath = unescaped, short
	return &c
}

// clean says whether the mux takes the path as it is; it would answer others with a redirect.
func clean(p string) bool {
	return p != "" && p[0] == '/' && (path.Clean(p) == p || path.Clean(p)+"/" == p)
}

// validRequestID accepts what other OpenStack services send: req- and a UUID.
func validRequestID(id string) bool {
	return len(id) == 40 && strings.HasPrefix(id, "req-") && uuid.Validate(id[4:]) == nil
}

// observe counts and logs a request that has been answered.
func (a *API) observe(q *request, took time.Duration) {
	method := q.Method
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete:
	default:
		method = "other" // the label must not grow with what clients invent
	}
	a.duration.WithLabelValues(method, q.resource, statusClass(q.w.status)).Observe(took.Seconds())
	if !a.opts.Logger.Enabled(q.Context(), slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{
		slog.String("request_id", q.id), slog.String("method", q.Method), slog.String("path", q.URL.EscapedPath()),
		slog.Int("status", q.w.status), slog.Duration("took", took), slog.String("from", q.RemoteAddr),
	}
	if q.global != "" {
		attrs = append(attrs, slog.String("global_request_id", q.global))
	}
	if q.caller != nil {
		attrs = append(attrs, slog.String("user_id", q.caller.UserID), slog.String("project_id", q.caller.ProjectID))
	}
	a.opts.Logger.LogAttrs(q.Context(), slog.LevelDebug, "API request", attrs...)
}

func statusClass(status int) string {
	switch status / 100 {
	case 2:
		return "2xx"
	case 3:
		return "3xx"
	case 4:
		return "4xx"
	}
	return "5xx"
}
