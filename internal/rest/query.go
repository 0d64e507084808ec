package rest

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/neutrino-net/neutrino/internal/auth"
	"github.com/neutrino-net/neutrino/internal/fault"
	"github.com/neutrino-net/neutrino/internal/policy"
	"github.com/neutrino-net/neutrino/internal/schema"
)

// The bounds of a query string. Filters that are not plain comparisons may be costly, so that fewer values are taken.
const (
	maxQuery         = 8 << 10 // bytes
	maxVirtualValues = 50
)

// param is one key=value of a query string, in the order of the client.
type param struct{ key, value string }

func parseQuery(raw string) ([]param, error) {
	var params []param
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		k, err := url.QueryUnescape(key)
		v, err2 := url.QueryUnescape(value)
		if err != nil || err2 != nil || !utf8.ValidString(k) || !utf8.ValidString(v) {
			return nil, badRequest("The query string is malformed")
		}
		params = append(params, param{k, v})
	}
	return params, nil
}

func values(params []param, key string) (all []string) {
	for _, p := range params {
		if p.key == key {
			all = append(all, p.value)
		}
	}
	return all
}

// last returns the last value of the key.
func last(params []param, key string) (string, bool) {
	for _, p := range slices.Backward(params) {
		if p.key == key {
			return p.value, true
		}
	}
	return "", false
}

// query is what a list is asked for.
type query[T any] struct {
	params  []param
	fields  []string
	filters []filter[T]
	sort    []order[T]
	limit   int // 0: all
	marker  string
	reverse bool
}

// filter is a condition: one of the values. The conditions of a query all have to hold.
type filter[T any] struct {
	name   string
	values []string // canonical and sorted, for filters that are attributes
	match  func(*T) bool
	// The attribute behind the filter is not for everybody: never says that the caller may not see it on any object,
	// depends that check has to be asked.
	never, depends bool
	check          policy.Check
}

// order is a sort key.
type order[T any] struct {
	compare func(a, b *T) int
	desc    bool
}

// reserved are the query parameters that are not filters.
var reserved = []string{"fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse"}

// parseList reads the query string of a list.
func (c *collection[T]) parseList(caller *auth.Caller, raw string) (*query[T], error) {
	params, err := parseQuery(raw)
	if err != nil {
		return nil, err
	}
	l := &query[T]{params: params, fields: values(params, "fields")}
	if l.filters, err = c.filters(caller, params); err != nil {
		return nil, err
	}
	if l.limit, err = parseLimit(params); err != nil {
		return nil, err
	}
	if l.sort, err = c.orders(caller, params); err != nil {
		return nil, err
	}
	if l.limit > 0 { // without a limit there are no pages
		l.marker, _ = last(params, "marker")
		reverse, _ := last(params, "page_reverse")
		l.reverse = strings.EqualFold(reverse, "true")
	}
	return l, nil
}

func (c *collection[T]) filters(caller *auth.Caller, params []param) ([]filter[T], error) {
	var filters []filter[T]
	var unknown []string
	done := map[string]bool{}
	for _, p := range params {
		if done[p.key] || slices.Contains(reserved, p.key) {
			continue
		}
		done[p.key] = true
		given := values(params, p.key)
		var f filter[T]
		var err error
		at := c.byName[p.key]
		if virtual := c.Resource.Virtual[p.key]; virtual != nil {
			f, err = virtualFilter(p.key, given, virtual, at != nil && len(at.Fields) > 0)
			if at == nil { // the filters that are made of tags
				at = c.byName["tags"]
			}
		} else if at != nil && at.Is(schema.Filter) {
			f, err = attributeFilter(at.Attribute, given)
		} else {
			unknown = append(unknown, quoted(p.key))
			continue
		}
		if err != nil {
			return nil, err
		}
		// A filter must not tell what the caller may not see.
		if at != nil && at.action != "" {
			f.check = c.api.opts.Policy.Bind(caller, at.action)
			f.never, f.depends = f.check.Decide() == policy.Never, f.check.Decide() == policy.Depends
		}
		filters = append(filters, f)
	}
	if len(unknown) > 0 {
		return nil, badRequest("%s is invalid attribute for filtering", names(unknown))
	}
	return filters, nil
}

// attributeFilter compares with the text of an attribute. The values are put into the form that the text has, so that
// finding one among many is quick.
func attributeFilter[T any](at *schema.Attribute[T], given []string) (f filter[T], err error) {
	f = filter[T]{name: at.Name, values: make([]string, len(given))}
	for i, v := range given {
		switch at.Type {
		case "boolean":
			b, err := parseBool(v)
			if err != nil {
				return f, fault.Operation("'%s' cannot be converted to boolean", quoted(v))
			}
			v = strconv.FormatBool(b)
		case "integer":
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return f, fault.Operation("'%s' is not an integer", quoted(v))
			}
			v = strconv.FormatInt(n, 10)
		}
		if at.Canonical != nil {
			v = at.Canonical(v)
		}
		f.values[i] = v
	}
	slices.Sort(f.values)
	f.values = slices.Compact(f.values)
	if len(f.values) == 1 {
		want := f.values[0]
		f.match = func(obj *T) bool { return at.Match(obj, want) }
		return f, nil
	}
	f.match = func(obj *T) bool {
		_, found := slices.BinarySearch(f.values, at.Text(obj))
		return found
	}
	return f, nil
}

// virtualFilter is a filter that is not a plain comparison. When keyed is true, its values are key=value, of which
// those with the same key are alternatives and those with different keys have to hold together.
func virtualFilter[T any](name string, given []string, match func(*T, string) bool, keyed bool) (f filter[T], err error) {
	total := 0
	var groups [][]string
	where := map[string]int{}
	for _, v := range given {
		total += 1 + strings.Count(v, ",")
		key := ""
		if keyed {
			key, _, _ = strings.Cut(v, "=")
		}
		if _, ok := where[key]; !ok {
			where[key] = len(groups)
			groups = append(groups, nil)
		}
		groups[where[key]] = append(groups[where[key]], v)
	}
	if total > maxVirtualValues {
		return f, badRequest("The filter %s has more than %d values", name, maxVirtualValues)
	}
	f = filter[T]{name: name, match: func(obj *T) bool {
		for _, group := range groups {
			if !slices.ContainsFunc(group, func(v string) bool { return match(obj, v) }) {
				return false
			}
		}
		return true
	}}
	// Of several values an index could find the same object more than once.
	for _, group := range groups {
		if len(group) == 1 && f.values == nil {
			f.values = group
		}
	}
	if !keyed && len(given) > 1 {
		f.values = nil
	}
	return f, nil
}

// orders reads the pairs of sort_key and sort_dir.
func (c *collection[T]) orders(caller *auth.Caller, params []param) ([]order[T], error) {
	notEmpty := func(v string) bool { return v == "" }
	keys := slices.DeleteFunc(values(params, "sort_key"), notEmpty)
	dirs := slices.DeleteFunc(values(params, "sort_dir"), notEmpty)
	if len(keys) != len(dirs) {
		return nil, badRequest("The number of sort_keys and sort_dirs must be same")
	}
	var orders []order[T]
	var badKeys, badDirs []string
	done := map[string]bool{}
	for i, key := range keys {
		at := c.byName[key]
		if at == nil || !at.Is(schema.Sort) ||
			// The order must not tell what the caller may not see.
			at.action != "" && c.api.opts.Policy.Bind(caller, at.action).Decide() != policy.Always {
			badKeys = append(badKeys, quoted(key))
			continue
		}
		if dirs[i] != "asc" && dirs[i] != "desc" {
			badDirs = append(badDirs, quoted(dirs[i]))
			continue
		}
		if !done[key] { // a key that comes again decides nothing
			done[key] = true
			orders = append(orders, order[T]{at.Compare, dirs[i] == "desc"})
		}
	}
	if len(badKeys) > 0 {
		return nil, badRequest("%s is invalid attribute for sort_keys", names(badKeys))
	}
	if len(badDirs) > 0 {
		return nil, badRequest("%s is invalid value for sort_dirs, valid value is 'asc' and 'desc'", names(badDirs))
	}
	return orders, nil
}

func parseLimit(params []param) (int, error) {
	text, ok := last(params, "limit")
	if !ok {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if (err != nil && !errors.Is(err, strconv.ErrRange)) || n < 0 {
		return 0, fault.New(fault.Invalid, "BadRequest",
			"Bad limit request: Limit must be an integer 0 or greater and not '%s'.", quoted(text))
	}
	return n, nil // a number out of range is the largest there is
}

// parseBool accepts what the API accepts as a boolean.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, strconv.ErrSyntax
}

// names spells a list like the networking API does: ['a', 'b'].
func names(list []string) string {
	const most = 10
	return "['" + strings.Join(list[:min(len(list), most)], "', '") + "']"
}

// pageLinks are the links to the pages before and after the one that holds objs.
func (l *query[T]) pageLinks(q *request, objs []*T) []link {
	if l.limit == 0 {
		return nil
	}
	full := len(objs) >= l.limit
	var links []link
	if full || l.reverse {
		var marker string
		if len(objs) > 0 {
			marker = meta(objs[len(objs)-1]).ID
		}
		links = append(links, link{"next", l.href(q, marker, false)})
	}
	if full || !l.reverse {
		var marker string
		if len(objs) > 0 {
			marker = meta(objs[0]).ID
		}
		links = append(links, link{"previous", l.href(q, marker, true)})
	}
	return links
}

// href is the request's own URL with another marker and direction.
func (l *query[T]) href(q *request, marker string, reverse bool) string {
	var b strings.Builder
	b.WriteString(q.base() + q.URL.EscapedPath())
	separator := byte('?')
	add := func(key, value string) {
		b.WriteByte(separator)
		separator = '&'
		b.WriteString(url.QueryEscape(key) + "=" + url.QueryEscape(value))
	}
	for _, p := range l.params {
		if p.key != "marker" && p.key != "page_reverse" {
			add(p.key, p.value)
		}
	}
	if marker != "" {
		add("marker", marker)
	}
	if reverse {
		add("page_reverse", "True")
	}
	return b.String()
}
