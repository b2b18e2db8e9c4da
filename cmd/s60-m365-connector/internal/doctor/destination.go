package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// This file looks at where events go.

const (
	destinationPatience = 20 * time.Second // for an answer of the destination
	destinationRecovery = 3 * time.Second  // for a destination that answered badly to recover
)

// checkDestination delivers one event, as only that shows that the address, the
// project and the token are right: the service has no request that would tell
// without. It says what it is: connector-check.
func (d *Doctor) checkDestination(ctx context.Context) {
	const name = "destination"
	s := d.Settings
	switch {
	case s.Output == "-":
		d.ok(name, "standard output")
		return
	case s.Output != "":
		d.checkOutput(name)
		return
	case s.Stream != nil && s.Stream.Exposed():
		d.warn(name, "write OUTPUT with tls:// or kafka+tls://, unless the network is your own", "%s is reached without encryption", s.DestinationText())
	}
	dest, err := fleet.OpenDestination(s, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		d.note(Finding{Name: name, Status: Failed, Cause: err.Error(), Remedy: "correct the setting that it names"}, program.Usage)
		return
	}
	defer dest.Close()
	body, err := json.Marshal(checkEvent(s, time.Now()))
	if err != nil {
		d.fail(name, "report this", "%v", err)
		return
	}
	refused, err := deliverSoon(ctx, dest, body)
	state := dest.State()
	switch {
	case err != nil:
		cause, remedy := state.LastError, state.Advice
		switch {
		case remedy != "": // as log, page and heartbeat say
		case s.Stream != nil:
			remedy = "see that a server runs there and that this host may reach it; HTTPS_PROXY is not used for it"
		case cause == "":
			cause = fmt.Sprintf("no answer within %s", destinationPatience)
			remedy = "see whether it is overloaded, and that no firewall on the way swallows what is sent; the running connector waits longer, and loses nothing"
		case strings.Contains(cause, "HTTP "):
			remedy = "see that " + s.DestinationText() + " is the right place, and try again later: events wait until it takes them"
		default:
			remedy = "see that this host may reach it over HTTPS: HTTPS_PROXY behind a proxy, SSL_CERT_FILE for a private certificate authority"
		}
		d.gather(name, "", Finding{Status: Failed, Cause: s.DestinationText() + ": " + cause, Remedy: remedy}, program.Failed)
	case len(refused) > 0 && s.Stream != nil:
		d.fail(name, "see that messages of some kilobytes may be written there; events refused so go to dead letters", "%s refuses events: %s", s.DestinationText(), refused[0].Reason)
	case len(refused) > 0:
		d.fail(name, "compare "+map[bool]string{true: "S60_COLLECTOR_BASE", false: "S60_INGEST_BASE and PROJECT_ID"}[s.CollectorBase != ""]+" with what Secure60 gave you; events refused so go to dead letters",
			"%s refuses events: HTTP %d %s", s.DestinationText(), refused[0].Status, refused[0].Reason)
	default:
		d.ok(name, "%s took an event of operation connector-check", s.DestinationText())
	}
}

func checkEvent(s *settings.Settings, now time.Time) map[string]any {
	event := fleet.OwnEvent(s, "connector-check", now)
	event["message_text"] = fmt.Sprintf("%s %s checks that it can deliver, for tenant %s", program.Name, program.Version, s.TenantID)
	return event
}

// deliverSoon delivers one event, or gives up: a destination retries for ever.
func deliverSoon(ctx context.Context, dest load.Destination, event []byte) ([]load.Refused, error) {
	ctx, cancel := context.WithTimeout(ctx, destinationPatience)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		var since time.Time
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			switch state := dest.State(); {
			case state.OK:
				since = time.Time{}
			case since.IsZero():
				since = time.Now()
			case time.Since(since) > destinationRecovery:
				cancel()
			}
		}
	}()
	return dest.Deliver(ctx, load.Batch{Events: [][]byte{event}})
}

// checkOutput sees whether the file can be appended to. It does not make one.
func (d *Doctor) checkOutput(name string) {
	path := d.Settings.Output
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		d.ok(name, "%s can be appended to", path)
		file.Close()
		return
	}
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = os.Stat(filepath.Dir(path)); err == nil {
			_, err = Writable(filepath.Dir(path))
		}
	}
	if err != nil {
		d.fail(name, "let OUTPUT name a file that the connector may write to, in a directory that exists", "%s cannot be written to: %v", path, wording.Underlying(err))
		return
	}
	d.ok(name, "%s is made at the first start", path)
}
