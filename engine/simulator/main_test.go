package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

func TestMainPrintsSettingsAndReport(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- Main(ctx, []string{"-seed", "3", "-records", "100", "-volumes", "directoryAudits=7:60", "-collector"}, w, &stderr)
		w.Close()
	}()
	out := make([]byte, 4096)
	n, err := r.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	env := string(out[:n])
	if !strings.HasPrefix(env, "TENANT_ID=") || !strings.Contains(env, "\nS60_COLLECTOR_BASE=http://127.0.0.1:") || strings.Contains(env, "PROJECT_ID") || !strings.HasSuffix(env, "\n\n") {
		t.Errorf("settings %q", env)
	}
	cancel()
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	var report Report
	if err := json.Unmarshal(rest, &report); err != nil {
		t.Fatalf("%v in %s", err, rest)
	}
	if got := <-code; got != 0 || len(report.Feeds) != len(feedNames) {
		t.Errorf("exit code %d, %d feeds, %s", got, len(report.Feeds), stderr.String())
	}
}

func TestMainRefusesWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"-nope"}, {"x"}, {"-volumes", "moon=1"}, {"-volumes", "directoryAudits=x"}, {"-volumes", "directoryAudits=1:x"}} {
		var stderr bytes.Buffer
		if code := Main(context.Background(), args, io.Discard, &stderr); code != 2 || stderr.Len() == 0 {
			t.Errorf("%q: exit code %d, %q", args, code, stderr.String())
		}
	}
}
