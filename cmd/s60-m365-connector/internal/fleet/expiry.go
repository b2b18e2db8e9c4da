package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// This file finds out when the connector's own credential ends, and warns in time. A
// certificate says so itself; of a secret, the app registration in Graph does, if the
// connector may read it:
// https://learn.microsoft.com/graph/api/resources/passwordcredential

const (
	expiryInterval = time.Hour        // between two looks; a replaced credential is noticed by then
	expiryRetry    = 10 * time.Minute // after a look that failed
)

// ExpiryDays are the days before the credential's end on which a warning is due, once each.
var ExpiryDays = []int{0, 1, 7, 14, 30}

// ErrExpiryUnknown says that nobody can tell when the credential ends.
var ErrExpiryUnknown = errors.New("when the credential ends cannot be known")

// Expiry finds out when the credential ends.
type Expiry struct {
	Settings   *settings.Settings
	Credential extract.Credential
	Client     *extract.Client
}

// Find says when the credential ends. [ErrExpiryUnknown] says that this cannot be known,
// and why; any other error may pass.
func (e Expiry) Find(ctx context.Context) (time.Time, error) {
	ends, err := e.Credential.Expires()
	if err != nil || !ends.IsZero() {
		return ends, err
	}
	var secret string
	switch e.Settings.Credential.Kind {
	case "CLIENT_SECRET":
		secret = e.Settings.Credential.Value
	case "CLIENT_SECRET_FILE":
		text, err := os.ReadFile(e.Settings.Credential.Value)
		if err != nil {
			return time.Time{}, fmt.Errorf("CLIENT_SECRET_FILE: %w", err)
		}
		secret = strings.TrimSpace(strings.TrimPrefix(string(text), "\ufeff"))
	default: // a federated token is short-lived, and renewed by its issuer
		return time.Time{}, fmt.Errorf("%w: a federated token is renewed by its issuer", ErrExpiryUnknown)
	}
	return e.ask(ctx, secret)
}

// passwords is the part of Graph's answer that is of interest. The answer never
// holds a secret: of one it gives the first three characters.
type passwords struct {
	Value []struct {
		Credentials []struct {
			Hint string    `json:"hint"`
			Ends time.Time `json:"endDateTime"`
		} `json:"passwordCredentials"`
	} `json:"value"`
}

func (e Expiry) ask(ctx context.Context, secret string) (time.Time, error) {
	query := url.Values{
		"$filter": {"appId eq '" + strings.ReplaceAll(e.Settings.ClientID, "'", "''") + "'"},
		"$select": {"appId,passwordCredentials"},
	}
	// Spaces as %20: Graph does not take a plus for one.
	address := e.Settings.GraphBase + "/v1.0/applications?" + strings.ReplaceAll(query.Encode(), "+", "%20")
	body, err := e.Client.Get(ctx, e.Settings.GraphScope(), address)
	if refused, ok := errors.AsType[*extract.StatusError](err); ok && refused.Status >= 400 && refused.Status < 500 && refused.Status != http.StatusTooManyRequests {
		return time.Time{}, fmt.Errorf("%w: the app may not read its own registration (it would need Application.Read.All or Directory.Read.All)", ErrExpiryUnknown)
	}
	if err != nil {
		return time.Time{}, err
	}
	var found passwords
	if err := json.Unmarshal(body, &found); err != nil {
		return time.Time{}, fmt.Errorf("%w: Graph's answer has another form than it should", ErrExpiryUnknown)
	}
	return match(found, secret, time.Now())
}

// match finds the secret among those of the app by its hint. Of several that
// begin alike, the one that ends first is assumed, of those that have not
// ended: a warning too early does no harm.
func match(found passwords, secret string, now time.Time) (time.Time, error) {
	var ends time.Time
	for _, app := range found.Value {
		for _, c := range app.Credentials {
			// Secrets made long ago have no hint.
			if c.Ends.IsZero() || c.Hint != "" && !strings.HasPrefix(secret, c.Hint) {
				continue
			}
			alive := c.Ends.After(now)
			switch {
			case ends.IsZero(), alive && !ends.After(now):
				ends = c.Ends
			case alive && c.Ends.Before(ends), !alive && !ends.After(now) && c.Ends.After(ends):
				ends = c.Ends
			}
		}
	}
	if ends.IsZero() {
		return ends, fmt.Errorf("%w: the app registration does not list this secret", ErrExpiryUnknown)
	}
	return ends, nil
}

// DaysLeft is how many whole days are left, negative after the end.
func DaysLeft(ends, now time.Time) int { return int(math.Floor(ends.Sub(now).Hours() / 24)) }

// credentialWatch keeps the end of the credential, and warns of it.
type credentialWatch struct {
	Expiry
	c    *Connector
	mu   sync.Mutex
	ends time.Time
	told int       // the step of expiryDays that was warned of last
	of   time.Time // the end of the credential that was warned of
}

// Expires is when the credential ends, the zero time while that is not known.
func (w *credentialWatch) Expires() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ends
}

func (w *credentialWatch) run(ctx context.Context) {
	for {
		wait := expiryInterval
		ends, err := w.Find(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			w.learn(ctx, ends, time.Now())
		case errors.Is(err, ErrExpiryUnknown):
			w.c.Log.Debug("credential expiry", "error", err)
			w.learn(ctx, time.Time{}, time.Now())
		default:
			// What keeps tokens from being had is told by the feeds. What was
			// known goes on to hold, and time goes on.
			w.c.Log.Debug("credential expiry, will be tried again", "error", err)
			w.learn(ctx, w.Expires(), time.Now())
			wait = expiryRetry
		}
		if !engine.Sleep(ctx, wait) {
			return
		}
	}
}

// learn takes the end of the credential, and warns of it if that is due.
func (w *credentialWatch) learn(ctx context.Context, ends, now time.Time) {
	w.mu.Lock()
	w.ends = ends
	w.mu.Unlock()
	if ends.IsZero() {
		return
	}
	step, due := expiryStep(ends, now)
	if !due || w.of.Equal(ends) && step >= w.told {
		return
	}
	w.warn(ctx, ends, now, step)
}

// expiryStep is the step of expiryDays that has been reached, if any.
func expiryStep(ends, now time.Time) (step int, due bool) {
	for _, days := range ExpiryDays {
		if ends.Sub(now) <= time.Duration(days)*24*time.Hour {
			return days, true
		}
	}
	return 0, false
}

// warn says it in the log and by an event. The event is delivered for as long
// as it takes: the next step is later than that, or supersedes it.
func (w *credentialWatch) warn(ctx context.Context, ends, now time.Time, step int) {
	event := w.event(ends, now, step)
	facts := []any{"setting", w.Settings.Credential.Kind, "ends", ends.UTC().Format(time.RFC3339), "days", DaysLeft(ends, now)}
	if step == 0 {
		w.c.Log.Warn("the credential has ended: create a new one, and put it into the setting", facts...)
	} else {
		w.c.Log.Warn("the credential ends soon: create a new one, and put it into the setting", facts...)
	}
	body, err := json.Marshal(event)
	if err != nil {
		w.c.Log.Error("credential event cannot be written as JSON", "error", err)
		return
	}
	send, cancel := context.WithTimeout(ctx, expiryInterval)
	defer cancel()
	refused, err := w.c.dest.Deliver(send, load.Batch{Events: [][]byte{body}})
	if err != nil {
		if ctx.Err() == nil {
			w.c.Log.Warn("credential event not delivered, will be tried again", "error", err)
		}
		return
	}
	if len(refused) > 0 {
		w.c.Log.Error("the destination refused the credential event", "status", refused[0].Status)
	}
	w.told, w.of = step, ends
}

// event is flat, like those of records.
func (w *credentialWatch) event(ends, now time.Time, step int) map[string]any {
	days := DaysLeft(ends, now)
	severity, text := "medium", fmt.Sprintf("in %d %s", days, wording.Plural(days, "day"))
	if step <= 7 {
		severity = "high"
	}
	switch {
	case step == 0:
		text = "now: collection stops"
	case days == 0:
		text = "in less than a day"
	}
	event := OwnEvent(w.Settings, "connector-credential-expiry", now)
	event["outcome"] = "failure"
	event["source_severity"] = severity
	event["event_credential_kind"] = w.Settings.Credential.Kind
	event["event_credential_expires"] = ends.UTC().Format(time.RFC3339)
	event["event_credential_days"] = days
	event["message_text"] = fmt.Sprintf("The credential with which %s reads tenant %s (%s) ends %s, on %s",
		program.Name, w.Settings.TenantID, w.Settings.Credential.Kind, text, ends.UTC().Format("2 January 2006 15:04 UTC"))
	return event
}

// OwnEvent is the beginning of an event about the connector itself.
func OwnEvent(s *settings.Settings, operation string, now time.Time) map[string]any {
	return engine.OwnEvent(program.Name, program.Version, s.Tenant, definitions.Constants(s.Environment), operation, now)
}
