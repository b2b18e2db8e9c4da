package storetest

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// This file asks for what snapshots showed.

func wantObjects(t *testing.T, s checkpoint.Store, partition string, want map[string]string) {
	t.Helper()
	last := ""
	have := map[string]string{}
	for o, err := range s.Objects("feed", partition) {
		must(t, err)
		if len(have) > 0 && o.ID <= last {
			t.Errorf("%q comes after %q", o.ID, last)
		}
		last = o.ID
		have[o.ID] = string(o.State)
		if state, ok, err := s.Object("feed", partition, o.ID); err != nil || !ok || !bytes.Equal(state, o.State) {
			t.Errorf("Object(%q) = %q %v %v, want %q", o.ID, state, ok, err, o.State)
		}
	}
	if !maps.Equal(have, want) {
		t.Errorf("objects of %q: %d, want %d: %.200v, want %.200v", partition, len(have), len(want), have, want)
	}
}

func objects(t *testing.T, open Open) {
	s := opened(t, open)
	set := func(feed, partition string, position int64, list ...checkpoint.Object) {
		t.Helper()
		must(t, s.Commit(&checkpoint.Commit{Feed: feed, Partition: partition, Position: &checkpoint.Position{Forwarded: position}, Objects: list}))
	}
	wantObjects(t, s, "a", map[string]string{})
	set("feed", "a", 1, checkpoint.Object{ID: "1", State: []byte("one")}, checkpoint.Object{ID: "2", State: []byte{0, 255}}, checkpoint.Object{ID: "", State: []byte("unnamed")})
	set("feed", "ab", 1, checkpoint.Object{ID: "1", State: []byte("of another partition")})
	set("feeda", "", 1, checkpoint.Object{ID: "1", State: []byte("of another feed")})
	set("feed", "a", 2, checkpoint.Object{ID: "1", State: []byte("uno")}, checkpoint.Object{ID: ""}, checkpoint.Object{ID: "never", State: nil})
	want := map[string]string{"1": "uno", "2": "\x00\xff"}
	wantObjects(t, s, "a", want)
	must(t, s.Sweep(noon))
	must(t, s.Close())
	s = opened(t, open)
	wantObjects(t, s, "a", want)
	wantObjects(t, s, "ab", map[string]string{"1": "of another partition"})
	if _, ok, err := s.Object("feed", "a", ""); ok || err != nil {
		t.Errorf("an object that was taken away: %v %v", ok, err)
	}
	for o, err := range s.Objects("feed", "a") { // whoever lists may commit
		must(t, err)
		must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Partition: "a", Objects: []checkpoint.Object{{ID: o.ID}}}))
	}
	wantObjects(t, s, "a", map[string]string{})
}

// stands commits what reads of other shapes remember: each commit holds all of it, and the next replaces it.
func stands(t *testing.T, open Open) {
	s := opened(t, open)
	span := func(hour int) checkpoint.Span {
		return checkpoint.Span{From: noon.Add(time.Duration(hour) * time.Hour), To: noon.Add(time.Duration(hour+1) * time.Hour)}
	}
	for i, p := range []checkpoint.Position{
		{Job: "j1", JobAt: noon, JobFor: span(1)},
		{Job: "j1", JobAt: noon, JobFor: span(1), Forwarded: 2},
		{Read: []checkpoint.Span{span(1)}, Forwarded: 3},
		{Link: "https://api.example/delta?token=1", Gaps: []checkpoint.Span{span(1), span(4)}, Unreadable: []checkpoint.Span{span(2)}},
		{Link: "https://api.example/delta?token=2", Gaps: []checkpoint.Span{span(4)}},
	} {
		c := &checkpoint.Commit{Feed: "feed", Partition: "a b", Position: &p, Keys: []checkpoint.Key{key(100 + i)}, Expires: noon.Add(200 * 24 * time.Hour),
			Objects: []checkpoint.Object{{ID: "state", State: fmt.Append(nil, i)}}}
		must(t, s.Commit(c))
		must(t, s.Commit(c)) // as after an answer that was lost
		must(t, s.Close())
		s = opened(t, open)
		got, ok, err := s.Position("feed", "a b")
		if err != nil || !ok || fmt.Sprint(got) != fmt.Sprint(p) {
			t.Errorf("commit %d: %v %v\n%+v, want\n%+v", i, ok, err, got, p)
		}
		wantSeen(t, s, key(100+i), true)
		wantObjects(t, s, "a b", map[string]string{"state": fmt.Sprint(i)})
	}
	must(t, s.Sweep(noon.Add(30*24*time.Hour))) // what is remembered for an archive outlasts it
	wantSeen(t, s, key(100), true)
	if _, ok, err := s.Position("feed", "a"); ok || err != nil {
		t.Errorf("another partition has a position: %v", err)
	}
}

// manyObjects commits more than fits one buffer or message, and again after
// some have changed.
func manyObjects(t *testing.T, open Open) {
	s := opened(t, open)
	const n = 4000
	want := map[string]string{}
	var list []checkpoint.Object
	for i := range n {
		id, state := fmt.Sprintf("object-%05d", i), strings.Repeat(fmt.Sprintf("%d ", i), 60)
		want[id] = state
		list = append(list, checkpoint.Object{ID: id, State: []byte(state)})
	}
	c := &checkpoint.Commit{Feed: "feed", Partition: "a", Objects: list, Position: &checkpoint.Position{Link: "after"}, Keys: []checkpoint.Key{key(1)}, Expires: noon}
	must(t, s.Commit(c))
	must(t, s.Commit(c))
	list = nil
	for i := 0; i < n; i += 2 {
		id := fmt.Sprintf("object-%05d", i)
		delete(want, id)
		list = append(list, checkpoint.Object{ID: id})
	}
	must(t, s.Commit(&checkpoint.Commit{Feed: "feed", Partition: "a", Objects: list}))
	must(t, s.Close())
	s = opened(t, open)
	wantObjects(t, s, "a", want)
	wantSeen(t, s, key(1), true)
	if p, ok, err := s.Position("feed", "a"); err != nil || !ok || p.Link != "after" {
		t.Errorf("Position = %v %v %v", p, ok, err)
	}
}
