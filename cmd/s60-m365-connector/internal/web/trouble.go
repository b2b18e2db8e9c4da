package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/definition"
)

// This file says what is wrong with a feed or the destination, and what to do.

// problemView is something wrong with a feed or the destination.
type problemView struct {
	Level       level
	Title, Text string
	At          time.Time
	Advice      string
	Mapping     string // to be tried on the workbench
	Affects     string // the feeds that have it in common, "" for that of one
}

const roundFailed = "The last round failed"

// problems are what a person should know about a feed, with what to do.
func problems(f engine.FeedStatus, feed *definition.Feed) []problemView {
	var list []problemView
	if f.State == engine.Gated {
		title := "The tenant lacks what this feed requires"
		if f.Requires != "" {
			title += ": " + f.Requires
		}
		list = append(list, problemView{Level: careful, Title: title, Text: f.GateReason,
			Advice: "Nothing, if that is intended: it holds up no other feed. It is tried again by itself at " + f.GateUntil.UTC().Format(time.DateTime) + " UTC, and opens once the tenant has it."})
	}
	if f.LastError != "" {
		list = append(list, problemView{Level: bad, Title: roundFailed, Text: f.LastError, At: f.LastErrorAt, Advice: advice(f.LastError, feed)})
	}
	if f.Difference != 0 {
		list = append(list, problemView{Level: bad, Title: fmt.Sprintf("The ledger does not balance: %s %s unaccounted for", number(f.Difference), wording.Plural(int(f.Difference), "record")),
			Advice: "See which window with “" + program.Name + " feeds --ledger”, and read it again with “" + program.Name + " backfill”."})
	}
	if len(f.FieldErrors) > 0 && feed != nil {
		list = append(list, problemView{Level: careful, Title: "Expressions of the mapping failed on some records", Text: fieldErrors(f.FieldErrors),
			Advice: "No record was lost: these events were sent without that field, and error_mapping in them says why.", Mapping: feed.Mapping})
	}
	return list
}

// advice is what to do about the error of a feed. Errors that carry their own
// remedy, as those of credentials and settings do, have been told in full.
func advice(text string, feed *definition.Feed) string {
	const check = "“" + program.Name + " check” tests each requirement and says which is not met."
	has := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(text, part) {
				return true
			}
		}
		return false
	}
	switch {
	case wording.Remedied(text), has("(AADSTS", "STATE_URL"):
		return "Do what the error says. Collection then resumes by itself, and what was missed is read. " + check
	case has("AADSTS"):
		return "https://login.microsoftonline.com/error explains the code. Collection then resumes by itself, and what was missed is read. " + check
	case has("HTTP 401", "HTTP 403", "Authorization_RequestDenied"):
		if feed != nil && len(feed.Permissions) > 0 {
			return "Grant the app " + strings.Join(feed.Permissions, ", ") + " as application permissions, with admin consent. " + check
		}
		return "See that the app has the permissions this feed needs, with admin consent. " + check
	case has("HTTP 429", "throttl"):
		return "Nothing: it waits as the service says, and goes on. If it lasts, see whether other programs use the same app."
	case has("HTTP 5", "timeout", "deadline", "connection", "no such host", "EOF", "TLS", "x509"):
		return "Nothing if it passes: the same span is read again in the next round. If it lasts, see that this host reaches the service over HTTPS (HTTPS_PROXY, SSL_CERT_FILE, firewall)."
	}
	return "The same span is read again in the next round; nothing is skipped. " + check
}

// destinationProblem is what is wrong with the destination, if anything is.
func destinationProblem(s engine.Status) []problemView {
	if s.Delivery.OK || s.Delivery.LastError == "" {
		return nil
	}
	text := "Nothing is lost: events wait at Microsoft until " + s.Destination + " takes them, and it is tried again all the time."
	if s.Delivery.Advice != "" {
		text = s.Delivery.Advice + ". " + text
	} else {
		text += " If it lasts, see that it is up, and that this host reaches it (firewall; HTTPS_PROXY, where it is reached over HTTPS)."
	}
	return []problemView{{Level: bad, Title: "The destination does not take events", Text: s.Delivery.LastError, Advice: text}}
}

// clockProblem is that this host's clock is wrong, if it is.
func clockProblem(s engine.Status) []problemView {
	off := s.ClockOff()
	if off == 0 {
		return nil
	}
	return []problemView{{Level: careful, Title: "The clock of this host is wrong",
		Text:   fmt.Sprintf("the services' is %s %s", wording.Span(off.Abs()), map[bool]string{true: "ahead", false: "behind"}[off > 0]),
		Advice: "Set it (NTP); a container has the clock of its host. Until then windows go by the services' clock, and nothing is lost."}}
}

// fieldErrors are the fields of the mapping that failed, the most frequent first.
func fieldErrors(counts map[string]int64) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	const shown = 4
	var text []string
	for i, name := range names {
		if i == shown {
			text = append(text, fmt.Sprintf("%d more", len(names)-shown))
			break
		}
		text = append(text, fmt.Sprintf("%s ×%s", name, number(counts[name])))
	}
	return strings.Join(text, ", ")
}

// sharedCauses are the errors that several partitions have in common, each once and with those that it affects;
// told are the keys of those errors, see [engine.CauseKey].
func sharedCauses(s engine.Status, set *definition.Set) (list []problemView, told []string) {
	for _, cause := range s.Failures() {
		first := cause.Feeds[0]
		if len(cause.Feeds) < 2 || first.LastError == "" {
			continue
		}
		told = append(told, cause.Key)
		list = append(list, problemView{
			Level: bad, At: cause.At, Title: fmt.Sprintf("%d feeds fail for one reason", len(cause.Feeds)),
			Text: cause.Text, Advice: advice(first.LastError, set.Feed(first.Feed)), Affects: affected(cause),
		})
	}
	return list, told
}

// affected are the feeds that fail for a cause, and their partitions.
func affected(cause engine.Failure) string {
	var names []string
	for _, f := range cause.Feeds {
		names = append(names, wording.FeedLabel(f.Feed, f.Partition))
	}
	return strings.Join(names, ", ")
}
