package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"unicode/utf8"

	"github.com/neutrino-net/neutrino/internal/fault"
)

// The bounds of a body. Depth and values keep the memory that a decoded body takes in proportion: a megabyte of empty
// lists would take a hundred.
const (
	maxBody   = 4 << 20 // bytes
	maxBulk   = 1000    // objects in one request
	maxDepth  = 32      // nested objects and lists
	maxValues = 200_000 // values and member names
)

func badRequest(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "HTTPBadRequest", format, args...)
}

func tooLarge(format string, args ...any) *fault.Error {
	return fault.New(fault.TooLarge, "RequestTooLarge", format, args...)
}

var errInvalidBody = badRequest("Body contains invalid data")

// object reads the body, which has to be one JSON object. An empty body is a nil map. Of members that are named
// twice the last one counts, as in Neutron.
func (q *request) object() (map[string]any, error) {
	if q.ContentLength > maxBody {
		return nil, tooLarge("The body is longer than %d bytes.", maxBody)
	}
	p := getBuffer()
	defer putBuffer(p)
	buf := bytes.NewBuffer((*p)[:0])
	_, err := buf.ReadFrom(http.MaxBytesReader(q.w.ResponseWriter, q.Body, maxBody))
	*p = buf.Bytes()
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge("The body is longer than %d bytes.", maxBody)
	case err != nil:
		return nil, errInvalidBody
	}
	return decodeObject(buf.Bytes())
}

func decodeObject(data []byte) (map[string]any, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil
	}
	if !utf8.Valid(data) {
		return nil, errInvalidBody
	}
	if err := measure(data); err != nil {
		return nil, err
	}
	var body map[string]any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if dec.Decode(&body) != nil || body == nil {
		return nil, errInvalidBody
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errInvalidBody
	}
	return body, nil
}

// measure refuses JSON that is nested too deeply or has too many values, before memory is spent on it. Text that is not
// JSON passes or fails; the decoder judges it.
func measure(data []byte) error {
	depth, values := 0, 0
	inString := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString:
			if c == '\\' {
				i++
			} else if c == '"' {
				inString = false
			}
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			values++
			if depth++; depth > maxDepth {
				return badRequest("Body contains invalid data: it is nested more than %d levels deep", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		case c == ',' || c == ':':
			values++
		}
	}
	if values > maxValues {
		return tooLarge("The body has more than %d values.", maxValues)
	}
	return nil
}

// bodies takes the attributes out of a body: of one object, as in {"network": {…}}, or where several may be made at
// once of a list of them, as in {"networks": [{…}, …]}.
func bodies(body map[string]any, name, plural string, bulk bool) (items []map[string]any, isList bool, err error) {
	if raw, ok := body[plural]; ok {
		if !bulk {
			return nil, false, badRequest("Bulk operation not supported")
		}
		items, err = several(raw, name)
		return items, true, err
	}
	raw, ok := body[name]
	if !ok || raw == nil {
		return nil, false, badRequest("Unable to find '%s' in request body", name)
	}
	item, ok := raw.(map[string]any)
	if !ok {
		return nil, false, badRequest("Object '%s' contains invalid data", name)
	}
	return []map[string]any{item}, false, nil
}

// several takes the objects out of a list. Each may be wrapped once more, as in {"networks": [{"network": {…}}]}.
func several(raw any, name string) ([]map[string]any, error) {
	list, ok := raw.([]any)
	if raw != nil && !ok {
		return nil, errInvalidBody
	}
	if len(list) == 0 {
		return nil, badRequest("Resources required")
	}
	if len(list) > maxBulk {
		return nil, tooLarge("A request may make at most %d objects.", maxBulk)
	}
	items := make([]map[string]any, len(list))
	for i, raw := range list {
		item, ok := raw.(map[string]any)
		if inner, wrapped := item[name]; ok && wrapped {
			item, ok = inner.(map[string]any)
		}
		if !ok {
			return nil, badRequest("Object '%s' contains invalid data", name)
		}
		items[i] = item
	}
	return items, nil
}

// quoted shortens what a client sent before it is repeated in an error.
func quoted(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	for cut := most; ; cut-- {
		if utf8.RuneStart(s[cut]) {
			return s[:cut] + "…"
		}
	}
}
