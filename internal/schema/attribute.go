package schema

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// codec is how values of a Go type are validated, shown, and compared.
type codec[V any] struct {
	shape   Shape
	parse   func(raw any) (V, error)
	append  func(b []byte, v V) []byte
	text    func(v V) string
	compare func(a, b V) int
	// canonical is the text of the value that a client has spelt in another way; nil: there is one way only.
	canonical func(text string) string
}

// option changes the declaration of an attribute.
type option func(*Common)

func required(c *Common)            { c.Required = true }
func enforced(c *Common)            { c.Enforced = true }
func restricted(c *Common)          { c.Restricted = true }
func byDefault(v any) option        { return func(c *Common) { c.Default = v } }
func extension(alias string) option { return func(c *Common) { c.Extension = alias } }
func help(text string) option       { return func(c *Common) { c.Help = text } }
func fields(names ...string) option { return func(c *Common) { c.Fields = names } }
func oneOf(values ...string) option { return func(c *Common) { c.Enum = values } }

// attribute declares an attribute that is a field of the struct: ref returns the field's address.
func attribute[T, V any](name string, access Access, c codec[V], ref func(*T) *V, opts ...option) *Attribute[T] {
	a := computed(name, access, c, func(o *T) V { return *ref(o) }, opts...)
	a.set = func(obj *T, raw any) error {
		v, err := c.parse(raw)
		if err != nil {
			return err
		}
		if raw != nil && len(a.Enum) > 0 && !slices.Contains(a.Enum, c.text(v)) {
			return fmt.Errorf("'%s' is not in %s", clip(c.text(v)), strings.Join(a.Enum, ", "))
		}
		*ref(obj) = v
		return nil
	}
	return a
}

// computed declares an attribute that is only shown.
func computed[T, V any](name string, access Access, c codec[V], get func(*T) V, opts ...option) *Attribute[T] {
	a := &Attribute[T]{
		Common:  Common{Name: name, Access: access, Shape: c.shape},
		set:     func(*T, any) error { return fmt.Errorf("'%s' cannot be set", name) },
		Append:  func(b []byte, o *T) []byte { return c.append(b, get(o)) },
		Text:    func(o *T) string { return c.text(get(o)) },
		Compare: func(x, y *T) int { return c.compare(get(x), get(y)) },

		Canonical: c.canonical,
	}
	a.Match = func(o *T, value string) bool { return a.Text(o) == value }
	if c.shape.Type == "boolean" {
		a.Match = func(o *T, value string) bool {
			want, err := parseBool(value)
			return err == nil && a.Text(o) == strconv.FormatBool(want)
		}
	}
	for _, opt := range opts {
		opt(&a.Common)
	}
	return a
}

// text is a string of at most most bytes, without control characters but tab and newline.
func text(most int) codec[string] {
	return codec[string]{
		shape: Shape{Type: "string", Most: most},
		parse: func(raw any) (string, error) {
			s, ok := raw.(string)
			if !ok {
				return "", fmt.Errorf("'%s' is not a valid string", quote(raw))
			}
			if utf8.RuneCountInString(s) > most {
				return "", fmt.Errorf("'%s' exceeds maximum length of %d", clip(s), most)
			}
			if !utf8.ValidString(s) {
				return "", fmt.Errorf("it is not valid UTF-8")
			}
			if strings.IndexFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' }) >= 0 {
				return "", fmt.Errorf("it has control characters")
			}
			return s, nil
		},
		append:  appendString,
		text:    func(v string) string { return v },
		compare: strings.Compare,
	}
}

// id is a UUID.
func id() codec[string] {
	c := text(36)
	c.shape.Format = "uuid"
	c.parse = func(raw any) (string, error) {
		s, ok := raw.(string)
		if !ok || len(s) != 36 || uuid.Validate(s) != nil {
			return "", fmt.Errorf("'%s' is not a valid UUID", quote(raw))
		}
		return strings.ToLower(s), nil
	}
	return c
}

// nullable accepts null for the zero value, and shows it as null.
func nullable[V comparable](c codec[V]) codec[V] {
	inner := c
	c.shape.Nullable = true
	c.parse = func(raw any) (v V, err error) {
		if raw == nil {
			return v, nil
		}
		return inner.parse(raw)
	}
	c.append = func(b []byte, v V) []byte {
		var zero V
		if v == zero {
			return append(b, "null"...)
		}
		return inner.append(b, v)
	}
	return c
}

func boolean() codec[bool] {
	return codec[bool]{
		shape: aBoolean,
		parse: func(raw any) (bool, error) {
			switch v := raw.(type) {
			case bool:
				return v, nil
			case string:
				return parseBool(v)
			case json.Number:
				return parseBool(v.String())
			}
			return false, fmt.Errorf("'%s' cannot be converted to boolean", quote(raw))
		},
		append: strconv.AppendBool,
		text:   strconv.FormatBool,
		compare: func(a, b bool) int {
			return strings.Compare(strconv.FormatBool(a), strconv.FormatBool(b))
		},
	}
}

// parseBool accepts what the networking API accepts as a boolean.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("'%s' cannot be converted to boolean", clip(s))
}

func integer(least, most int) codec[int] {
	return codec[int]{
		shape: Shape{Type: "integer", Least: least, Most: most},
		parse: func(raw any) (int, error) {
			var n int
			var err error
			switch v := raw.(type) {
			case json.Number:
				n, err = strconv.Atoi(v.String())
			case string:
				n, err = strconv.Atoi(v)
			case int:
				n = v
			default:
				err = strconv.ErrSyntax
			}
			if err != nil {
				return 0, fmt.Errorf("'%s' is not an integer", quote(raw))
			}
			if n < least || n > most {
				return 0, fmt.Errorf("'%d' is not in the range %d to %d", n, least, most)
			}
			return n, nil
		},
		append:  func(b []byte, v int) []byte { return strconv.AppendInt(b, int64(v), 10) },
		text:    strconv.Itoa,
		compare: cmp.Compare[int],
	}
}

// counter shows an integer that clients cannot set.
func counter() codec[int64] {
	return codec[int64]{
		shape:   aNumber,
		append:  func(b []byte, v int64) []byte { return strconv.AppendInt(b, v, 10) },
		text:    func(v int64) string { return strconv.FormatInt(v, 10) },
		compare: cmp.Compare[int64],
	}
}

// timestamp shows a time in the given layout, in UTC.
func timestamp(layout string) codec[time.Time] {
	return codec[time.Time]{
		shape:   aText.formatted("date-time"),
		append:  func(b []byte, v time.Time) []byte { return append(v.UTC().AppendFormat(append(b, '"'), layout), '"') },
		text:    func(v time.Time) string { return v.UTC().Format(layout) },
		compare: time.Time.Compare,
	}
}

// The layouts of times: resources carry a zone, agents do not.
const (
	resourceTime = "2006-01-02T15:04:05Z"
	agentTime    = "2006-01-02 15:04:05"
)

// mac is a unicast MAC address, stored in lower case with colons.
func mac() codec[string] {
	c := text(17)
	c.shape.Format = "mac"
	c.parse = func(raw any) (string, error) {
		s, _ := raw.(string)
		hw, err := net.ParseMAC(s)
		if err != nil || len(hw) != 6 {
			return "", fmt.Errorf("'%s' is not a valid MAC address", quote(raw))
		}
		if hw[0]&1 != 0 || slices.Max(hw) == 0 {
			return "", fmt.Errorf("'%s' is not the MAC address of a single device", clip(s))
		}
		return hw.String(), nil
	}
	c.canonical = func(text string) string {
		if hw, err := net.ParseMAC(text); err == nil {
			return hw.String()
		}
		return text
	}
	return c
}

// address is an IP address without a zone; IPv4 in IPv6 is refused.
func address() codec[netip.Addr] {
	return codec[netip.Addr]{
		shape:   aText.formatted("ip"),
		parse:   parseAddr,
		append:  func(b []byte, v netip.Addr) []byte { return append(v.AppendTo(append(b, '"')), '"') },
		text:    addrText,
		compare: netip.Addr.Compare,
	}
}

func addrText(v netip.Addr) string {
	if !v.IsValid() {
		return ""
	}
	return v.String()
}

func parseAddr(raw any) (netip.Addr, error) {
	s, _ := raw.(string)
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Zone() != "" || ip.Is4In6() {
		return netip.Addr{}, fmt.Errorf("'%s' is not a valid IP address", quote(raw))
	}
	return ip, nil
}

// prefix is an address block. Host bits are cleared, as the networking API does.
func prefix() codec[netip.Prefix] {
	return codec[netip.Prefix]{
		shape:  aText.formatted("cidr"),
		parse:  parsePrefix,
		append: func(b []byte, v netip.Prefix) []byte { return append(v.AppendTo(append(b, '"')), '"') },
		text:   netip.Prefix.String,
		compare: func(a, b netip.Prefix) int {
			return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
		},
	}
}

func parsePrefix(raw any) (netip.Prefix, error) {
	s, _ := raw.(string)
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("'%s' is not a valid IP subnet", quote(raw))
	}
	return p.Masked(), nil
}

// list is an array of at most most values without duplicates. null is the empty list.
func list[V any](most int, item codec[V]) codec[[]V] {
	return codec[[]V]{
		shape: Shape{Type: "array", Most: most, Items: &item.shape},
		parse: func(raw any) ([]V, error) {
			if raw == nil {
				return nil, nil
			}
			values, ok := raw.([]any)
			if !ok {
				return nil, fmt.Errorf("'%s' is not a list", quote(raw))
			}
			if len(values) > most {
				return nil, fmt.Errorf("it has %d items, and at most %d are allowed", len(values), most)
			}
			out := make([]V, 0, len(values))
			seen := make(map[string]bool, len(values))
			for _, r := range values {
				v, err := item.parse(r)
				if err != nil {
					return nil, err
				}
				if key := item.text(v); seen[key] {
					return nil, fmt.Errorf("duplicate items in the list: '%s'", clip(key))
				} else {
					seen[key] = true
				}
				out = append(out, v)
			}
			return out, nil
		},
		append: func(b []byte, v []V) []byte {
			b = append(b, '[')
			for i := range v {
				if i > 0 {
					b = append(b, ',')
				}
				b = item.append(b, v[i])
			}
			return append(b, ']')
		},
		text: func(v []V) string {
			parts := make([]string, len(v))
			for i := range v {
				parts[i] = item.text(v[i])
			}
			return strings.Join(parts, ",")
		},
		compare: func(a, b []V) int { return slices.CompareFunc(a, b, item.compare) },
	}
}

// object is a JSON object with exactly these members. read fills the value from the members; a missing one is nil.
func object[V any](members []Member, read func(m map[string]any) (V, error), show func(v V) any) codec[V] {
	var names []string
	for _, m := range members {
		names = append(names, m.Name)
	}
	c := codec[V]{
		shape: anObject(members...),
		parse: func(raw any) (v V, err error) {
			m, ok := raw.(map[string]any)
			if !ok {
				return v, fmt.Errorf("'%s' is not a dictionary", quote(raw))
			}
			for name := range m {
				if !slices.Contains(names, name) {
					return v, fmt.Errorf("'%s' is not one of %s", clip(name), strings.Join(names, ", "))
				}
			}
			return read(m)
		},
		append: func(b []byte, v V) []byte { return appendAny(b, show(v)) },
		text:   func(v V) string { return string(appendAny(nil, show(v))) },
	}
	c.compare = func(a, b V) int { return strings.Compare(c.text(a), c.text(b)) }
	return c
}

// shown is a codec for values that are only shown.
func shown(s Shape) codec[any] {
	c := codec[any]{
		shape:  s,
		append: appendAny,
		text:   func(v any) string { return string(appendAny(nil, v)) },
	}
	c.compare = func(a, b any) int { return strings.Compare(c.text(a), c.text(b)) }
	return c
}

// dictionary is a free-form JSON object of at most 4 KiB.
func dictionary() codec[map[string]any] {
	const most = 4 << 10
	c := codec[map[string]any]{
		shape: anObject(),
		parse: func(raw any) (map[string]any, error) {
			if raw == nil {
				return nil, nil
			}
			m, ok := raw.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("'%s' is not a dictionary", quote(raw))
			}
			if len(appendAny(nil, m)) > most {
				return nil, fmt.Errorf("it is longer than %d bytes", most)
			}
			return m, nil
		},
		append: func(b []byte, v map[string]any) []byte {
			if v == nil {
				return append(b, "{}"...)
			}
			return appendAny(b, v)
		},
		text: func(v map[string]any) string { return string(appendAny(nil, v)) },
	}
	c.compare = func(a, b map[string]any) int { return strings.Compare(c.text(a), c.text(b)) }
	return c
}

// quote shows what a client sent in an error, shortened.
func quote(raw any) string {
	if s, ok := raw.(string); ok {
		return clip(s)
	}
	return clip(string(appendAny(nil, raw)))
}

func appendAny(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case string:
		return appendString(b, v)
	}
	j, err := json.Marshal(v)
	if err != nil {
		return append(b, "null"...)
	}
	return append(b, j...)
}

// appendString appends a JSON string. Most strings of the API need no escaping.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			j, _ := json.Marshal(s) // a string cannot fail
			return append(b, j...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
