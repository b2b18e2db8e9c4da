package demo

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/detections"
)

// attackBegan is how long ago an attack began: all of it lies within the history.
const attackBegan = 2 * time.Hour

// alarms are the rules that fired on what was delivered.
type alarms struct {
	watcher *detections.Watcher
	fired   []alarm
}

type alarm struct {
	rule     *detections.Rule
	at, text string
}

func newAlarms() (*alarms, error) {
	rules, err := detections.Rules()
	if err != nil {
		return nil, err
	}
	return &alarms{watcher: detections.NewWatcher(rules)}, nil
}

// add takes an event that was delivered. What is no JSON the destination refused.
func (a *alarms) add(event []byte) {
	var fields map[string]any
	if json.Unmarshal(event, &fields) != nil {
		return
	}
	for _, rule := range a.watcher.Add(fields) {
		a.fired = append(a.fired, alarm{rule, fmt.Sprint(fields["timestamp"]), fmt.Sprint(fields["message_text"])})
	}
}

// print shows the rules that fired, in the order of what fired them.
func (a *alarms) print(w io.Writer, title string) {
	slices.SortStableFunc(a.fired, func(a, b alarm) int { return cmp.Compare(a.at, b.at) })
	fmt.Fprintf(w, "\nThe attack: %s.\nRules of docs/detections.md that fired on the delivered events: %d.\n", title, len(a.fired))
	for _, f := range a.fired {
		fmt.Fprintf(w, "  %.19sZ  %-6s  %s: %s\n      on: %s\n", f.at, f.rule.Severity, f.rule.Name, f.rule.Title, wording.Visible(f.text))
	}
}
