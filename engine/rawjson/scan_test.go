package rawjson

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

var seeds = []string{
	`{"a":1,"b":"x","c":[1,{"d":null}],"e":{"f":true}}`, `{"Props":[{"Name":"A","Value":"x"},{"Name":"B","NewValue":1}],"Props_A":2}`, `[]`, `{}`, `"x"`, `-0.5e-7`, `null`, ` { "a" : [ 1 , 2 ] } `,
	`{"a":"\ud800","b":"\ud83d\ude00","c":"\u0000\/\"\\"}`, `{"":{"":{"":1}}}`, `{"a":1,"a":2,"a_2":3}`, `{"é":"ü","a b":1}`, `{"a":"` + "\x01" + `"}`, `{"a":"` + "\xff" + `"}`, `{"a":tru}`, `{"a":01}`, `{"a":1,}`, `[1,2`, `{"a"}`, `"\u12"`, `1.`, `--1`, `{"a":1}}`,
	strings.Repeat(`[`, 200) + strings.Repeat(`]`, 200), strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat(`}`, 100), `{"Props":[{"Name":"Props","Value":[{"Name":"x","Value":1}]}]}`, `{"Props":[{"Value":1,"Name":"x"},{"Name":"","Value":1},{"Name":"y"}]}`,
	`{"Props":[{"Name":"x","Value":1]}`, `{"Props":[{"Name":"x","Value":{"a":1}},{"Name":"x","Value":{"a":2}}]}`, `{"Props":[{"Name":"x",]}`, `{"Props":[{"Name":"x","Value":1}`,
}

// FuzzScanner holds the scanner to the standard library: JSON and UTF-8.
func FuzzScanner(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkScanner(t, data) })
}

func checkScanner(t *testing.T, data []byte) {
	t.Helper()
	var s Scanner
	want := json.Valid(data) && utf8.Valid(data)
	if got := s.Valid(data); got != want {
		t.Fatalf("valid(%q) = %v, want %v", data, got, want)
	}
	copied := make([]byte, len(data)+WordSize)
	end, class := ScanString(data, 0) // as if a quote stood before it
	plain := end != Bad && class == Plain && !bytes.ContainsFunc(data[:end], func(r rune) bool { return r >= utf8.RuneSelf })
	switch got := CopyPlain(copied, 0, data, 0); {
	case got != Bad && (got != end+1 || class != Plain || !bytes.Equal(copied[:got], data[:got])):
		t.Fatalf("copy of %q ends at %d as %q, want %d", data, got, copied, end+1)
	case got == Bad && plain && end+WordSize <= len(data):
		t.Fatalf("%q is not copied", data)
	}
	if !want {
		return
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		t.Fatal(err)
	}
	if got := Compact(nil, data); !bytes.Equal(got, compact.Bytes()) {
		t.Fatalf("compact(%q) = %q, want %q", data, got, compact.Bytes())
	}
	_, isCompact := s.Value(data, SkipSpace(data, 0))
	if trimmed := bytes.Trim(data, " \t\r\n"); isCompact != bytes.Equal(trimmed, compact.Bytes()) {
		t.Fatalf("value(%q) says compact: %v", data, isCompact)
	}
	text := compact.Bytes()
	quoted := make([]byte, 2*len(text)+2+WordSize)
	quoted = quoted[:Quote(quoted, 0, text)]
	var back string
	if err := json.Unmarshal(quoted, &back); err != nil || back != string(text) {
		t.Fatalf("quote(%q) = %q: %v", text, quoted, err)
	}
}

// TestScannerMutants breaks valid records in one or two places.
func TestScannerMutants(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	var records [][]byte
	for _, seed := range seeds {
		records = append(records, []byte(seed))
	}
	const bytesOfInterest = "\"\\{}[]:,truefalsn0123456789.eE+- \n\t\x00\x1f\x7f\x80\xc3\xed\xa0\xf4\xff/u"
	for range 20000 {
		mutant := bytes.Clone(records[r.IntN(len(records))])
		for range 1 + r.IntN(2) {
			at := r.IntN(len(mutant))
			switch r.IntN(4) {
			case 0:
				mutant = append(mutant[:at], mutant[at+1:]...)
			case 1:
				mutant = append(mutant[:at], append([]byte{bytesOfInterest[r.IntN(len(bytesOfInterest))]}, mutant[at:]...)...)
			case 2:
				mutant = mutant[:at]
			default:
				mutant[at] = bytesOfInterest[r.IntN(len(bytesOfInterest))]
			}
			if len(mutant) == 0 {
				break
			}
		}
		checkScanner(t, mutant)
	}
}
