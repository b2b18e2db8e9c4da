package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
	"github.com/secure60/s60-m365-connector/engine/load"
)

func TestExpirySteps(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for left, want := range map[time.Duration]int{
		31 * day: -1, 30*day + time.Second: -1, 30 * day: 30, 15 * day: 30, 14 * day: 14, 8 * day: 14, 7 * day: 7, 2 * day: 7,
		day: 1, time.Hour: 1, 0: 0, -time.Hour: 0, -100 * day: 0,
	} {
		step, due := expiryStep(now.Add(left), now)
		if !due {
			step = -1
		}
		if step != want {
			t.Errorf("%v before the end: step %d, want %d", left, step, want)
		}
	}
}

func TestSecretIsFoundByItsHint(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		answer string
		want   string // "" for unknown
	}{
		"the one":                         {`{"value":[{"passwordCredentials":[{"hint":"Xyz","endDateTime":"2026-04-01T00:00:00Z"},{"hint":"Abc","endDateTime":"2026-05-01T00:00:00Z"}]}]}`, "2026-05-01"},
		"several alike: the first to end": {`{"value":[{"passwordCredentials":[{"hint":"Abc","endDateTime":"2027-05-01T00:00:00Z"},{"hint":"Abc","endDateTime":"2026-05-01T00:00:00Z"}]}]}`, "2026-05-01"},
		"one that has ended is not it":    {`{"value":[{"passwordCredentials":[{"hint":"Abc","endDateTime":"2026-02-01T00:00:00Z"},{"hint":"Abc","endDateTime":"2027-05-01T00:00:00Z"}]}]}`, "2027-05-01"},
		"unless all have":                 {`{"value":[{"passwordCredentials":[{"hint":"Abc","endDateTime":"2026-02-01T00:00:00Z"},{"hint":"Abc","endDateTime":"2026-01-01T00:00:00Z"}]}]}`, "2026-02-01"},
		"a secret without hint":           {`{"value":[{"passwordCredentials":[{"hint":null,"endDateTime":"2026-05-01T00:00:00Z"}]}]}`, "2026-05-01"},
		"another secret":                  {`{"value":[{"passwordCredentials":[{"hint":"Xyz","endDateTime":"2026-05-01T00:00:00Z"}]}]}`, ""},
		"no app":                          {`{"value":[]}`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var found passwords
			if err := json.Unmarshal([]byte(test.answer), &found); err != nil {
				t.Fatal(err)
			}
			ends, err := match(found, "Abc8Q~secret", now)
			if test.want == "" {
				if !errors.Is(err, ErrExpiryUnknown) {
					t.Errorf("got %v, %v; want errExpiryUnknown", ends, err)
				}
				return
			}
			if got := ends.Format(time.DateOnly); err != nil || got != test.want {
				t.Errorf("got %s, %v; want %s", got, err, test.want)
			}
		})
	}
}

// inbox is a destination that keeps what it is given, or refuses to.
type inbox struct {
	load.Destination
	events [][]byte
	err    error
}

func (b *inbox) Deliver(_ context.Context, batch load.Batch) ([]load.Refused, error) {
	if b.err == nil {
		b.events = append(b.events, batch.Events...)
	}
	return nil, b.err
}

// TestCredentialWarnings goes through the last weeks of a credential, hour by
// hour: each step is told once, a replaced credential begins anew.
func TestCredentialWarnings(t *testing.T) {
	var log bytes.Buffer
	box := &inbox{}
	s, err := settings.Read(testkit.Settings(map[string]string{"ENVIRONMENT": "Test"}), false)
	if err != nil {
		t.Fatal(err)
	}
	c := &Connector{Settings: s, Log: slog.New(slog.NewTextHandler(&log, nil)), dest: box}
	w := &credentialWatch{Expiry: Expiry{Settings: s}, c: c}
	ends := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for now := ends.Add(-40 * 24 * time.Hour); now.Before(ends.Add(48 * time.Hour)); now = now.Add(time.Hour) {
		w.learn(t.Context(), ends, now)
	}
	schema, err := jsonschema.Compile(filepath.FromSlash("../../../../schemas/event.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var days []float64
	for _, body := range box.events {
		var event map[string]any
		if err := json.Unmarshal(body, &event); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(event); err != nil {
			t.Errorf("%#v", err)
		}
		if event["operation"] != "connector-credential-expiry" || event["outcome"] != "failure" || event["environment"] != "Test" {
			t.Errorf("event: %s", body)
		}
		days = append(days, event["event_credential_days"].(float64))
	}
	if want := []float64{30, 14, 7, 1, 0}; len(days) != len(want) || days[0] != 30 || days[1] != 14 || days[2] != 7 || days[3] != 1 || days[4] != 0 {
		t.Errorf("warned with %v days left, want %v", days, want)
	}
	if got := strings.Count(log.String(), "level=WARN"); got != 5 {
		t.Errorf("%d warnings in the log, want 5:\n%s", got, &log)
	}
	if strings.Contains(log.String(), testkit.Complete["CLIENT_SECRET"]) {
		t.Error("the secret is in the log")
	}

	// A replaced credential is quiet until its own end comes near, even where
	// an earlier one was warned of.
	renewed := ends.Add(365 * 24 * time.Hour)
	w.learn(t.Context(), renewed, ends)
	if got := w.Expires(); !got.Equal(renewed) || len(box.events) != 5 {
		t.Errorf("after the renewal it ends %v, and %d events were sent", got, len(box.events))
	}
	// What could not be delivered is told again.
	box.err = errors.New("down")
	w.learn(t.Context(), renewed, renewed.Add(-29*24*time.Hour))
	box.err = nil
	w.learn(t.Context(), renewed, renewed.Add(-28*24*time.Hour))
	w.learn(t.Context(), renewed, renewed.Add(-27*24*time.Hour))
	if len(box.events) != 6 {
		t.Errorf("%d events, want 6: the one that failed is sent again, once", len(box.events))
	}
}
