package web

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/author"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// This file shows what a feed asked, what failed, and what it delivered lately.

// sampleView is an event with its fields.
type sampleView struct {
	N         int
	At        time.Time
	Operation string
	Text      string          // message_text
	Held      *transform.Rule // by which rule it is not delivered
	Fields    []fieldView
}

// answered is what came of a request.
func answered(a extract.Asked) string {
	if a.Status == 0 {
		return "no answer"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.Status, http.StatusText(a.Status)))
}

func askedLevel(a extract.Asked) level {
	switch {
	case a.Problem == "":
		return good
	case a.Status == http.StatusTooManyRequests || a.Status == http.StatusServiceUnavailable:
		return careful
	}
	return bad
}

func took(d time.Duration) string {
	if d < 10*time.Second {
		return number(d.Milliseconds()) + " ms"
	}
	return wording.Span(d)
}

func viewSamples(list []fleet.Delivered) (rows []sampleView) {
	for i, d := range list {
		v := sampleOf(d.Event, true)
		v.N, v.At = i+1, d.At
		rows = append(rows, v)
	}
	return rows
}

// sampleOf shows an event: its normalised fields first, then those of the record; values only where they
// may be shown.
func sampleOf(event []byte, values bool) (v sampleView) {
	fields, err := author.EventFields(event)
	if err != nil {
		return v
	}
	for name, value := range fields {
		field := fieldView{Name: name}
		if values {
			raw, _ := json.Marshal(value) // it was read from JSON
			field.Value = fieldText(raw)
		}
		v.Fields = append(v.Fields, field)
		switch name {
		case "operation":
			v.Operation = field.Value
		case "message_text":
			v.Text = field.Value
		}
	}
	ofRecord := func(f fieldView) int {
		if strings.HasPrefix(f.Name, "event_") {
			return 1
		}
		return 0
	}
	slices.SortFunc(v.Fields, func(a, b fieldView) int {
		return cmp.Or(ofRecord(a)-ofRecord(b), cmp.Compare(a.Name, b.Name))
	})
	return v
}
