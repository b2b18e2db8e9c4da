package demo

import (
	"bytes"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// shown is what a demonstration prints.
func shown(t *testing.T, d Demo) (string, error) {
	var out bytes.Buffer
	d.Out, d.Err, d.Events, d.Config = &out, io.Discard, 200, t.TempDir()
	err := d.Run(t.Context())
	return out.String(), err
}

// TestStories: each attack makes its rules fire, and what else happens in the tenant none.
func TestStories(t *testing.T) {
	rules := map[string][]string{
		"bec":        {"mfa-fatigue", "inbox-rule-hides-mail", "inbox-rule-forwards-outside", "mailbox-forwards-outside"},
		"consent":    {"consent-to-grave-permissions"},
		"insider":    {"mass-download"},
		"ransomware": {"auditing-switched-off", "mass-rename", "mass-deletion"},
	}
	for i, name := range simulator.Attacks {
		if testing.Short() && i > 0 {
			break // another story is other records
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := shown(t, Demo{Story: name})
			if err != nil {
				t.Fatal(err)
			}
			var fired []string
			for _, m := range regexp.MustCompile(`(?m)^  \S+Z  [A-Z]+ +([a-z-]+): .*\n      on: .+$`).FindAllStringSubmatch(text, -1) {
				fired = append(fired, m[1])
			}
			if !slices.Equal(fired, rules[name]) {
				t.Errorf("fired: %v, want %v:\n%s", fired, rules[name], text)
			}
			if !strings.Contains(text, ": 0 lost, 0 twice.") {
				t.Error("not all of it arrived:\n" + text)
			}
		})
	}
}

// TestBreaks: the doctor finds what was broken, and says what to do.
func TestBreaks(t *testing.T) {
	want := map[string]struct {
		cause, remedy string
		slow          bool // the doctor asks more than once
	}{
		"expired-secret": {"the client secret has expired", "Create a new client secret", false},
		"no-p2":          {"The tenant lacks the licence, Entra ID P2", "Nothing, if that is intended", true},
		"no-consent":     {"Not consented", "--permission AuditLog.Read.All", false},
		"sink-down":      {"it answers HTTP 503", "try again later: events wait", true},
		"throttled":      {"The service throttles", "see whether other programs use the same app", false},
		"audit-off":      {"audit log is switched off", "Switch the audit log on", true},
	}
	// They wait more than they work: all run at once, whatever the number of processors.
	var all sync.WaitGroup
	for _, name := range breaks() {
		w := want[name]
		if w.slow && testing.Short() {
			continue
		}
		all.Go(func() {
			text, err := shown(t, Demo{Break: name, Minutes: 0.05})
			_, end, _ := strings.Cut(text, "The one cause: ")
			cause, remedy, _ := strings.Cut(end, "What to do: ")
			if err != nil || w.cause == "" || !strings.Contains(cause, w.cause) || !strings.Contains(remedy, w.remedy) {
				t.Errorf("%s: %q and %q are missing (%v):\n%s", name, w.cause, w.remedy, err, text)
			}
		})
	}
	all.Wait()
}
