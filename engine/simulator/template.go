package simulator

import (
	"strings"
	"time"
)

// template is one kind of record, compiled from text: JSON members with
// {{slots}}, one or more top-level members a line. Lines may be written in any
// order, which is how a record is repeated with other key order: everything
// random in a slot hangs on the record and the slot, not on the order of
// writing.
type template struct {
	lines [][]segment
	// policyLine is the line of what only readers of policies are shown.
	policyLine int
}

type segment struct {
	literal string
	fill    filler // nil: literal only
}

// filler appends a slot's value for one record.
type filler func(dst []byte, r *record) []byte

// record is what the slots of one record draw from.
type record struct {
	w       *world
	seed    uint64
	id      recordID
	guid    [36]byte
	at      time.Time // when it happened
	stamp   [19]byte  // at as 2006-01-02T15:04:05
	created time.Time // when it became available, or changed last
	user    *person
	other   *person
	robot   *principal
	app     *principal
	place   *city
	ip      string
	rank    uint64 // picks within the kind
	odd     oddity
	told    *template // of an attack
	version int       // how often a row was rewritten

	policies  bool // the caller may read policies
	hidden    bool // the licence does not cover risk
	sensitive bool // the caller may read what DLP found

	// of rows of state tables
	rowID    string
	detected time.Time
	activity time.Time
}

// oddity is a set of deviations that real records show.
type oddity uint8

const (
	oddNumbers oddity = 1 << iota // numbers as text
	oddNullIP                     // "ClientIP": null
	oddPort                       // "ClientIP": "192.0.2.7:51234"
	oddType                       // an unpublished RecordType
)

const policyMember = `"appliedConditionalAccessPolicies":`

// compile compiles the text of a record; part is the text of a part.
func compile(text string, part func(name string) string) *template {
	t := &template{policyLine: -1}
	t.add(text, part)
	return t
}

func (t *template) add(text string, part func(name string) string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "+"); ok {
			t.add(part(name), part)
			continue
		}
		if strings.HasPrefix(line, policyMember+"[{") {
			t.policyLine = len(t.lines)
		}
		var segments []segment
		for line != "" {
			literal, rest, found := strings.Cut(line, "{{")
			if !found {
				segments = append(segments, segment{literal: literal})
				break
			}
			slot, after, closed := strings.Cut(rest, "}}")
			if !closed {
				panic("simulator: slot not closed in " + line)
			}
			segments = append(segments, segment{literal: literal, fill: slotFiller(slot)})
			line = after
		}
		t.lines = append(t.lines, segments)
	}
}

// append writes the record as a JSON object, beginning with the given line.
func (t *template) append(dst []byte, r *record, first int) []byte {
	dst = append(dst, '{')
	for i := range t.lines {
		n := (i + first) % len(t.lines)
		if i > 0 {
			dst = append(dst, ',')
		}
		if n == t.policyLine && !r.policies {
			dst = append(append(dst, policyMember...), "[]"...)
			continue
		}
		for _, s := range t.lines[n] {
			dst = append(dst, s.literal...)
			if s.fill != nil {
				dst = s.fill(dst, r)
			}
		}
	}
	return append(dst, '}')
}
