package web

import (
	"fmt"
	"slices"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/definition"
)

// This file tells one cause once, however many feeds fail for it.

// sharedCauses are the errors that several partitions have in common, each once and with those that it affects;
// told are the keys of those errors, see [engine.CauseKey].
func sharedCauses(s engine.Status, feeds map[string]*definition.Feed) (list []problemView, told []string) {
	by := map[string][]engine.FeedStatus{}
	for _, f := range s.Feeds {
		if f.State == engine.Failing && f.LastError != "" {
			key := engine.CauseKey(f.LastError)
			by[key] = append(by[key], f)
		}
	}
	for _, f := range s.Feeds { // in their order
		key := engine.CauseKey(f.LastError)
		affected := by[key]
		if len(affected) < 2 || slices.Contains(told, key) {
			continue
		}
		told = append(told, key)
		v := problemView{Level: bad, At: f.LastErrorAt.UTC(), Text: engine.BriefCause(f.LastError), Advice: advice(f.LastError, feeds[f.Feed])}
		var names []string
		for _, a := range affected {
			if v.At.Before(a.LastErrorAt) {
				v.At = a.LastErrorAt.UTC()
			}
			names = append(names, wording.FeedLabel(a.Feed, a.Partition))
		}
		v.Title, v.Affects = fmt.Sprintf("%d feeds fail for one reason", len(affected)), strings.Join(names, ", ")
		list = append(list, v)
	}
	return list, told
}
