package shared

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

var benchKeys = flag.Int("bench-keys", 100_000, "how many keys the benchmarks' log holds")

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	flag.Parse()
	for name, run := range map[string]func(string) error{childServer: serveUntilClosed, childView: buildView} {
		arg := os.Getenv(name)
		if arg == "" {
			continue
		}
		if err := run(arg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func openEmbedded(t *testing.T, o checkpoint.Options, dir string) *checkpoint.Embedded {
	t.Helper()
	s, err := checkpoint.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, checkpoint.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func benchKey(n int) checkpoint.Key {
	return checkpoint.KeyOf("bench", binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func wantError(t *testing.T, err, is error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one of %q", texts)
	}
	t.Log(err)
	if is != nil && !errors.Is(err, is) {
		t.Errorf("error %q is not %q", err, is)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q is more than one line", err)
	}
}
