package engine

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// sums are what pieces of the simulation come to.
type sums struct {
	simulated                                                                                time.Duration
	count, changes, lost, gone, repeated, excused, kills, tenantFaults, sinkFaults, tooEarly int
	letterCount, claimCount, falseClaims                                                     int
	claimedFor                                                                               time.Duration
	longest, unhindered                                                                      time.Duration
	story                                                                                    uint64 // the digest of all that happened
}

func (s *sums) add(w *world) {
	s.simulated += w.until.Sub(w.start)
	s.count, s.changes = s.count+w.count, s.changes+w.changes
	s.lost, s.gone, s.repeated, s.excused = s.lost+w.lost, s.gone+w.gone, s.repeated+w.repeated, s.excused+w.excused
	s.kills, s.tenantFaults, s.sinkFaults, s.tooEarly = s.kills+w.kills, s.tenantFaults+w.tenantFaults, s.sinkFaults+w.sinkFaults, s.tooEarly+w.tooEarly
	s.letterCount, s.claimCount, s.falseClaims, s.claimedFor = s.letterCount+w.letterCount, s.claimCount+w.claimCount, s.falseClaims+w.falseClaims, s.claimedFor+w.claimedFor
	s.story += w.story // in whatever order the pieces end
	s.longest, s.unhindered = max(s.longest, w.longest), max(s.unhindered, w.unhindered)
}

func (s sums) String() string {
	return fmt.Sprintf("%d records and %d changes of objects, %d lost, %d repeated (%d by kills and lost answers), %d kept as dead letters; gaps claimed %d (%v, with %d records that the service no longer gave), of these not real %d; %d kills, %d faulty answers of the tenant, %d of the destination; longest until a record came %v, and without anything in its way %v; digest %016x",
		s.count, s.changes, s.lost, s.repeated, s.excused, s.letterCount, s.claimCount, s.claimedFor.Round(time.Minute), s.gone, s.falseClaims, s.kills, s.tenantFaults, s.sinkFaults, s.longest.Round(time.Second), s.unhindered, s.story)
}

// sink takes events.
func (w *world) sink(r *http.Request, life int) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil {
		return nil, err
	}
	w.moment(20*time.Millisecond, string(body))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests.Add(1)
	if life != w.age {
		return nil, errReset
	}
	fault := w.fault(time.Now(), "sink", sinkKinds...)
	if fault == "answer lost" && w.dice("lost", len(body), time.Now().UnixNano()).IntN(10) > 0 {
		fault = "reset"
	}
	w.note("sent %s: %s", body, fault)
	if fault != "" {
		w.sinkFaults++
	}
	switch fault {
	case "500":
		return answer(r, 500, ``)
	case "429":
		return answer(r, 429, ``, "Retry-After", "5")
	case "403":
		return answer(r, 403, ``)
	case "404":
		return answer(r, 404, `not found`)
	case "page":
		return answer(r, 200, `<!doctype html><html>Sign in</html>`, "Content-Type", "text/html")
	case "reset":
		return nil, errReset
	}
	for line := range bytes.Lines(body) {
		w.take(line, fault == "answer lost")
	}
	if fault == "answer lost" {
		return nil, errReset
	}
	return answer(r, 200, ``)
}

func (w *world) take(line []byte, unsure bool) {
	event := gjson.ParseBytes(line)
	feed := event.Get("source_name").String()
	switch event.Get("operation").String() {
	case "connector-gap":
		from, _ := time.Parse(time.RFC3339, event.Get("event_gap_from").String())
		to, _ := time.Parse(time.RFC3339, event.Get("event_gap_to").String())
		w.claim(claim{feed, event.Get("event_gap_reason").String(), stretch{from, to}, time.Now()})
		return
	case "act":
	default:
		return
	}
	id := event.Get("event_id").String()
	if feed == "state" || feed == "delta" {
		w.changed(feed, id, event, unsure)
		return
	}
	w.uncommitted[checkpoint.KeyOf(feed, "record", id)] = id
	if w.got[id]++; w.got[id] > 1 {
		w.repeated++
		if w.unsure[id] || unsure {
			w.excused++
		} else if w.repeated-w.excused < 5 {
			w.t.Errorf("repeated: %s, first at %v, again at %v", id, w.when[id], time.Now())
		}
	} else {
		w.when[id] = time.Now()
	}
	if unsure {
		w.unsure[id] = true
	}
}

// changed takes the event of an object: what it was told as last is no change.
func (w *world) changed(feed, id string, event gjson.Result, unsure bool) {
	w.changes++
	state := event.Get("event_n").String()
	if event.Get("event_change").String() == removed || event.Get(`event__removed_reason`).Exists() {
		if state == "" { // the query began anew, and did not list it
			for _, o := range w.objects[feed] {
				if o.id == id {
					n, _ := o.version(time.Now())
					state = fmt.Sprint(n)
				}
			}
		}
		state = gone(feed, state)
	}
	if w.last[id] == state {
		w.repeated++
		if w.unsure[id] || unsure || !w.killed.Before(w.lastAt[id]) {
			w.excused++
		} else if w.repeated-w.excused < 5 {
			w.t.Errorf("told twice: %s as %s, at %v and at %v", id, state, w.lastAt[id], time.Now())
		}
	}
	w.last[id], w.lastAt[id], w.unsure[id] = state, time.Now(), unsure
}

// gone is an object that is not there. The row of a delta query says at which of its changes: it may have come
// back and gone again between two polls.
func gone(feed, version string) string {
	if feed == "delta" {
		return "gone at " + version
	}
	return "gone"
}

// claim takes what is told as a gap, and sees whether the service has the records.
func (w *world) claim(c claim) {
	name := fmt.Sprint(c.feed, c.from, c.to, c.reason)
	if w.claimed[name] { // an answer was lost, say
		return
	}
	w.claimed[name] = true
	w.claims = append(w.claims, c)
	w.claimCount++
	w.claimedFor += c.to.Sub(c.from)
	const slack = 20 * time.Minute // the distance that is kept, and a round
	real := false
	switch {
	case strings.Contains(c.reason, "no longer keeps"), strings.Contains(c.reason, "does not keep"):
		real = !c.to.After(c.at.Add(slack - min(w.keeps(c.at), w.keeps(c.at.Add(-slack)))))
	case strings.Contains(c.reason, "cannot serve"):
		real = slices.ContainsFunc(w.byFeed[c.feed], func(r *record) bool { return r.bad && !r.at.Before(c.from) && r.at.Before(c.to) })
	case strings.Contains(c.reason, "subscription"):
		real = slices.ContainsFunc(w.off, func(s stretch) bool { return s.from.Before(c.to) && (s.to.IsZero() || s.to.After(c.from)) })
	}
	if !real {
		if w.falseClaims++; w.falseClaims < 5 {
			w.t.Errorf("at %v a gap was told that is none: %s from %v to %v: %s", c.at, c.feed, c.from, c.to, c.reason)
		}
	}
}

// idleMost is how long a record may wait with nothing in its way: a closed licence gate rests as long as it has
// been closed, and no fault closes one for longer.
const idleMost = 3 * time.Hour

// verify compares what was delivered with what there is.
func (w *world) verify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.story = w.digest.Sum64()
	kept := w.deadLetters()
	for _, rec := range w.records {
		if w.got[rec.id] > 0 {
			w.longest = max(w.longest, w.when[rec.id].Sub(rec.seen))
			free := w.free(rec)
			if free > idleMost && w.unhindered <= idleMost {
				w.t.Errorf("%s of %v, to be had from %v on, came at %v: it waited %v with nothing in its way", rec.id, rec.at, rec.seen, w.when[rec.id], free)
			}
			w.unhindered = max(w.unhindered, free)
			continue
		}
		if rec.damaged && strings.Contains(kept, `"`+rec.id+`"`) || rec.damaged && strings.Contains(kept, `\"`+rec.id+`\"`) {
			w.letterCount++
			continue
		}
		inGap := slices.ContainsFunc(w.claims, func(c claim) bool {
			return c.feed == rec.feed && !rec.at.Before(c.from) && rec.at.Before(c.to)
		})
		switch {
		case inGap:
			w.gone++
		case rec.bad || rec.seen.After(w.until) || rec.dead && rec.at.After(time.Now().Add(-w.keeps(time.Now()))):
		default:
			if w.lost++; w.lost < 5 {
				w.t.Errorf("lost: %s of %v, to be had from %v on (damaged: %v)", rec.id, rec.at, rec.seen, rec.damaged)
			}
		}
	}
	for feed, objects := range w.objects {
		for _, o := range objects {
			n, there := o.version(time.Now())
			want := fmt.Sprint(n)
			if !there {
				want = gone(feed, want)
			}
			if got := w.last[o.id]; got != want && !(got == "" && !there) {
				w.lost++
				w.t.Errorf("%s: %s was told as %q last, and is %q", feed, o.id, got, want)
			}
		}
	}
}

// free is how long a record waited while nothing was in its way, in steps of ten minutes.
func (w *world) free(rec *record) (waited time.Duration) {
	const step = 10 * time.Minute
	for at := rec.seen.Truncate(step).Add(step); at.Add(step).Before(w.when[rec.id]); at = at.Add(step) {
		up := slices.ContainsFunc(w.up, func(s stretch) bool { return !s.from.After(at) && (s.to.IsZero() || s.to.After(at.Add(step))) })
		if up && w.fault(at, "sink", sinkKinds...) == "" && w.fault(at, "tenant "+rec.feed, tenantKinds...) == "" && !w.diskFull(at) {
			waited += step
		}
	}
	return waited
}

func (w *world) deadLetters() string {
	var all strings.Builder
	files, _ := filepath.Glob(filepath.Join(w.letters, "*", "*"))
	more, _ := filepath.Glob(filepath.Join(w.letters, "*"))
	for _, file := range append(files, more...) {
		text, err := os.ReadFile(file)
		if err == nil {
			all.Write(text)
		}
	}
	return all.String()
}
