package web

import (
	"fmt"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/definition"
)

// This file tells one cause once, however many feeds fail for it.

// sharedCauses are the errors that several partitions have in common, each once and with those that it affects;
// told are the keys of those errors, see [engine.CauseKey].
func sharedCauses(s engine.Status, feeds map[string]*definition.Feed) (list []problemView, told []string) {
	for _, cause := range s.Failures() {
		first := cause.Feeds[0]
		if len(cause.Feeds) < 2 || first.LastError == "" {
			continue
		}
		told = append(told, cause.Key)
		list = append(list, problemView{
			Level: bad, At: cause.At.UTC(), Title: fmt.Sprintf("%d feeds fail for one reason", len(cause.Feeds)),
			Text: cause.Text, Advice: advice(first.LastError, feeds[first.Feed]), Affects: affected(cause),
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
