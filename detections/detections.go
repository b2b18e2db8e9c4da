// Package detections holds the rules of docs/detections.md, in the form that
// rules have in Secure60: fields of events compared by =, ~ and >=, joined by AND
// and OR, and counted over time. A [Watcher] says which of them fire on a
// sequence of events.
//
// Secure60 evaluates its own rules. This package proves, in tests, that the
// events which the mappings make let these rules fire, and lets the demonstration
// show it.
package detections

import (
	"bytes"
	_ "embed"
	"fmt"
	"time"

	"gopkg.in/yaml.v3"
)

// A Rule fires on one event for which When holds, or, with a Count, on so many
// of them that have the same value of By, within the time Within.
type Rule struct {
	Name      string `yaml:"name"`      // kebab-case, stable
	Title     string `yaml:"title"`     // what is wrong when it fires
	Severity  string `yaml:"severity"`  // LOW, MEDIUM or HIGH
	Technique string `yaml:"technique"` // of MITRE ATT&CK
	When      string `yaml:"when"`
	By        string `yaml:"by"`       // the entity that is counted for
	Distinct  string `yaml:"distinct"` // the field whose different values are counted, where it is not the events
	Count     int    `yaml:"count"`
	Within    string `yaml:"within"` // a duration, such as 1h
	Tune      string `yaml:"tune"`   // what is no attack, and how to leave it out

	condition condition
	fields    []string
	within    time.Duration
}

//go:embed rules.yaml
var source []byte

// Rules are the shipped rules, in the order of the page.
func Rules() ([]*Rule, error) {
	d := yaml.NewDecoder(bytes.NewReader(source))
	d.KnownFields(true)
	var rules []*Rule
	if err := d.Decode(&rules); err != nil {
		return nil, fmt.Errorf("detections/rules.yaml: %w", err)
	}
	for _, r := range rules {
		var err error
		if r.condition, r.fields, err = parse(r.When); err != nil {
			return nil, fmt.Errorf("detections/rules.yaml: %s: when: %w", r.Name, err)
		}
		if r.Count > 0 {
			if r.within, err = time.ParseDuration(r.Within); err != nil {
				return nil, fmt.Errorf("detections/rules.yaml: %s: within: %w", r.Name, err)
			}
			r.fields = append(r.fields, r.By)
			if r.Distinct != "" {
				r.fields = append(r.fields, r.Distinct)
			}
		}
	}
	return rules, nil
}

// Fields are the fields of events that the rule reads.
func (r *Rule) Fields() []string { return r.fields }

// A Watcher follows a stream of events and says which rules fire. It keeps what
// counting rules need of the events within their time; it is for one goroutine.
type Watcher struct {
	rules []*Rule
	seen  map[seenKey][]sighting
}

type seenKey struct {
	rule *Rule
	by   string
}

type sighting struct {
	at    time.Time
	value string
}

// NewWatcher makes a watcher for the rules.
func NewWatcher(rules []*Rule) *Watcher {
	return &Watcher{rules: rules, seen: make(map[seenKey][]sighting)}
}

// Add takes the next event and gives the rules that fire on it. A counting rule
// that has fired begins anew for that entity. An event without a time that can
// be read, or without the entity, does not count.
func (w *Watcher) Add(event map[string]any) (fired []*Rule) {
	for _, r := range w.rules {
		if !r.condition(event) {
			continue
		}
		if r.Count == 0 || w.enough(r, event) {
			fired = append(fired, r)
		}
	}
	return fired
}

func (w *Watcher) enough(r *Rule, event map[string]any) bool {
	by, ok := event[r.By]
	at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(event["timestamp"]))
	if !ok || err != nil {
		return false
	}
	// One act that both APIs tell counts once.
	value := event["request_id"]
	if r.Distinct != "" {
		value = event[r.Distinct]
	}
	one := sighting{at: at}
	if value != nil {
		one.value = fmt.Sprint(value)
	} else if r.Distinct != "" {
		return false
	}
	key := seenKey{r, fmt.Sprint(by)}
	recent := []sighting{one}
	for _, s := range w.seen[key] {
		if at.Sub(s.at).Abs() < r.within {
			recent = append(recent, s)
		}
	}
	w.seen[key] = recent
	values, n := make(map[string]bool), 0
	for _, s := range recent {
		if s.value == "" {
			n++
		} else {
			values[s.value] = true
		}
	}
	if n += len(values); n < r.Count {
		return false
	}
	delete(w.seen, key)
	return true
}
