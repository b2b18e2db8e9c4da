package engine

import (
	"regexp"
	"strings"
	"time"
)

// This file finds the one cause behind the errors of several feeds.

var (
	urlPath = regexp.MustCompile(`(https?://[^\s"/?]+)[^\s"]*`)
	// Where errors of requests begin that feeds make, each for itself.
	ofFeed = regexp.MustCompile(`^feed [^:]+: `)
	ofPage = regexp.MustCompile(`^page \d+: `)
	// Ids, times, lengths of time and sockets differ from request to request.
	passing = regexp.MustCompile(`(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\d[T ][\d:.]+Z?|\b\d+(\.\d+)?(ms|µs|s)\b|(\d+\.){3}\d+:\d+`)
)

// BriefCause is an error's text as several feeds share it: without the feed, with addresses cut down to their host.
func BriefCause(text string) string {
	return urlPath.ReplaceAllString(ofPage.ReplaceAllString(ofFeed.ReplaceAllString(text, ""), ""), "$1")
}

// CauseKey is the same for errors that differ only in what passes: path, id, time, socket.
func CauseKey(text string) string { return passing.ReplaceAllString(BriefCause(text), "") }

// Cause is why nothing is collected, where there is one cause for it: a clause without a
// full stop. Empty while something is collected, or where the feeds fail for several causes.
func (s Status) Cause() string {
	for _, f := range s.Feeds {
		if f.State == OK || f.State == Starting || f.State == Standby {
			return ""
		}
	}
	failures := s.Failures()
	if len(failures) != 1 {
		return ""
	}
	first := failures[0].Text
	first, _, _ = strings.Cut(first, ". ") // what to do follows
	first = strings.TrimRight(first, ".")
	if ended := s.CredentialExpires; !ended.IsZero() && !ended.After(s.Now) {
		first = strings.Replace(first, "has expired", "expired on "+ended.UTC().Format(time.DateOnly), 1)
	}
	return first
}
