package fleet

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// keptWeights are operations in place of an engine's.
type keptWeights []engine.WeightHour

func (k *keptWeights) Weights() []engine.WeightHour        { return *k }
func (k *keptWeights) AddWeights(list []engine.WeightHour) { *k = append(*k, list...) }

// TestHistoryOverRestarts: what a process before this one sampled is there, of the feeds that
// there are now, and its counts go on where they were.
func TestHistoryOverRestarts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "history.json")
	began := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	status := func(at time.Duration, delivered int64, feeds ...string) engine.Status {
		s := engine.Status{Now: began.Add(at)}
		for _, f := range feeds {
			s.Feeds = append(s.Feeds, engine.FeedStatus{Feed: f, Cursor: s.Now.Add(-90 * time.Second), Total: checkpoint.Counts{Delivered: delivered}})
		}
		return s
	}
	hours := keptWeights{{Hour: began.Unix() / 3600, By: []engine.Weight{{Operation: "file-access", Events: 7, Bytes: 700}}}}
	first := History{weights: &hours}
	if err := first.load(file, status(0, 0, "a", "b")); err != nil {
		t.Fatalf("a first start: %v", err)
	}
	first.Add(SampleOf(status(0, 10, "a", "b")))
	first.Add(SampleOf(status(time.Minute, 30, "a", "b")))
	if err := first.keep(file, status(2*time.Minute, 70, "a", "b")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file + ".new"); err == nil {
		t.Error("the new file is left")
	}
	var again keptWeights
	second := History{weights: &again}
	if err := second.load(file, status(10*time.Minute, 0, "new", "b")); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again, hours) {
		t.Errorf("operations are %+v, want %+v", again, hours)
	}
	samples := second.Last(SampleSpan, SampleOf(status(11*time.Minute, 5, "new", "b")))
	if len(samples) != 4 {
		t.Fatalf("%d samples", len(samples))
	}
	for i, want := range []struct {
		b, all int64
		lag    time.Duration
	}{{-60, -60, -1}, {-40, -40, -1}, {0, 0, -1}, {5, 10, 90 * time.Second}} {
		s := samples[i]
		if s.Delivered(1) != want.b || s.Delivered(-1) != want.all || s.Feeds[0].Lag > 0 != (want.lag > 0) || s.Feeds[1].Lag != 90*time.Second {
			t.Errorf("sample %d is %+v", i, s)
		}
	}
	var late History
	if err := late.load(file, status(30*time.Hour, 0, "b")); err != nil || len(late.samples.list) != 0 {
		t.Errorf("a day later %d samples are left: %v", len(late.samples.list), err)
	}
	for _, damaged := range []string{"", "{", `{"at":[1],"feeds":[{"feed":"b","delivered":[],"lag":[1]}]}`} {
		if err := os.WriteFile(file, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		var h History
		h.load(file, status(0, 0, "b")) //nolint:errcheck // that nothing breaks is what is asked
		h.Last(SampleSpan, SampleOf(status(0, 0, "b")))
	}
}
