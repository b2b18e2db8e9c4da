package engine

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// redacting is a compiled mapping with rules.
func redacting(t *testing.T, key string, list ...definition.Redact) *transform.Mapping {
	t.Helper()
	m, problems := transform.Compile(&definition.Mapping{Name: "m", Redact: list}, transform.Options{PseudonymKey: []byte(key)})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return m
}

func redact(with string, fields ...string) (rule definition.Redact) {
	rule.With = with
	for _, f := range fields {
		rule.Fields = append(rule.Fields, definition.Text{Value: f})
	}
	return rule
}

// TestKept plays a listing whose mapping redacts: the state holds no secret, a change of one is told without
// its values, and neither a rule that comes nor one that goes tells of changes that there were not.
func TestKept(t *testing.T) {
	const key = "a key that is long enough to be one"
	none := redacting(t, key)
	all := redacting(t, key, redact("remove", "event_password", "event_list.*.v"), redact("mask", "event_mail"), redact("pseudonym", "event_owner"))
	ids := redacting(t, key, redact("remove", "event_password"), redact("pseudonym", "event_id"))
	object := func(password, mail, owner string) string {
		return `{"id":"secret-id","name":"n","password":"secret-` + password + `","mail":"secret-` + mail + `@contoso.example","owner":"secret-` + owner + `","list":[{"v":"secret"}]}`
	}
	for _, test := range []struct {
		name     string
		mappings []*transform.Mapping // by listing
		list     []string             // "": nothing is listed
		want     []string             // what is told of each
		secrets  []string             // may stand in the state, at the end
	}{
		{"a change of what is redacted", []*transform.Mapping{all, all, all}, []string{object("a", "a", "a"), object("a", "a", "a"), object("b", "b", "b")},
			[]string{"", "", "mail,owner,password"}, []string{"secret-id"}},
		{"of what is shown", []*transform.Mapping{all, all}, []string{object("a", "a", "a"), strings.Replace(object("a", "a", "a"), `"n"`, `"m"`, 1)}, []string{"", "name"}, []string{"secret-id"}},
		{"a rule comes", []*transform.Mapping{none, all, all}, []string{object("a", "a", "a"), object("a", "a", "a"), object("b", "a", "a")}, []string{"", "", "password"}, []string{"secret-id"}},
		{"a rule goes", []*transform.Mapping{all, none, none}, []string{object("a", "a", "a"), object("a", "a", "a"), object("a", "b", "a")}, []string{"", "", "mail"}, []string{"secret-id", "secret-a", "secret-b", "secret"}},
		{"removed", []*transform.Mapping{all, all}, []string{object("a", "a", "a"), ""}, []string{"", "removed"}, nil},
		{"an id that is redacted", []*transform.Mapping{none, ids, ids, ids}, []string{object("a", "a", "a"), object("a", "a", "a"), object("b", "a", "a"), ""}, []string{"", "", "password", "removed"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, snapshotOf(definition.FirstBaseline))
			var told []string
			r.engine.OnEvent = func(_ string, event []byte) { told = append(told, string(event)) }
			for i, listed := range test.list {
				own := test.mappings[i]
				r.mappers = &sync.Pool{New: func() any { return own.NewMapper() }} // without those of the mapping before
				r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
					if listed == "" {
						return list(ctx, sink)
					}
					return list(ctx, sink, listed)
				}
				told = nil
				r.taker.got = nil
				if err := r.window(t.Context(), extract.Window{}, time.Now(), pass{}); err != nil {
					t.Fatal(err)
				}
				got := strings.Join(r.taker.ids(), "; ")
				if (test.want[i] == "") != (got == "") || !strings.HasSuffix(got, test.want[i]) {
					t.Errorf("listing %d tells %q, want %q", i, got, test.want[i])
				}
				if text := strings.ReplaceAll(strings.Join(told, ""), "secret-id", ""); own.NewMapper().Redacts() && strings.Contains(text, "secret") && !strings.Contains(test.name, "id") {
					t.Errorf("listing %d: %s", i, text)
				}
			}
			for object, err := range r.store.Objects("f", "") {
				if err != nil {
					t.Fatal(err)
				}
				text := object.ID + string(object.State)
				for _, allowed := range test.secrets {
					text = strings.ReplaceAll(text, allowed, "")
				}
				if strings.Contains(text, "secret") {
					t.Errorf("the state has %s", text)
				}
			}
		})
	}
}

// The rows of a delta query are known by hashes; one whose id is redacted has no name in the state either.
func TestKeptRows(t *testing.T) {
	feed := feedOf("f")
	feed.Window, feed.Key = nil, []string{"id"}
	feed.Paging.Delta = true
	r := newRig(t, feed)
	round := func(rows ...string) []string {
		r.taker.got = nil
		r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error { return list(ctx, sink, rows...) }
		if err := r.window(t.Context(), extract.Window{}, time.Now(), pass{}); err != nil {
			t.Fatal(err)
		}
		return r.taker.ids()
	}
	const row = `{"id":"secret","v":"secret"}`
	round(row)
	own := redacting(t, "a key that is long enough to be one", redact("pseudonym", "event_id", "event_v"))
	r.mappers = &sync.Pool{New: func() any { return own.NewMapper() }}
	if got := round(row); len(got) > 0 {
		t.Errorf("a row that is as it was is told: %v", got)
	}
	if got := round(`{"id":"secret","v":"another secret"}`); len(got) != 1 || strings.Contains(got[0], "secret") {
		t.Errorf("told %v", got)
	}
	var names []string
	for object := range r.store.Objects("f", "") {
		names = append(names, object.ID)
		if strings.Contains(object.ID+string(object.State), "secret") {
			t.Errorf("the state has %q", object.ID)
		}
	}
	if len(names) != 1 || !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "sha256:") }) {
		t.Errorf("the state names the row %q", names)
	}
}
