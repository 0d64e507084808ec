package openstack

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// step is a command, and what it has to say.
type step struct {
	do string // the words; $name is what an earlier step has saved
	as string // the cloud; default: admin
	// want is JSON of which the answer has at least the members. A list is expected to have these items and no others, in
	// any order; "…" stands for any value.
	want string
	// save keeps the answer's id under this name.
	save string
	// fails are words of the reason why the command is refused.
	fails string
	// openstack, neutrino and differs say why only the one command does it, only the other, or both with different
	// answers.
	openstack, neutrino, differs string
}

// answers says whether the command prints an object or a list.
func (s step) answers() bool {
	for _, verb := range []string{" create", " list", " show", " add route", " remove route"} {
		if strings.Contains(s.do+" ", verb+" ") {
			return true
		}
	}
	return false
}

// reads says whether it changes nothing, so that both clients can ask the same server.
func (s step) reads() bool {
	return strings.Contains(s.do+" ", " list ") || strings.Contains(s.do+" ", " show ")
}

// session is a client on a server that is its own.
type session struct {
	client
	saved map[string]string
}

var variable = regexp.MustCompile(`\$\w+`)

// run runs a step and returns the decoded answer.
func (s *session) run(t *testing.T, st step) any {
	t.Helper()
	words := s.words(t, st)
	as := st.as
	if as == "" {
		as = "admin"
	}
	r := s.client.run(t, as, words)
	switch {
	case st.fails != "" && r.Code == 0:
		t.Errorf("%T: %s succeeded", s.client, st.do)
	case st.fails != "" && !strings.Contains(r.Err, st.fails):
		t.Errorf("%T: %s failed without saying %q: %s", s.client, st.do, st.fails, r.Err)
	case st.fails == "" && r.Code != 0:
		t.Errorf("%T: %s: exit code %d: %s%s", s.client, st.do, r.Code, r.Err, r.Out)
		if !st.reads() {
			t.FailNow() // what follows needs what was to be done
		}
		return nil
	}
	if st.fails != "" || !st.answers() {
		return nil
	}
	answer := parse(t, st.do, r.Out)
	if st.save != "" {
		s.saved[st.save] = idOf(answer)
	}
	return answer
}

// idOf is the id of an object, or of the only one in a list.
func idOf(answer any) string {
	if list, ok := answer.([]any); ok && len(list) == 1 {
		answer = list[0]
	}
	o, _ := answer.(map[string]any)
	if id, ok := o["id"]; ok {
		return fmt.Sprint(id)
	}
	return fmt.Sprint(o["ID"])
}

func (s *session) words(t *testing.T, st step) []string {
	t.Helper()
	text := variable.ReplaceAllStringFunc(st.do, func(name string) string {
		id, ok := s.saved[name[1:]]
		if !ok {
			t.Fatalf("%s: nothing was saved as %s", st.do, name)
		}
		return id
	})
	words := strings.Fields(text)
	if st.answers() {
		words = append(words, "-f", "json")
	}
	return words
}

func parse(t *testing.T, what, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v: %s", what, err, text)
	}
	return v
}

// play runs the steps with both clients, each on a server of its own, and compares what they answer. What only reads is
// also asked of the same server by both, and has to be the same to the letter.
func play(t *testing.T, a, b *session, sameServer client, steps []step) {
	for _, st := range steps {
		var theirs, ours any
		if st.neutrino == "" {
			theirs = a.run(t, st)
			st.check(t, a, theirs)
		}
		if st.openstack == "" {
			ours = b.run(t, st)
			st.check(t, b, ours)
		}
		if st.openstack+st.neutrino+st.differs != "" {
			continue
		}
		if diff := cmp.Diff(anonymous(bare(theirs)), anonymous(bare(ours))); diff != "" {
			t.Errorf("%s: openstack (-) and neutrino (+) answer differently:\n%s", st.do, diff)
		}
		if st.reads() && st.fails == "" {
			same := (&session{sameServer, a.saved}).run(t, st)
			if diff := cmp.Diff(ordered(bare(theirs)), ordered(bare(same))); diff != "" {
				t.Errorf("%s: openstack (-) and neutrino (+) show the same server differently:\n%s", st.do, diff)
			}
		}
	}
}

// check compares an answer with what is wanted.
func (s step) check(t *testing.T, by *session, answer any) {
	t.Helper()
	if s.want == "" || s.fails != "" {
		return
	}
	if diff := lacks(parse(t, "want", s.want), answer); diff != "" {
		t.Errorf("%T: %s: %s", by.client, s.do, diff)
	}
}

// bare is an object without what the openstack command does not know of.
func bare(v any) any {
	if o, ok := v.(map[string]any); ok {
		delete(o, "status_reason")
	}
	return v
}

// lacks says what of the wanted is not there.
func lacks(want, got any) string {
	if want == "…" {
		return ""
	}
	switch want := want.(type) {
	case map[string]any:
		o, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("no object: %v", got)
		}
		for name, w := range want {
			if diff := lacks(w, o[name]); diff != "" {
				return name + ": " + diff
			}
		}
		return ""
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("%v, want %v", got, want)
		}
		left := slices.Clone(list)
		sort.Slice(want, func(i, j int) bool { return text(want[i]) > text(want[j]) }) // what may be any value comes last
		for _, w := range want {
			i := slices.IndexFunc(left, func(g any) bool { return lacks(w, g) == "" })
			if i < 0 {
				return fmt.Sprintf("%v, which lacks %v", got, w)
			}
			left = slices.Delete(left, i, i+1)
		}
		return ""
	}
	if !cmp.Equal(want, got) {
		return fmt.Sprintf("%v, want %v", got, want)
	}
	return ""
}

// chance is what two servers do not have in common: ids, times, and what is taken at random.
var chance = []struct {
	pattern *regexp.Regexp
	stands  string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "ID"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "ID"},
	{regexp.MustCompile(`fa:16:3e(:[0-9a-f]{2}){3}`), "MAC"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[Z0-9.+:]*`), "TIME"},
}

// randomNumbers are the columns whose numbers are taken at random.
var randomNumbers = map[string]bool{"provider:segmentation_id": true, "Segment": true, "segmentation_id": true}

// anonymous is an answer without what is left to chance, and with its lists in order.
func anonymous(v any) any {
	switch v := v.(type) {
	case string:
		for _, c := range chance {
			v = c.pattern.ReplaceAllString(v, c.stands)
		}
		return v
	case map[string]any:
		out := map[string]any{}
		for name, item := range v {
			if _, number := item.(json.Number); number && randomNumbers[name] {
				item = "NUMBER"
			}
			out[anonymous(name).(string)] = anonymous(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = anonymous(v[i])
		}
		return ordered(out)
	}
	return v
}

// ordered is an answer with the items of its lists in an order that does not depend on the server.
func ordered(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, item := range v {
			out[name] = ordered(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = ordered(v[i])
		}
		sort.Slice(out, func(i, j int) bool { return text(out[i]) < text(out[j]) })
		return out
	}
	return v
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
