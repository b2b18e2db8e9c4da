package author

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/cases"
)

// examples is how many records of the answer become part of the case.
const examples = 3

// Case is a golden case of the feed: the service answers with the first records of the answer, and
// there is no next page.
func (a *Answer) Case(name, file string) (*cases.Case, error) {
	c := &cases.Case{Feed: name, Name: "example", File: file, Description: "The beginning of the answer that the feed was written from"}
	address := a.address(name)
	for _, setting := range []string{"MS_GRAPH_BASE", "MS_MANAGE_BASE"} {
		address = strings.Replace(address, "${"+setting+"}", fmt.Sprint(cases.Fixed[setting]), 1)
	}
	records := a.Records[:min(len(a.Records), examples)]
	answers := [][]json.RawMessage{records}
	switch {
	case a.present():
		// The first round of a feed that shows a present state is what the next is compared with.
		answers = [][]json.RawMessage{{}, records}
		c.Rounds = 2
	case a.Time != "":
		answers[0] = a.within(records, c)
	}
	for _, list := range answers {
		body, err := a.with(list)
		if err != nil {
			return nil, err
		}
		var x cases.Exchange
		x.Request.URL = address
		x.Answer.Body = body
		c.Exchanges = append(c.Exchanges, x)
	}
	return c, nil
}

// The records of a case are less than caseSpan apart, and the feed begins caseLookback before the case:
// both less than a window, so that there is one request.
const (
	caseSpan     = 20 * time.Hour
	caseLookback = "21h"
)

// within are the records of less than a day, up to the newest of them, and the case happens right after that.
func (a *Answer) within(records []json.RawMessage, c *cases.Case) []json.RawMessage {
	at := func(record json.RawMessage) time.Time { return parseTime(gjson.GetBytes(record, escape(a.Time)).Str) }
	newest := at(records[0])
	for _, r := range records {
		if t := at(r); t.After(newest) {
			newest = t
		}
	}
	var kept []json.RawMessage
	for _, r := range records {
		if newest.Sub(at(r)) < caseSpan {
			kept = append(kept, r)
		}
	}
	c.Now = newest.UTC().Truncate(time.Minute).Add(time.Minute)
	c.Lookback = caseLookback
	return kept
}

// parseTime is a time as records have it; those without a zone are UTC.
func parseTime(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t, _ = time.Parse("2006-01-02T15:04:05", text) // findTime has seen that it is one of the two
	}
	return t
}

// with is the answer with other records, and without a next page, as text: so that no digit is lost.
func (a *Answer) with(records []json.RawMessage) (string, error) {
	var body any = records
	if a.Path != "@this" {
		var err error
		if body, err = decode(a.body); err != nil {
			return "", err
		}
		put(body, a.Path, records)
		put(body, a.Next, nil)
		put(body, `@odata\.nextLink`, nil)
	}
	return encode(body, "  ")
}

// put puts a value at a path that leads through objects; nil takes away what is there.
func put(body any, path string, value any) {
	names := split(path)
	for i, name := range names {
		object, ok := body.(map[string]any)
		switch {
		case !ok:
			return
		case i < len(names)-1:
			body = object[name]
		case value == nil:
			delete(object, name)
		default:
			object[name] = value
		}
	}
}

// split are the names of a path that [escape] made.
func split(path string) (names []string) {
	var name strings.Builder
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '\\' && i+1 < len(path):
			i++
			name.WriteByte(path[i])
		case path[i] == '.':
			names = append(names, name.String())
			name.Reset()
		default:
			name.WriteByte(path[i])
		}
	}
	return append(names, name.String())
}
