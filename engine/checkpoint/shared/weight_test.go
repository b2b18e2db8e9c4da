package shared

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// polled is what the log tells of a partition that is polled every five minutes.
type polled struct {
	subject subject
	at      time.Time
	ever    checkpoint.Position
	seq     uint64
	changes int // of the weight
}

// poll has each poll of a span of time find what it finds.
func (p *polled) poll(span time.Duration, find func() int64) {
	for end := p.at.Add(span); p.at.Before(end); {
		p.at = p.at.Add(5 * time.Minute)
		p.ever.Cursor, p.ever.Forwarded = p.at, p.ever.Forwarded+find()
		p.write(&message{Kind: kindCommit, Session: "s", Position: &p.ever})
	}
}

func (p *polled) write(m *message) {
	p.seq++
	before := p.subject.Weight
	if p.subject = p.subject.next(m, p.seq, p.at); p.subject.Weight != before {
		p.changes++
	}
}

// perHour finds as many records an hour, some polls more and some less.
func perHour(records int64) func() int64 {
	random := rand.New(rand.NewPCG(1, 2))
	return func() int64 { return random.Int64N(records/6 + 1) }
}

// TestWeightIsOfTheLastHour: what a partition weighs follows what there is to do for it, whatever it was
// before; and as long as that stays about the same, so does the weight.
func TestWeightIsOfTheLastHour(t *testing.T) {
	const day = 24 * time.Hour
	p := &polled{at: noon, ever: checkpoint.Position{Start: noon.Add(-day)}}
	step := func(what string, span time.Duration, records int64, least, most int) {
		t.Helper()
		p.poll(span, perHour(records))
		if w := p.subject.Weight; w < least || w > most {
			t.Errorf("%s, it weighs %d, want %d to %d", what, w, least, most)
		}
	}
	step("after a month of little", 30*day, 6, 128, 128)
	step("an hour after work began", time.Hour, 10_000, 4096, 8192)
	step("some hours later", 5*time.Hour, 10_000, 16384, 16384)
	p.changes = 0
	step("after a month of work", 30*day, 10_000, 16384, 16384)
	if p.changes > 0 {
		t.Errorf("in a month of the same work its weight has changed %d times", p.changes)
	}
	step("an hour after it ended", time.Hour, 0, 4096, 8192)
	step("ten hours after", 10*time.Hour, 0, 128, 128)
}

// TestWeightBeginsAtTheMean: the first position that the log knows may be one of years, which an import
// brought, or of a day that was looked back to.
func TestWeightBeginsAtTheMean(t *testing.T) {
	for records, want := range map[int64]int{-1: 128, 0: 128, 1000 * 24 * 365: 2048, 1 << 62: 1 << 31} {
		at := noon.Add(365 * 24 * time.Hour)
		s := subject{}.next(&message{Kind: kindCommit, Position: &checkpoint.Position{Start: noon, Cursor: at, Forwarded: records}}, 1, at)
		if s.Weight != want {
			t.Errorf("%d records of a year weigh %d, want %d", records, s.Weight, want)
		}
	}
}

// TestWeightOfAFold: whoever reads the log from a fold on agrees with whoever read all of it, from there on.
func TestWeightOfAFold(t *testing.T) {
	all := &polled{at: noon, ever: checkpoint.Position{Start: noon}}
	all.poll(100*time.Hour, perHour(50))
	all.poll(time.Hour, perHour(5_000))
	told := all.subject.work
	fold := &message{Kind: kindFold, Session: "s", Position: &all.ever, Work: &told, Before: all.at}
	read, err := decodeMessage("s", subjectOf("s", fold.name()), encoded(t, fold))
	if err != nil {
		t.Fatal(err)
	}
	late := &polled{at: all.at, ever: all.ever, seq: all.seq}
	all.write(read)
	late.write(read)
	if all.subject.Weight < 1024 {
		t.Errorf("after an hour of work it weighs %d", all.subject.Weight)
	}
	for range 12 {
		if all.subject.work != late.subject.work {
			t.Fatalf("at %s the work was %+v for one and %+v for the other", all.at, all.subject.work, late.subject.work)
		}
		all.poll(time.Hour, perHour(50))
		late.poll(time.Hour, perHour(50))
	}
}
