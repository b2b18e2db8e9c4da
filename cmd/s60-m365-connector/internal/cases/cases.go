// Package cases runs golden cases of whole feeds: exchanges with a service in; events, cursor and
// ledger out. A case runs on the same engine that collects, with its state, retries and limits, and
// gives the same result on every machine and at any hour.
//
// How it works: a case is golden/feeds/<feed>/<case>.yaml. Each request is answered by the first
// matching exchange that is not used yet. A request without an exchange fails the case, and so does an
// exchange without a request. The state is in memory, the destination accepts everything, and time is
// virtual: waiting an hour for a throttled service takes no time.
package cases

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
)

// Start is when a case happens that does not say.
var Start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Case is a golden case of a feed.
type Case struct {
	Feed, Name, File string `yaml:"-"`

	Description string         `yaml:"description"`
	Now         time.Time      `yaml:"now,omitempty"`      // when the first round begins
	Lookback    string         `yaml:"lookback,omitempty"` // how far back the feed begins; 1h
	Rounds      int            `yaml:"rounds,omitempty"`   // how often it is polled, five minutes apart; 1
	Backfill    *Period        `yaml:"backfill,omitempty"` // is read instead of rounds: of an archive, by the feed that it is the archive of
	Settings    map[string]any `yaml:"settings,omitempty"` // beside the defaults
	Exchanges   []Exchange     `yaml:"exchanges"`
	Expect      Expect         `yaml:"expect"`
}

// Period is what a backfill reads.
type Period struct {
	From time.Time `yaml:"from"`
	To   time.Time `yaml:"to"`
}

// Exchange is a request, and what the service answers.
type Exchange struct {
	Request struct {
		Method string            `yaml:"method,omitempty"` // GET, or POST with a body
		URL    string            `yaml:"url"`              // without a query: whatever the query
		Query  map[string]string `yaml:"query,omitempty"`  // a part of the query, parameter by parameter
		Body   any               `yaml:"body,omitempty"`
	} `yaml:"request"`
	Answer struct {
		Status  int               `yaml:"status,omitempty"` // 200
		Headers map[string]string `yaml:"headers,omitempty"`
		Body    any               `yaml:"body,omitempty"` // JSON; a text is sent as it is
		Cut     bool              `yaml:"cut,omitempty"`  // the connection ends in the middle of the body
	} `yaml:"answer"`
}

// Expect is what must come of it.
type Expect struct {
	Events []map[string]any `yaml:"events"`
	Cursor any              `yaml:"cursor,omitempty"` // by partition, where there are several
	Ledger map[string]int64 `yaml:"ledger"`           // sums over all windows; what is 0 is left out
	Error  string           `yaml:"error,omitempty"`  // a part of the last round's error
}

// Find finds the cases under a golden folder.
func Find(root string) ([]*Case, error) {
	files, err := filepath.Glob(filepath.Join(root, "feeds", "*", "*.yaml"))
	if err != nil {
		return nil, err
	}
	var all []*Case
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		c, err := parse(file, text)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func parse(file string, text []byte) (*Case, error) {
	c := &Case{Feed: filepath.Base(filepath.Dir(file)), Name: strings.TrimSuffix(filepath.Base(file), ".yaml"), File: file}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if c.Rounds == 0 {
		c.Rounds = 1
	}
	if len(c.Exchanges) == 0 {
		return nil, fmt.Errorf("%s: no exchanges: each has a request (url) and an answer (status, headers, body)", file)
	}
	return c, nil
}

// Create writes a case that is not on file yet, with a remark before it, and with what comes of it.
func (c *Case) Create(remark string, defs *definitions.Compiled, settings map[string]any) error {
	if c.Rounds == 0 {
		c.Rounds = 1
	}
	got, err := c.Run(defs, settings)
	if err != nil {
		return err
	}
	written := *c
	got.Events = slices.DeleteFunc(got.Events, isDrift)
	written.Expect = got
	if written.Rounds == 1 {
		written.Rounds = 0 // as it is without saying so
	}
	if err := os.MkdirAll(filepath.Dir(c.File), 0o755); err != nil {
		return err
	}
	return c.put(remark, &written)
}

func (c *Case) put(remark string, document any) error {
	b := bytes.NewBufferString(remark)
	e := yaml.NewEncoder(b)
	e.SetIndent(2)
	if err := e.Encode(document); err != nil {
		return err
	}
	return os.WriteFile(c.File, b.Bytes(), 0o644)
}

// Write puts what came of the case into its file, in the place of what was expected. The rest of the file,
// its comments too, stays as it is.
func (c *Case) Write(got Expect) error {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return err
	}
	var expected yaml.Node
	if err := expected.Encode(got); err != nil {
		return err
	}
	root := document.Content[0]
	i := 0
	for i < len(root.Content) && root.Content[i].Value != "expect" {
		i += 2
	}
	if i == len(root.Content) {
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "expect"}, nil)
	}
	root.Content[i+1] = &expected
	return c.put("", &document)
}

// isDrift says whether an event tells what no mapping knows: a case that expects none is not held to
// them, as what is known grows with each release.
func isDrift(event map[string]any) bool { return event["operation"] == "connector-schema-drift" }

// Compare says how what came differs from what was expected: nothing, where it does not.
func (c *Case) Compare(got Expect) error {
	want := c.Expect
	sortEvents(want.Events)
	if !slices.ContainsFunc(want.Events, isDrift) {
		got.Events = slices.DeleteFunc(slices.Clone(got.Events), isDrift)
	}
	var differences []string
	differ := func(what string, want, got any) {
		if w, g := text(want), text(got); w != g {
			differences = append(differences, fmt.Sprintf("%s:\n  - %s\n  + %s", what, w, g))
		}
	}
	for i := range max(len(want.Events), len(got.Events)) {
		switch {
		case i >= len(got.Events):
			differences = append(differences, fmt.Sprintf("event %d did not come:\n  - %s", i+1, text(want.Events[i])))
		case i >= len(want.Events):
			differences = append(differences, fmt.Sprintf("event %d is not expected:\n  + %s", i+1, text(got.Events[i])))
		default:
			all := map[string]any{}
			maps.Copy(all, want.Events[i])
			maps.Copy(all, got.Events[i])
			for _, name := range slices.Sorted(maps.Keys(all)) {
				differ(fmt.Sprintf("event %d, %s", i+1, name), want.Events[i][name], got.Events[i][name])
			}
		}
	}
	differ("cursor", want.Cursor, got.Cursor)
	differ("ledger", nonZero(want.Ledger), nonZero(got.Ledger))
	if !strings.Contains(got.Error, want.Error) || want.Error == "" && got.Error != "" {
		differ("error", want.Error, got.Error)
	}
	if differences != nil {
		return fmt.Errorf("%s", strings.Join(differences, "\n"))
	}
	return nil
}

// text is a value as JSON, in which numbers and times of YAML and JSON are the same.
func text(v any) string {
	if at, ok := v.(time.Time); ok {
		v = at.UTC().Format(time.RFC3339Nano)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

func nonZero(counts map[string]int64) map[string]int64 {
	left := map[string]int64{}
	maps.Copy(left, counts)
	maps.DeleteFunc(left, func(_ string, n int64) bool { return n == 0 })
	return left
}

// sortEvents puts events into an order that does not depend on which item was fetched first.
func sortEvents(events []map[string]any) {
	slices.SortStableFunc(events, func(a, b map[string]any) int {
		return cmp.Or(cmp.Compare(text(a["timestamp"]), text(b["timestamp"])), cmp.Compare(text(a), text(b)))
	})
}

// header is what an answer's headers are on the wire.
func (e *Exchange) header() http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "Date": {time.Now().UTC().Format(http.TimeFormat)}}
	for name, value := range e.Answer.Headers {
		h.Set(name, value)
	}
	return h
}
