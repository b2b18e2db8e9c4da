package expression

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestPatience: what is too late fails, also in the middle of one expression; and only where that is asked for.
func TestPatience(t *testing.T) {
	for _, source := range []string{`len(filter(1..90000, text contains "x"))`, `text matches "(a|b)+[cd]" or true`, `text == "" ? 1 : 2`} {
		u := NewUnit(Options{})
		p, err := u.Parse(source)
		if err != nil {
			t.Fatal(err)
		}
		u.Link()
		slot, _ := u.Slot("text")
		for _, patience := range []time.Duration{0, time.Nanosecond, time.Hour} {
			m := u.NewMachine(nil)
			m.SetPatience(patience)
			m.Begin()
			m.SetText(slot, []byte(strings.Repeat("ab ", 100)), false)
			time.Sleep(time.Microsecond)
			if _, err := p.Value(m); errors.Is(err, errTooSlow) != (patience == time.Nanosecond) {
				t.Errorf("%s, %s: %v", source, patience, err)
			}
		}
	}
	u := NewUnit(Options{})
	p, _ := u.Parse(`len(filter(1..90000, text contains "x"))`)
	u.Link()
	slot, _ := u.Slot("text")
	m := u.NewMachine(nil)
	m.SetPatience(time.Millisecond)
	m.Begin()
	m.SetText(slot, []byte(strings.Repeat("ab ", 100_000)), false)
	begun := time.Now()
	if _, err := p.Value(m); !errors.Is(err, errTooSlow) || time.Since(begun) > 5*time.Second {
		t.Errorf("after %s: %v", time.Since(begun), err)
	}
}
