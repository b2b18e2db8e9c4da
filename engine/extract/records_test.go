package extract

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

func splitText(text, path string) (records []string, envelope string, err error) {
	rest, err := split(strings.NewReader(text), path, true, splitTo{check: func([]byte) error { return nil }, take: func(raw []byte) error {
		records = append(records, string(raw))
		return nil
	}})
	return records, string(rest), err
}

func TestSplit(t *testing.T) {
	tests := []struct {
		name, body, path string
		records          []string
		envelope         string
	}{
		{"array at a name", `{"@odata.context":"c","value":[{"id":1},{"id":2}],"@odata.nextLink":"n"}`, "value",
			[]string{`{"id":1}`, `{"id":2}`}, `{"@odata.context":"c","value":[],"@odata.nextLink":"n"}`},
		{"the body itself", ` [ {"id":1} , {"id":2} ] `, "@this", []string{`{"id":1}`, `{"id":2}`}, `[]`},
		{"an object is one record", `{"id":1}`, "@this", []string{`{"id":1}`}, `{"id":1}`},
		{"an object at a name", `{"data":{"id":1},"next":2}`, "data", []string{`{"id":1}`}, `{"data":{"id":1},"next":2}`},
		{"deep", `{"a":{"x":[1,{"y":null}],"b":{"c":[{"id":1}]},"z":"é"}}`, "a.b.c", []string{`{"id":1}`}, `{"a":{"x":[1,{"y":null}],"b":{"c":[]},"z":"é"}}`},
		{"each of an array", `{"groups":[{"items":[{"id":1},{"id":2}],"n":1},{"other":1},{"items":[{"id":3}]}],"next":"n"}`, "groups.#.items",
			[]string{`{"id":1}`, `{"id":2}`, `{"id":3}`}, `{"groups":[],"next":"n"}`},
		{"each of the body", `[{"r":{"id":1}},{"r":{"id":2}}]`, "#.r", []string{`{"id":1}`, `{"id":2}`}, `[]`},
		{"each of the each, by gjson", `{"a":[{"b":[{"c":{"id":1}}]}]}`, "a.#.b.#.c", []string{`{"id":1}`}, `{"a":[{"b":[{"c":{"id":1}}]}]}`},
		{"an index", `{"a":[[{"id":1}],[{"id":2}]]}`, "a.1", []string{`{"id":2}`}, `{"a":[]}`},
		{"a name with a dot", `{"a.b":[{"id":1}]}`, `a\.b`, []string{`{"id":1}`}, `{"a.b":[]}`},
		{"a modifier, by gjson", `{"a":[{"id":1},{"id":2}]}`, "a|@reverse", []string{`{"id":2}`, `{"id":1}`}, `{"a":[{"id":1},{"id":2}]}`},
		{"a query, by gjson", `{"a":[{"id":1},{"id":2}]}`, `a.#(id==2)#`, []string{`{"id":2}`}, `{"a":[{"id":1},{"id":2}]}`},
		{"none", `{"value":[]}`, "value", nil, `{"value":[]}`},
		{"null", `{"value":null,"x":1}`, "value", nil, `{"value":null,"x":1}`},
		{"absent", `{"x":[1,2]}`, "value", nil, `{"x":[1,2]}`},
		{"absent in an empty array", `[]`, "value", nil, `[]`},
		{"null is no record", `[{"id":1},null]`, "@this", []string{`{"id":1}`}, `[]`},
		{"scalars are records", `["a",1,true]`, "@this", []string{`"a"`, `1`, `true`}, `[]`},
		{"nothing", ``, "value", nil, ``},
		{"white space", "\r\n \t", "@this", nil, ``},
		{"a mark of byte order", "\ufeff[{\"id\":1}]", "@this", []string{`{"id":1}`}, `[]`},
		{"only a mark of byte order", "\ufeff", "@this", nil, ``},
		{"the first of two members wins, as with gjson", `{"value":[{"id":1}],"value":[{"id":2}]}`, "value", []string{`{"id":1}`}, `{"value":[],"value":[{"id":2}]}`},
		{"duplicate names in a record stay", `[{"a":1,"a":2}]`, "@this", []string{`{"a":1,"a":2}`}, `[]`},
		{"numbers keep their digits", `{"n":12345678901234567890.10,"value":[{"n":1e400}]}`, "value", []string{`{"n":1e400}`}, `{"n":12345678901234567890.10,"value":[]}`},
		{"what is not UTF-8", "[{\"a\":\"x\xff\xfey\"}]", "@this", []string{"{\"a\":\"x\uFFFDy\"}"}, `[]`},
		{"half a surrogate pair stays as it is", `[{"a":"\ud800"}]`, "@this", []string{`{"a":"\ud800"}`}, `[]`},
		{"what is not UTF-8 beside the records", "{\"a\":\"\xff\",\"\xff\":1,\"value\":[]}", "value", nil, "{\"a\":\"\uFFFD\",\"\uFFFD\":1,\"value\":[]}"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			records, envelope, err := splitText(test.body, test.path)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(records, test.records) {
				t.Errorf("records are %q, want %q", records, test.records)
			}
			if envelope != test.envelope {
				t.Errorf("envelope is %s, want %s", envelope, test.envelope)
			}
		})
	}
}

func TestSplitRefuses(t *testing.T) {
	for _, test := range []struct {
		name, body, path string
		broken           bool
		text             string
	}{
		{"cut off in the array", `{"value":[{"id":1},`, "value", true, "ends in the middle"},
		{"cut off after the array", `{"value":[{"id":1}]`, "value", true, "ends in the middle"},
		{"HTML", ` <html>`, "value", true, "HTML"},
		{"a text", `"sorry"`, "@this", true, "string"},
		{"no JSON", `sorry`, "@this", true, "invalid"},
		{"no JSON, by gjson", `{"a":[}`, "a|@reverse", true, "JSON"},
		{"two values", `[] []`, "@this", true, "more after"},
		{"NaN", `[{"a":NaN}]`, "@this", true, "invalid"},
		{"an array with a name's path", `[{"id":1}]`, "value", false, `"@this"`},
		{"a scalar", `{"value":"x"}`, "value", false, "string"},
		{"a scalar, by gjson", `{"value":[1]}`, "value.#", false, "number"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := splitText(test.body, test.path)
			_, broken := errors.AsType[*brokenError](err)
			if err == nil || broken != test.broken || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error is %T %v", err, err)
			}
		})
	}
	t.Run("a read that fails", func(t *testing.T) {
		reset := errors.New("connection reset")
		_, err := split(io.MultiReader(strings.NewReader(`[{"id":1},`), iotest.ErrReader(reset)), "@this", false, splitTo{take: func([]byte) error { return nil }})
		if _, broken := errors.AsType[*brokenError](err); !broken || !errors.Is(err, reset) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("a record without an end", func(t *testing.T) {
		endless := io.MultiReader(strings.NewReader(`[{"a":"`), &repeat{text: bytes.Repeat([]byte("x"), 64<<10), left: 2 * largestRecord})
		_, err := split(endless, "@this", false, splitTo{take: func([]byte) error { return nil }})
		if _, shape := errors.AsType[*shapeError](err); !shape || !strings.Contains(err.Error(), "32 MB") {
			t.Errorf("error is %v", err)
		}
	})
}

// TestEnvelopeIsBounded: what is too large beside the records is left out, and
// the next link after it is still found.
func TestEnvelopeIsBounded(t *testing.T) {
	large := `["` + strings.Repeat("x", 600<<10) + `",{"a":["` + strings.Repeat("y", 600<<10) + `",[1]]},2]`
	for _, body := range []string{
		`{"a":` + large + `,"value":[{"id":1}],"next":"n"}`,
		`{"value":[{"id":1}],"a":` + large + `,"b":` + large + `,"next":"n"}`,
		`{"a":"` + strings.Repeat("x", 2<<20) + `","value":[{"id":1}],"next":"n"}`,
	} {
		records, envelope, err := splitText(body, "value")
		if err != nil || !slices.Equal(records, []string{`{"id":1}`}) {
			t.Fatalf("records are %q, %v", records, err)
		}
		if !gjson.Valid(envelope) || len(envelope) > largestEnvelope || gjson.Get(envelope, "next").String() != "n" {
			t.Errorf("envelope of %d bytes is valid: %v, ends with %q", len(envelope), gjson.Valid(envelope), envelope[len(envelope)-20:])
		}
	}
}

// repeat reads as a text over and over.
type repeat struct {
	text []byte
	left int
	at   int
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && r.left > 0 {
		m := copy(p[n:], r.text[r.at:])
		n += m
		r.at = (r.at + m) % len(r.text)
		if r.at == 0 {
			r.left -= len(r.text)
		}
	}
	return n, nil
}

// FuzzRecords compares what is streamed with what gjson finds in the whole body.
func FuzzRecords(f *testing.F) {
	for _, body := range []string{
		`{"value":[{"id":1},{"id":2}],"next":"n"}`, `[{"id":1},[null,{"a":[]}]]`, `{"a":{"b":[{"c":1},{"c":[2,3]},{}]}}`, `{"a":[{"b":[{"c":[1]}]}]}`,
		`{"a":1,"a":{"b":[1]},"a":{"b":[2]}}`, `{"a":[[1,2],[3]]}`, `{"a.b":[1]}`, `null`, `{"a":null}`, `{"a":{"c":0},"a":{"b":[7]}}`,
	} {
		for _, path := range []string{"@this", "value", "a.b", "a.b.#.c", "#.id", "a.#.b", "a.0", `a\.b`, "a|@reverse", "a.#.b.#.c", "0.id", "!{0000"} {
			f.Add(body, path)
		}
	}
	f.Fuzz(func(t *testing.T, body, path string) {
		if len(path) > 50 || !utf8.ValidString(body) {
			return
		}
		got, envelope, err := splitText(body, path)
		for _, record := range got {
			if !gjson.Valid(record) || !utf8.ValidString(record) {
				t.Errorf("record %q is no JSON", record)
			}
		}
		if err != nil {
			return
		}
		if envelope != "" && !gjson.Valid(envelope) {
			t.Errorf("envelope %q is no JSON", envelope)
		}
		if _, ok := streamable(path); !ok || strings.TrimSpace(strings.TrimPrefix(body, "\ufeff")) == "" {
			return
		}
		if !gjson.Valid(body) {
			return // gjson is lenient where the decoder is not, or the other way about
		}
		var want []string
		if path == "" {
			path = "@this"
		}
		found := gjson.Get(body, path)
		switch {
		case found.IsArray():
			eachRecord(found, func(raw []byte) error { want = append(want, string(raw)); return nil })
		case found.IsObject():
			want = []string{found.Raw}
		case found.Exists() && found.Type != gjson.Null:
			t.Errorf("gjson finds the %s %s at %q of %q, streaming %q", found.Type, found.Raw, path, body, got)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q of %q: streamed %q, gjson finds %q", path, body, got, want)
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	record := `{"CreationTime":"2026-03-01T09:58:41","Id":"5a3f0c1e-77d1-4c8e-9d0b-3f6f2f5c0100","Operation":"UserLoginFailed","ExtendedProperties":[{"Name":"UserAgent","Value":"Mozilla/5.0 (Windows NT 10.0; Win64; x64)"}],"ErrorNumber":"50126"}`
	body := []byte("[" + strings.Repeat(record+",", 9999) + record + "]")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		if _, err := split(bytes.NewReader(body), "@this", false, splitTo{take: func([]byte) error { n++; return nil }}); err != nil || n != 10000 {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.N)*10000/b.Elapsed().Seconds(), "records/s")
}
