package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// contract is the OpenAPI document, held against what is answered.
type contract struct {
	operations []operation
}

// operation is one of the document: method and path, and its answers by their status.
type operation struct {
	method  string
	path    *regexp.Regexp
	literal int // the characters of the path that are no wildcards: the more, the better it fits
	*openapi3.Operation
}

// promised reads the document from the API itself. Answers are not to have members that it does not mention.
func promised(w *whole) *contract {
	w.t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(w.must(http.StatusOK, "", "GET", "/openapi.json", "").raw)
	if err != nil {
		w.t.Fatal(err)
	}
	for name, s := range doc.Components.Schemas {
		if !strings.HasSuffix(name, "_create") && !strings.HasSuffix(name, "_update") {
			s.Value.AdditionalProperties = openapi3.AdditionalProperties{Has: new(bool)}
		}
	}
	c := &contract{}
	wildcard := regexp.MustCompile(`\\\{\w+\\\}`)
	for path, item := range doc.Paths.Map() {
		pattern := wildcard.ReplaceAllString(regexp.QuoteMeta("/v2.0"+path), `[^/]+`)
		for method, op := range item.Operations() {
			c.operations = append(c.operations, operation{
				method, regexp.MustCompile("^" + pattern + "$"), len(pattern) - 5*strings.Count(pattern, "[^/]+"), op,
			})
		}
	}
	return c
}

// check says in what an answer of success is not as it was promised. covered counts the operations by what was seen.
func (c *contract) check(method, path string, a *answer, covered map[string]int) error {
	if a.status >= 300 {
		return nil
	}
	path = strings.TrimSuffix(strings.TrimSuffix(path, "/"), ".json") // both are ways to say the same
	var best operation
	for _, op := range c.operations {
		if op.method == method && op.literal > best.literal && op.path.MatchString(path) {
			best = op
		}
	}
	if best.Operation == nil {
		return fmt.Errorf("%s %s is not in the document", method, path)
	}
	covered[best.OperationID]++
	response := best.Responses.Value(fmt.Sprint(a.status))
	if response == nil {
		return fmt.Errorf("%s has no response %d", best.OperationID, a.status)
	}
	media := response.Value.Content.Get("application/json")
	if media == nil {
		return nil
	}
	var body any
	if err := json.Unmarshal(a.raw, &body); err != nil {
		return fmt.Errorf("%s: %w", best.OperationID, err)
	}
	if err := media.Schema.Value.VisitJSON(body, openapi3.VisitAsResponse()); err != nil {
		return fmt.Errorf("%s: %w\n%s", best.OperationID, err, a.raw)
	}
	return nil
}

func TestDocumentIsServedToEverybody(t *testing.T) {
	w := newWhole(t, func(o *ServerOptions) { o.Version = "v9" })
	a := w.must(http.StatusOK, "", "GET", "/openapi.json", "")
	if a.body["openapi"] != "3.0.3" || a.body["info"].(map[string]any)["version"] != "v9" {
		t.Errorf("the document begins %.200s", a.raw)
	}
	promised(w)
	t.Logf("%d bytes", len(a.raw))
}
