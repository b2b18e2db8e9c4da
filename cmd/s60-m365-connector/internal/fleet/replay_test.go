package fleet

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// ingest is an endpoint that notes what it takes, and refuses what holds "bad".
type ingest struct {
	mu    sync.Mutex
	took  []string
	after func(taken int)
}

func (i *ingest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if strings.Contains(string(body), "bad") {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	i.mu.Lock()
	i.took = append(i.took, string(body))
	taken := len(i.took)
	i.mu.Unlock()
	if i.after != nil {
		i.after(taken)
	}
}

// replayOf replays what the files of a folder of dead letters hold.
func replayOf(t *testing.T, ctx context.Context, i *ingest, state, file string) (Replayed, error) {
	t.Helper()
	server := httptest.NewServer(i)
	defer server.Close()
	s, err := settings.Read(testkit.Settings(map[string]string{"S60_INGEST_BASE": server.URL, "STATE_DIR": state}), false)
	if err != nil {
		t.Fatal(err)
	}
	dead, err := load.OpenDeadLetters(s.DeadLetters())
	if err != nil {
		t.Fatal(err)
	}
	dest, err := OpenDestination(s, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer dest.Close()
	return Replay(ctx, s, dest, dead, file, nil)
}

func letters(events ...string) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, `{"time":"2026-03-01T12:00:00Z","feed":"a","status":400,"reason":"x","event":%s}`+"\n", e)
	}
	return b.String()
}

const letterFile = "deadletter/000001-20260301T120000Z.ndjson"

// A line that cannot be read stays, is told, stops nothing, and nothing is sent twice.
func TestReplayKeepsWhatItCannotRead(t *testing.T) {
	state := testkit.Folder(t, map[string]string{letterFile: letters(`{"n":1}`) + "not JSON\n" + letters(`{"n":2}`, `"a record that is no JSON"`) + "\n" + letters(`{"n":3,"x":"bad"}`, `{"n":4}`) + `{"time":"2026`})
	i := &ingest{}
	for run := range 3 {
		done, err := replayOf(t, t.Context(), i, state, "")
		if err != nil {
			t.Fatal(err)
		}
		want := Replayed{Sent: 3, Refused: 1}
		if run > 0 {
			want = Replayed{Refused: 1}
		}
		if done.Sent != want.Sent || done.Refused != want.Refused || len(done.Unread) != 3 || done.Nothing() != (run > 0) {
			t.Errorf("run %d: %+v", run, done)
		}
		if run == 0 && !strings.HasSuffix(done.Unread[1], "000001-20260301T120000Z.ndjson:4: its event is no JSON object: there is nothing that could be sent") {
			t.Error(done.Unread)
		}
	}
	if slices.Sort(i.took); !slices.Equal(i.took, []string{`{"n":1}`, `{"n":2}`, `{"n":4}`}) {
		t.Errorf("taken: %v", i.took)
	}
	text, err := os.ReadFile(filepath.Join(state, letterFile))
	if err != nil || string(text) != "not JSON\n"+letters(`"a record that is no JSON"`)+`{"time":"2026`+"\n" {
		t.Errorf("what stays: %q, %v", text, err)
	}
}

// A replay that was interrupted goes on where it was.
func TestReplayGoesOn(t *testing.T) {
	var events []string
	for n := range 350 {
		events = append(events, fmt.Sprintf(`{"n":%d}`, n))
	}
	state := testkit.Folder(t, map[string]string{letterFile: letters(events...)})
	ctx, stop := context.WithCancel(t.Context())
	i := &ingest{after: func(taken int) {
		if taken == 200 { // of the second batch the last
			stop()
		}
	}}
	if _, err := replayOf(t, ctx, i, state, ""); err == nil {
		t.Fatal("it was not interrupted")
	}
	i.after = nil
	if _, err := replayOf(t, t.Context(), i, state, ""); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, e := range i.took {
		counts[e]++
	}
	if len(counts) != len(events) {
		t.Errorf("%d of %d arrived", len(counts), len(events))
	}
	if twice := len(i.took) - len(counts); twice > replayBatch {
		t.Errorf("%d events came twice, more than a batch", twice)
	}
	left, _ := os.ReadDir(filepath.Join(state, "deadletter"))
	if len(left) != 1 || left[0].Name() != replayedFile {
		t.Errorf("left: %v, want the account of what was replayed", left)
	}
	account, err := readReplayed(filepath.Join(state, "deadletter"))
	if err != nil {
		t.Fatal(err)
	}
	var sent int64
	for _, e := range account {
		sent += e.Delivered
		if _, records := e.Difference(); records != 0 || e.DeadLettered != -e.Delivered {
			t.Errorf("the account does not add up: %+v", e)
		}
	}
	if sent < int64(len(events)) || sent > int64(len(i.took)) {
		t.Errorf("the account has %d events, of %d that were sent %d times", sent, len(events), len(i.took))
	}
}

// Nothing is sent for which there is no account.
func TestReplayNeedsItsAccount(t *testing.T) {
	state := testkit.Folder(t, map[string]string{letterFile: letters(`{"n":1}`), "deadletter/" + replayedFile: "half an acc"})
	i := &ingest{}
	if _, err := replayOf(t, t.Context(), i, state, ""); err == nil || !strings.Contains(err.Error(), replayedFile) || len(i.took) != 0 {
		t.Errorf("%v, taken %v", err, i.took)
	}
	if err := os.Remove(filepath.Join(state, "deadletter", replayedFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := replayOf(t, t.Context(), i, state, ""); err != nil || len(i.took) != 1 {
		t.Errorf("when it was removed: %v, taken %v", err, i.took)
	}
}
