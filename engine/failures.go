package engine

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// This file tells of what makes feeds fail: one cause once, with the feeds that meet it.

// gathering is how long is waited for more feeds that meet the same: after a start all of them
// do, within moments.
const gathering = time.Second

// failures are the causes for which partitions fail now. The zero value is ready for use, by
// several goroutines.
type failures struct {
	mu  sync.Mutex
	all map[string]*failure // by CauseKey
	of  map[*partition]*failure
}

type failure struct {
	key, text  string
	credential bool
	since      time.Time
	met        []*partition // in the order in which they failed
	left       int          // of them, how many fail still
	told       bool
}

// fails notes that a partition fails with an error, in the words of a person; credential, that it is of a credential that
// only a person can mend.
func (e *Engine) fails(p *partition, text string, credential bool) {
	f := &e.failures
	key := CauseKey(text)
	f.mu.Lock()
	defer f.mu.Unlock()
	if was := f.of[p]; was != nil {
		if was.key == key {
			return
		}
		f.leaves(p)
	}
	cause := f.all[key]
	if cause == nil {
		if f.all == nil {
			f.all, f.of = map[string]*failure{}, map[*partition]*failure{}
		}
		cause = &failure{key: key, text: text, credential: credential, since: e.Now()}
		f.all[key] = cause
		time.AfterFunc(gathering, func() { e.tell(cause) })
	}
	f.of[p] = cause
	cause.left++
	if !slices.Contains(cause.met, p) {
		cause.met = append(cause.met, p)
	}
	if cause.told {
		p.log.Debug("feed failing, as others do", "error", text)
	}
}

// leaves notes that a partition does not fail for its cause any more, and gives that. The caller holds the lock.
func (f *failures) leaves(p *partition) *failure {
	cause := f.of[p]
	if cause == nil {
		return nil
	}
	delete(f.of, p)
	if cause.left--; cause.left == 0 {
		delete(f.all, cause.key)
	}
	return cause
}

// recovers notes that a partition works again; with quiet, that it is in another state, which tells of itself.
func (e *Engine) recovers(p *partition, quiet bool) {
	e.failures.mu.Lock()
	cause := e.failures.leaves(p)
	over := cause != nil && cause.left == 0 && cause.told // nothing changes what is over
	var well []*partition
	if over {
		well = slices.DeleteFunc(slices.Clone(cause.met), func(p *partition) bool { return e.failures.of[p] != nil }) // for another cause
	}
	e.failures.mu.Unlock()
	if quiet || !over {
		return
	}
	after := e.Now().Sub(cause.since).Round(time.Second).String()
	if len(well) == 1 {
		p.log.Info("feed works again", "for", after)
		return
	}
	e.Log.Info("feeds work again", "feeds", feedsOf(well), "for", after)
}

// tell says what makes feeds fail, unless that is over or was said.
func (e *Engine) tell(cause *failure) {
	e.failures.mu.Lock()
	told := cause.told || cause.left == 0
	cause.told = true
	met := slices.Clone(cause.met)
	e.failures.mu.Unlock()
	switch {
	case told:
	case cause.credential: // which all feeds share, also those that have yet to ask
		e.Log.Error("THE CREDENTIAL IS REFUSED: feeds collect nothing until that is mended; they then resume by themselves, where they stopped",
			"error", cause.text)
	case len(met) == 1:
		met[0].log.Error("feed failing, will be tried again", "error", cause.text)
	default:
		e.Log.Error("feeds failing, will be tried again", "error", BriefCause(cause.text), "feeds", feedsOf(met))
	}
}

// tellAll says what is still to be said, at the end of the work.
func (e *Engine) tellAll() {
	e.failures.mu.Lock()
	var causes []*failure
	for _, cause := range e.failures.all {
		causes = append(causes, cause)
	}
	e.failures.mu.Unlock()
	for _, cause := range causes {
		e.tell(cause)
	}
}

// mostFeeds bounds how many feeds a line names.
const mostFeeds = 10

// feedsOf are the feeds of partitions.
func feedsOf(list []*partition) string {
	var names []string
	for _, p := range list {
		if !slices.Contains(names, p.feed.Name) {
			names = append(names, p.feed.Name)
		}
	}
	slices.Sort(names)
	if len(names) > mostFeeds {
		names = append(names[:mostFeeds:mostFeeds], fmt.Sprintf("and %d more", len(names)-mostFeeds))
	}
	return strings.Join(names, ", ")
}

// joinedErrors are what partitions met. The text tells each cause once.
type joinedErrors struct {
	errs []error
	text string
}

// Error implements error.
func (j *joinedErrors) Error() string { return j.text }

// Unwrap gives the errors themselves.
func (j *joinedErrors) Unwrap() []error { return j.errs }

// joinErrors joins the errors of the partitions, in their order; nil where there is none.
func (e *Engine) joinErrors(errs []error) error {
	var keys, lines []string
	met := map[string][]*partition{}
	joined := &joinedErrors{}
	text := map[string]string{}
	for i, err := range errs {
		if err == nil {
			continue
		}
		joined.errs = append(joined.errs, err)
		said := e.Explain(err)
		key := CauseKey(said)
		if met[key] == nil {
			keys, text[key] = append(keys, key), said
		}
		met[key] = append(met[key], e.partitions[i])
	}
	if len(joined.errs) == 0 {
		return nil
	}
	for _, key := range keys {
		of := met[key][0].String()
		line := strings.TrimPrefix(text[key], of+": ")
		if len(met[key]) > 1 {
			of, line = "feeds "+feedsOf(met[key]), BriefCause(text[key])
		}
		lines = append(lines, of+": "+line)
	}
	joined.text = strings.Join(lines, "\n")
	return joined
}

// Failure is one cause for which feeds fail.
type Failure struct {
	Key   string       // see CauseKey
	Text  string       // with what to do
	At    time.Time    // when it was met last
	Feeds []FeedStatus // each partition that fails for it
}

// Failures are the causes for which feeds fail, each once.
func (s Status) Failures() []Failure {
	var list []Failure
	at := map[string]int{}
	for _, f := range s.Feeds {
		if f.State != Failing {
			continue
		}
		key := CauseKey(f.LastError)
		i, ok := at[key]
		if !ok {
			i = len(list)
			at[key] = i
			list = append(list, Failure{Key: key, Text: f.LastError})
		} else {
			list[i].Text = BriefCause(list[i].Text)
		}
		if list[i].At.Before(f.LastErrorAt) {
			list[i].At = f.LastErrorAt
		}
		list[i].Feeds = append(list[i].Feeds, f)
	}
	return list
}
