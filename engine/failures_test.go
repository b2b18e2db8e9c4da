package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// TestOneCauseOneLine: what several feeds meet is one line, with all of them, and so is that it is over.
func TestOneCauseOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &locked{w: &bytes.Buffer{}}
		e := &Engine{}
		e.Log, e.Now = slog.New(slog.NewTextHandler(out, nil)), time.Now
		part := func(feed, value string) *partition {
			return &partition{engine: e, feed: &definition.Feed{Name: feed}, value: value, log: e.Log.With("feed", feed)}
		}
		a, b, c, d := part("a", ""), part("b", "x"), part("b", "y"), part("d", "")
		said := func(after time.Duration, want ...string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			lines := strings.Split(strings.TrimSuffix(out.taken(), "\n"), "\n")
			if len(want) == 0 {
				want = []string{""}
			}
			if len(lines) != len(want) {
				t.Fatalf("%d lines, want %d: %q", len(lines), len(want), lines)
			}
			for i, line := range lines {
				if !strings.Contains(line, want[i]) {
					t.Errorf("%q lacks %q", line, want[i])
				}
			}
		}
		const refused = "the client secret has expired (AADSTS7000222). Create a new one"
		for _, p := range []*partition{a, b, c} {
			e.fails(p, refused, true)
		}
		said(0)
		said(2*gathering, `level=ERROR msg="THE CREDENTIAL IS REFUSED`)
		e.fails(d, refused, true) // told already
		e.fails(d, "feed d: page 1: GET http://h/d: HTTP 500", false)
		said(2*gathering, `level=ERROR msg="feed failing, will be tried again" feed=d error="feed d: page 1`)
		e.recovers(a, false)
		e.recovers(b, false)
		said(0)
		e.recovers(c, false)
		said(0, `level=INFO msg="feeds work again" feeds="a, b" for=4s`) // d fails for something else
		e.recovers(d, false)
		said(0, `msg="feed works again" feed=d`)

		e.fails(a, "feed a: page 1: GET http://h/a?x=1: HTTP 500", false)
		e.fails(b, "feed b x: page 7: GET http://h/b: HTTP 500", false)
		said(2*gathering, `msg="feeds failing, will be tried again" error="GET http://h HTTP 500" feeds="a, b"`)
		e.recovers(a, true)
		e.recovers(b, true) // what it is now tells of itself
		said(0)
		e.fails(a, "gone within moments", false)
		e.recovers(a, false)
		said(2 * gathering)
		e.fails(a, "at the end", false)
		e.tellAll()
		said(2*gathering, "at the end")
	})
}

// TestOverIsToldOnce: also where those that met it recover at one time.
func TestOverIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &locked{w: &bytes.Buffer{}}
		e := &Engine{}
		e.Log, e.Now = slog.New(slog.NewTextHandler(out, nil)), time.Now
		var list []*partition
		for i := range 64 {
			list = append(list, &partition{engine: e, feed: &definition.Feed{Name: string(rune('a' + i))}, log: e.Log})
		}
		for range 20 {
			for _, p := range list {
				e.fails(p, "no such host", false)
			}
			time.Sleep(2 * gathering)
			out.taken()
			for _, p := range list {
				go e.recovers(p, false)
			}
			synctest.Wait()
			if said := out.taken(); strings.Count(said, "work again") != 1 {
				t.Fatalf("that it is over is told in other than one line: %s", said)
			}
		}
	})
}

// TestJoinedErrorsTellACauseOnce: so does the error of a single poll, in a person's words.
func TestJoinedErrorsTellACauseOnce(t *testing.T) {
	e := &Engine{}
	e.Explain = func(err error) string {
		if auth, ok := errors.AsType[*extract.AuthError](err); ok {
			return "in words: " + auth.Description
		}
		return err.Error()
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		e.partitions = append(e.partitions, &partition{engine: e, feed: &definition.Feed{Name: name}})
	}
	auth := &extract.AuthError{Description: "expired"}
	err := e.joinErrors([]error{auth, nil, errors.New("feed c: page 1: GET http://h/c: HTTP 500"), auth})
	if want := "feeds a, d: in words: expired\nfeed c: page 1: GET http://h/c: HTTP 500"; err == nil || err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if found, ok := errors.AsType[*extract.AuthError](err); !ok || found != auth {
		t.Error("what was joined is not found")
	}
	if err := e.joinErrors(make([]error, 4)); err != nil {
		t.Errorf("nothing failed: %v", err)
	}
	if errors.Is(e.joinErrors([]error{context.Canceled, nil, nil, nil}), context.Canceled) != true {
		t.Error("a single error is not found")
	}
}

// TestStatusIsOfOneCase: JSON of the status has names of one kind, whatever it is made of.
func TestStatusIsOfOneCase(t *testing.T) {
	name := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map || typ.Kind() == reflect.Array {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] || typ == reflect.TypeFor[time.Time]() {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			field := typ.Field(i)
			tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if !field.Anonymous && field.IsExported() && tag != "-" && !name.MatchString(tag) {
				t.Errorf("%s.%s is %q in JSON", typ, field.Name, tag)
			}
			if field.IsExported() {
				walk(field.Type)
			}
		}
	}
	walk(reflect.TypeFor[Status]())
}
