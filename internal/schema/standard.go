package schema

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/neutrino-net/neutrino/internal/model"
)

// shows is the access of attributes that clients can read, filter and sort by, and nothing else.
const shows = Filter | Sort

// identity declares what identifies and owns a resource. Only administrators may make a resource for another project.
func identity[T any](meta func(*T) *model.Meta) []*Attribute[T] {
	project := func(o *T) *string { return &meta(o).ProjectID }
	return []*Attribute[T]{
		attribute("id", shows, id(), func(o *T) *string { return &meta(o).ID }, help("The id, a UUID.")),
		attribute("name", Post|Put|shows, text(255), func(o *T) *string { return &meta(o).Name },
			help("A name for people; need not be unique.")),
		attribute("project_id", Post|shows, text(64), project, extension("project-id"),
			help("The project that owns it.")),
		attribute("tenant_id", Post|shows, text(64), project, help("The old name of project_id.")),
	}
}

// standard declares the standard attributes.
func standard[T any](meta func(*T) *model.Meta) []*Attribute[T] {
	return []*Attribute[T]{
		attribute("description", Post|Put|shows, text(255), func(o *T) *string { return &meta(o).Description },
			extension("standard-attr-description"), help("A text for people.")),
		computed("created_at", shows, timestamp(resourceTime), func(o *T) time.Time { return meta(o).CreatedAt },
			extension("standard-attr-timestamp"), help("When it was created, UTC.")),
		computed("updated_at", shows, timestamp(resourceTime), func(o *T) time.Time { return meta(o).UpdatedAt },
			extension("standard-attr-timestamp"), help("When it was changed last, UTC.")),
		computed("revision_number", shows, counter(), func(o *T) int64 { return meta(o).RevisionNumber },
			extension("standard-attr-revisions"), help("Grows with each change; see If-Match.")),
		attribute("tags", 0, tags(), func(o *T) *[]string { return &meta(o).Tags },
			extension("standard-attr-tag"), help("Words to find it by.")),
	}
}

// The bounds of tags.
const (
	MaxTags      = 50
	MaxTagLength = 60 // characters
)

func tags() codec[[]string] { return list(MaxTags, text(MaxTagLength)) }

// ParseTags validates the value of the member "tags" in the body of a tags sub-resource.
func ParseTags(raw any) ([]string, error) {
	if raw == nil {
		return nil, fmt.Errorf("'null' is not a list")
	}
	return tags().parse(raw)
}

// tagFilters are the query parameters that select by tags; their values are comma-separated.
func tagFilters[T any](meta func(*T) *model.Meta, into map[string]func(*T, string) bool) map[string]func(*T, string) bool {
	all := func(o *T, value string) bool {
		for tag := range strings.SplitSeq(value, ",") {
			if !slices.Contains(meta(o).Tags, tag) {
				return false
			}
		}
		return true
	}
	some := func(o *T, value string) bool {
		for tag := range strings.SplitSeq(value, ",") {
			if slices.Contains(meta(o).Tags, tag) {
				return true
			}
		}
		return false
	}
	into["tags"] = all
	into["tags-any"] = some
	into["not-tags"] = func(o *T, value string) bool { return !all(o, value) }
	into["not-tags-any"] = func(o *T, value string) bool { return !some(o, value) }
	return into
}
