package engine

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/load"
)

func TestWeights(t *testing.T) {
	var w weights
	start := time.Date(2026, 3, 1, 10, 59, 0, 0, time.UTC)
	event := func(operation string) []byte {
		return fmt.Appendf(nil, `{"event_x":"\"operation\":\"fake\"","operation":"%s"}`, operation)
	}
	w.add(start, [][]byte{event("a"), event("b"), event("a"), []byte(`{}`)}, []load.Refused{{Index: 1}})
	w.add(start.Add(2*time.Minute), [][]byte{event("b")}, nil)
	size := int64(len(event("a"))) + 1
	want := []Weight{{"a", 2, 2 * size}, {"b", 1, size}, {"", 1, 3}}
	if got := w.lastDay(start.Add(time.Hour)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := w.lastDay(start.Add(24 * time.Hour)); !reflect.DeepEqual(got, want[1:2]) {
		t.Errorf("a day later there is %v", got)
	}
	w.add(start.Add(30*time.Hour), nil, nil)
	for i := range 3 * mostOperations {
		w.add(start.Add(30*time.Hour), [][]byte{event(fmt.Sprint("o", i))}, nil)
	}
	list := w.lastDay(start.Add(30 * time.Hour))
	if len(list) != mostOperations+1 || list[0].Operation != otherOperation || list[0].Events != 2*mostOperations {
		t.Errorf("%d operations, the heaviest %v", len(list), list[0])
	}
}

// TestWeightsOverRestarts: another process goes on with what the first had counted; what is older than a day is left out.
func TestWeightsOverRestarts(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 59, 0, 0, time.UTC)
	engineAt := func(now time.Time) *Engine {
		e := &Engine{}
		e.Now = func() time.Time { return now }
		return e
	}
	first := engineAt(now)
	first.weights.add(now, [][]byte{[]byte(`{"operation":"a"}`)}, nil)
	kept := first.Weights()

	second := engineAt(now.Add(time.Hour))
	second.weights.add(now.Add(time.Hour), [][]byte{[]byte(`{"operation":"a"}`), []byte(`{"operation":"b"}`)}, nil)
	second.AddWeights(kept)
	if got, want := second.weights.lastDay(second.Now()), []Weight{{"a", 2, 36}, {"b", 1, 18}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	late := engineAt(now.Add(25 * time.Hour))
	late.AddWeights(kept)
	if got := late.weights.lastDay(late.Now()); len(got) != 0 {
		t.Errorf("a day later there is %v", got)
	}
}
