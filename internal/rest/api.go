package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/policy"
	"github.com/neutrino-net/neutrino/internal/schema"
	"github.com/neutrino-net/neutrino/internal/state"
)

// Authenticator finds out who calls. The token may be empty. A *fault.Error is answered with 401, unless it is of kind
// Unavailable; that and any other error mean that the caller could not be looked up, and are answered with 503.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (*auth.Caller, error)
}

// Options configure an API.
type Options struct {
	Store         *state.Store   // required
	Authenticator Authenticator  // required
	Policy        *policy.Policy // required
	// RulesOverridden says that the operator has changed policy rules. Lists then ask the policy for every object;
	// otherwise they look only at those that the default rules may allow (Collection.Visible).
	RulesOverridden bool
	Logger          *slog.Logger          // default: slog.Default()
	Registerer      prometheus.Registerer // default: no metrics
	// IdentityURL is told to callers without a valid token, in WWW-Authenticate.
	IdentityURL string
	// Quotas bound what projects may have. Default: nothing is bound.
	Quotas Quotas
	// APIURL is the beginning of all links, without a slash at its end. Default: as the client wrote it.
	APIURL string
}

// API is the networking API. New makes one, Register and Handle fill it, Handler serves it.
type API struct {
	opts        Options
	mux         *http.ServeMux
	duration    *prometheus.HistogramVec
	collections []listed
	byPlural    map[string]anyCollection
	byPath      map[string]anyCollection
	served      map[string]bool // see Undeclared and Unserved
}

// Quotas bound how many objects a project may have of a kind, which is named by schema.Resource.Quota.
type Quotas interface {
	// Track is called once for each kind that is bound, before the first Take. used says how many a project has; it is
	// as quick as looking up an object.
	Track(name string, used func(r state.Reader, projectID string) int)
	// Take is called in the transaction that is about to make n more for the project. The error is a fault of kind
	// OverQuota.
	Take(tx *state.Tx, projectID, name string, n int) error
}

// listed is a collection as GET /v2.0/ shows it.
type listed struct{ name, plural, path string }

// anyCollection is what collections ask each other.
type anyCollection interface {
	// see returns the object as policy rules see it, if it exists and the caller may see it.
	see(r state.Reader, c *auth.Caller, id string) (policy.Target, bool)
	// missing is the error for an object that does not exist, or may not be seen.
	missing(id string) error
	// answerSome answers with those of the listed objects that the caller may see, as a list of the collection would.
	answerSome(q *request, r state.Reader, status int, some Listed) error
}

// New makes an API that serves the version documents and nothing else yet.
func New(o Options) (*API, error) {
	if o.Store == nil || o.Authenticator == nil || o.Policy == nil {
		return nil, errors.New("rest: Store, Authenticator and Policy are required")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	a := &API{opts: o, mux: http.NewServeMux(), byPlural: map[string]anyCollection{}, byPath: map[string]anyCollection{}}
	a.served = map[string]bool{}
	a.duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "neutrino_api_request_duration_seconds",
		Help:    "How long requests of the networking API took.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}, []string{"method", "resource", "status"})
	if o.Registerer != nil {
		if err := o.Registerer.Register(a.duration); err != nil {
			return nil, fmt.Errorf("rest: %w", err)
		}
	}
	a.discovery()
	return a, nil
}

// Register adds a collection. It fails when the declaration asks for a policy rule that does not exist: such a rule
// would refuse everybody, and the mistake should be seen at the start.
func Register[T any](a *API, c Collection[T]) error {
	col, err := prepare(a, c)
	if err != nil {
		return fmt.Errorf("rest: %s: %w", c.Resource.Plural, err)
	}
	if c.Under == nil {
		if a.byPath[c.Resource.Path] != nil {
			return fmt.Errorf("rest: %s: the path is taken", c.Resource.Path)
		}
		a.collections = append(a.collections, listed{c.Resource.Name, c.Resource.Plural, c.Resource.Path})
		a.byPlural[c.Resource.Plural] = col
		a.byPath[c.Resource.Path] = col
	}
	if c.Resource.Quota != "" && a.opts.Quotas != nil {
		a.opts.Quotas.Track(c.Resource.Quota, c.Table.Count)
	}
	col.routes()
	return nil
}

// Unserved are the collections ("/networks"), actions and requests ("PUT /trunks/{id}/add_subports") that package schema
// declares and the API does not serve, and Undeclared those that it serves though they are not in schema.All.
func (a *API) Unserved() []string {
	return slices.DeleteFunc(declaredPaths(), func(p string) bool { return a.served[p] })
}

// Undeclared is the opposite of Unserved.
func (a *API) Undeclared() []string {
	declared := declaredPaths()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(a.served)), func(p string) bool { return slices.Contains(declared, p) })
}

func declaredPaths() (paths []string) {
	for _, d := range schema.All() {
		paths = append(paths, d.Collection())
		for _, act := range d.Actions {
			paths = append(paths, act.Method+" "+d.Collection()+"/{id}/"+act.Name)
		}
	}
	for _, r := range schema.Requests() {
		paths = append(paths, r.Method+" "+r.Path)
	}
	return paths
}

// Handle adds a handler outside of the API, for instance of /healthz. It is not asked for a token. pattern is one of
// http.ServeMux.
func (a *API) Handle(pattern string, h http.Handler) {
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		w.(*recorder).request.resource = "other"
		h.ServeHTTP(w, r)
	})
}

// Handler serves the API. Nothing may be registered once it is in use.
func (a *API) Handler() http.Handler { return http.HandlerFunc(a.serve) }

// handler answers a request of an authenticated caller. The error is answered in its place.
type handler func(q *request) error

// endpoint is a path of the API: one handler a method.
type endpoint struct {
	name    string // of the resource in the metrics
	methods map[string]handler
	any     handler // answers all methods instead
	allow   string
	public  bool // answers without a token
}

func (a *API) route(pattern string, e *endpoint) {
	methods := make([]string, 0, len(e.methods))
	for m := range e.methods {
		methods = append(methods, m)
	}
	slices.Sort(methods)
	e.allow = strings.Join(methods, ", ")
	a.mux.Handle(pattern, e)
}

// ServeHTTP is called by the mux; serve has put a recorder in place of the ResponseWriter.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := w.(*recorder).request
	q.Request, q.resource = r, e.name
	if err := q.run(e); err != nil {
		q.fail(err)
	}
}
