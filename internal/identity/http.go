package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/neutrino-net/neutrino/internal/fault"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 64 << 10

// Headers of the Identity API.
const (
	authTokenHeader    = "X-Auth-Token"
	subjectTokenHeader = "X-Subject-Token"
)

// access says who may make a request.
type access int

const (
	open      access = iota // everybody, also without a token
	withToken               // whoever has a valid token; the handler may ask for more
	adminOnly               // administrators
)

// handler answers one kind of request. What it returns as an error is answered in the API's form.
type handler func(w http.ResponseWriter, r *request) error

// request is a request with who makes it.
type request struct {
	*http.Request
	// session is set unless the access is open.
	session *session
}

// route binds a pattern of http.ServeMux to its handler.
type route struct {
	pattern string
	access  access
	handler handler
}

// Handler returns the Identity API v3, from its root.
func (e *Embedded) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, routes := range [][]route{
		e.versionRoutes(), e.authRoutes(), e.userRoutes(), e.groupRoutes(), e.credentialRoutes(), e.projectRoutes(),
		e.domainRoutes(), e.roleRoutes(), e.grantRoutes(), e.catalogRoutes(),
	} {
		for _, rt := range routes {
			mux.Handle(rt.pattern, e.serve(rt))
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", authTokenHeader)
		if path := strings.TrimRight(r.URL.Path, "/"); path != "" && path != r.URL.Path {
			r.URL.Path = path // Keystone takes both forms of a path
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			e.unroutable(mux, w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// unroutable answers a request for which the mux has no handler: the path is unknown, or its method is. For OPTIONS it
// says which methods there are.
func (e *Embedded) unroutable(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	var methods []string
	for _, method := range [...]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" {
			methods = append(methods, method)
		}
	}
	if len(methods) == 0 {
		e.refuse(w, r, fault.New(fault.NotFound, "NotFound", "The resource could not be found."))
		return
	}
	w.Header().Set("Allow", strings.Join(append(methods, http.MethodOptions), ", "))
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusOK)
		return
	}
	e.refuse(w, r, errMethod)
}

var errMethod = errors.New("the method is not allowed for this path")

// serve makes an http.Handler of the route: token, access, errors.
func (e *Embedded) serve(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		req := &request{Request: r}
		err := e.admit(rt, req)
		if err == nil {
			err = rt.handler(w, req)
		}
		if err != nil {
			e.refuse(w, r, err)
		}
	})
}

func (e *Embedded) admit(rt route, r *request) (err error) {
	if rt.access == open {
		return nil
	}
	if r.session, err = e.validate(r.Header.Get(authTokenHeader)); err != nil {
		return err
	}
	if rt.access == adminOnly && !r.session.has(roleAdmin) {
		return errForbidden
	}
	return nil
}

var errForbidden = fault.New(fault.Forbidden, "Forbidden", "You are not authorized to perform the requested action.")

// statuses are the codes of the kinds of faults.
var statuses = map[fault.Kind]int{
	fault.Invalid:      http.StatusBadRequest,
	fault.Unauthorized: http.StatusUnauthorized,
	fault.Forbidden:    http.StatusForbidden,
	fault.NotFound:     http.StatusNotFound,
	fault.Conflict:     http.StatusConflict,
	fault.OverQuota:    http.StatusForbidden,
	fault.TooLarge:     http.StatusRequestEntityTooLarge,
	fault.Unavailable:  http.StatusServiceUnavailable,
}

// refuse answers with an error in Keystone's form.
func (e *Embedded) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	message := "An unexpected error prevented the server from fulfilling your request."
	if f := fault.As(err); f != nil {
		status, message = statuses[f.Kind], f.Message
	} else if errors.Is(err, errMethod) {
		status, message = http.StatusMethodNotAllowed, "The method is not allowed for the requested URL."
	} else {
		e.log.Error("identity request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Keystone uri=%q", e.url))
	}
	body := object{"code": status, "title": http.StatusText(status), "message": message}
	_ = reply(w, status, object{"error": body}) // texts and a number can be encoded
}

// object is a JSON object in an answer.
type object = map[string]any

// reply answers with a JSON body, or with none if it is nil.
func reply(w http.ResponseWriter, status int, body any) error {
	if body == nil {
		w.WriteHeader(status)
		return nil
	}
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("identity: encode an answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data) // whoever went away does not want to know
	return nil
}

// decode reads the JSON body of a request into v. Members that v does not know are passed over, as Keystone does.
func decode(r *request, v any) error {
	data, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return fault.New(fault.TooLarge, "RequestTooLarge", "The request is larger than %d bytes.", maxBody)
	}
	if err != nil {
		return fault.Input("body", "it could not be read")
	}
	if err := json.Unmarshal(data, v); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) && wrongType.Field != "" {
			return fault.Input(wrongType.Field, "a %s is not expected here", wrongType.Value)
		}
		return fault.Input("body", "it is not the JSON object that is expected")
	}
	return nil
}

// optional is an attribute that a body may leave out (set is false) or give as null (value is the zero value).
type optional[T any] struct {
	set   bool
	value T
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *optional[T]) UnmarshalJSON(data []byte) error {
	o.set = true
	if bytes.Equal(data, []byte("null")) {
		return nil
	}
	return json.Unmarshal(data, &o.value)
}

// or returns the value, or the fallback where none is given.
func (o optional[T]) or(fallback T) T {
	if o.set {
		return o.value
	}
	return fallback
}

// isDisabled says whether an entry is switched off after a change; without a value it stays as it was.
func isDisabled(enabled *bool, before bool) bool {
	if enabled == nil {
		return before
	}
	return !*enabled
}

// checkText refuses texts that are too long (in characters) or hold what cannot be printed.
func checkText(attribute, text string, longest int) error {
	if !utf8.ValidString(text) || strings.ContainsRune(text, utf8.RuneError) { // as JSON decodes what is not valid
		return fault.Input(attribute, "it is not valid UTF-8")
	}
	if utf8.RuneCountInString(text) > longest {
		return fault.Input(attribute, "it may not be longer than %d characters", longest)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }) {
		return fault.Input(attribute, "it holds characters that cannot be printed")
	}
	return nil
}

// checkName refuses names that are empty, too long, of several lines, or with blanks at their ends.
func checkName(text string, longest int) error {
	if text == "" || strings.TrimSpace(text) != text || strings.ContainsAny(text, "\n\t") {
		return fault.Input("name", "a name may not be empty nor hold tabs, line ends or blanks at its ends")
	}
	return checkText("name", text, longest)
}

// checkRoom refuses one more entry where there are too many.
func checkRoom(kind string, have int) error {
	if have >= maxEntries {
		return fault.New(fault.OverQuota, "OverQuota", "There cannot be more than %d of kind %s.", maxEntries, kind)
	}
	return nil
}

// missing is the 404 of an entry.
func missing(kind, id string) error {
	return fault.New(fault.NotFound, "NotFound", "Could not find %s: %s.", kind, id)
}

// filter keeps the items of a list for which the query's filters hold. A filter that is not in the query holds.
func filter[T any](r *request, items []T, filters map[string]func(T) string) []T {
	query := r.URL.Query()
	return slices.DeleteFunc(items, func(item T) bool {
		for parameter, get := range filters {
			if query.Has(parameter) && !strings.EqualFold(query.Get(parameter), get(item)) {
				return true
			}
		}
		return false
	})
}

// replyList answers with a list under its name. With limit in the query it has at most so many items, those after the one
// with the id marker, and its links lead to the next page.
func replyList[T any](e *Embedded, w http.ResponseWriter, r *request, key string, items []T, view func(T) object) error {
	views := make([]object, len(items))
	for i, item := range items {
		views[i] = view(item)
	}
	root := strings.TrimSuffix(e.url, "/v3")
	links := object{"self": root + r.URL.RequestURI(), "previous": nil, "next": nil}
	query := r.URL.Query()
	if marker := query.Get("marker"); marker != "" {
		at := slices.IndexFunc(views, func(v object) bool { return v["id"] == marker })
		if at < 0 {
			return fault.Input("marker", "%s is not in the list", marker)
		}
		views = views[at+1:]
	}
	if text := query.Get("limit"); text != "" {
		limit, err := strconv.Atoi(text)
		if err != nil || limit < 0 {
			return fault.Input("limit", "expected a number of items")
		}
		if limit > 0 && len(views) > limit {
			views = views[:limit]
			query.Set("marker", fmt.Sprint(views[limit-1]["id"]))
			links["next"] = root + r.URL.Path + "?" + query.Encode()
		}
	}
	return reply(w, http.StatusOK, object{key: views, "links": links})
}

func (e *Embedded) links(collection, id string) object {
	return object{"self": e.url + "/" + collection + "/" + id}
}

func truth(b bool) string { return fmt.Sprintf("%t", b) }
