package shared

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// These make this test binary a NATS server with its files in that directory, and a replica that
// builds its view of the stream at "URL DIR"; see TestMain.
const (
	childServer = "CHECKPOINT_TEST_SERVER_DIR"
	childView   = "CHECKPOINT_TEST_VIEW"
)

// serveUntilClosed prints where it serves, and ends with its standard input.
func serveUntilClosed(dir string) error {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir, JetStreamMaxStore: 64 << 30})
	if err != nil {
		return err
	}
	go s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		return errors.New("the NATS server does not start")
	}
	fmt.Println(s.ClientURL())
	_, err = io.Copy(io.Discard, os.Stdin)
	s.Shutdown()
	return err
}

// built is what building a view took.
type built struct {
	Took      time.Duration
	Keys      int64
	RSS, Peak int // MiB resident: when it is built, and at most
}

func buildView(arg string) error {
	url, dir, _ := strings.Cut(arg, " ")
	start := time.Now()
	s, err := Open(context.Background(), Options{URL: url, Name: "state", Dir: dir, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	b := built{Took: time.Since(start), Keys: s.keys.Load(), RSS: resident("VmRSS:"), Peak: resident("VmHWM:")}
	return errors.Join(json.NewEncoder(os.Stdout).Encode(b), s.Close())
}

func resident(field string) int {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == field {
			n := 0
			_, _ = fmt.Sscan(f[1], &n)
			return n >> 10
		}
	}
	return 0
}

// BenchmarkRebuild builds the view of a log of bench-keys keys from nothing. The server and the
// replica are processes of their own.
//
//	go test ./engine/checkpoint/shared -run xxx -bench Rebuild -benchtime 1x -bench-keys 5000000
func BenchmarkRebuild(b *testing.B) {
	for _, size := range []int{1000, 100} {
		b.Run(fmt.Sprintf("keys=%d", size), func(b *testing.B) {
			url := serverProcess(b)
			s := openShared(b, Options{URL: url})
			fillLog(b, s, *benchKeys, size)
			info, err := s.stream.Info(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			var r built
			var view int64
			var used time.Duration
			for b.Loop() {
				dir := b.TempDir()
				child := exec.Command(os.Args[0])
				child.Env = append(os.Environ(), childView+"="+url+" "+dir)
				child.Stderr = os.Stderr
				out, err := child.Output()
				if err != nil {
					b.Fatal(err)
				}
				if err := json.Unmarshal(out, &r); err != nil {
					b.Fatal(err)
				}
				view = sizeOfFiles(b, dir)
				used = child.ProcessState.UserTime() + child.ProcessState.SystemTime()
			}
			if r.Keys < int64(*benchKeys) {
				b.Fatalf("%d keys in the view, want %d", r.Keys, *benchKeys)
			}
			b.ReportMetric(r.Took.Seconds(), "s")
			b.ReportMetric(used.Seconds(), "cpu-s") // which other work on the machine distorts less
			b.ReportMetric(float64(r.Keys)/r.Took.Seconds(), "keys/s")
			b.ReportMetric(float64(r.RSS), "MiB-resident")
			b.ReportMetric(float64(r.Peak), "MiB-peak")
			b.ReportMetric(float64(info.State.Bytes)/(1<<20), "MiB-stream")
			b.ReportMetric(float64(view)/(1<<20), "MiB-view")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func serverProcess(b *testing.B) (url string) {
	b.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childServer+"="+b.TempDir())
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		if err := child.Wait(); err != nil {
			b.Error(err)
		}
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		b.Fatal("the server says nothing")
	}
	return lines.Text()
}

// fillLog writes keys in commits of a size, of 16 partitions, as fast as the server takes them.
func fillLog(b *testing.B, s *Store, keys, size int) {
	b.Helper()
	for n := 0; n < keys; n += size {
		partition := fmt.Sprint(n / size % 16)
		m := message{Kind: kindCommit, Feed: "bench", Partition: partition, Session: "bench", Expires: noon.AddDate(0, 0, 7),
			Position: &checkpoint.Position{Cursor: noon.Add(time.Duration(n)), ReadAt: noon, Start: noon, Forwarded: int64(n), LastSuccess: noon},
			Entry: &checkpoint.Entry{Feed: "bench", Partition: partition, From: noon.Add(time.Duration(n/size/100) * time.Minute), To: noon.Add(time.Duration(n/size/100+5) * time.Minute),
				Counts: checkpoint.Counts{Listed: int64(size), Fetched: int64(size), Delivered: int64(size)}}}
		for i := range size {
			m.keys = append(m.keys, benchKey(n+i))
		}
		msg, err := m.encode(s.opts.Name)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.js.PublishMsgAsync(msg); err != nil {
			b.Fatal(err)
		}
	}
	select {
	case <-s.js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		b.Fatal("the server does not acknowledge what it was sent")
	}
}

func sizeOfFiles(b *testing.B, dir string) (bytes int64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return bytes
}

// BenchmarkCommitTo is one commit of 100 keys after the other, to each place that state
// can have. The servers share the machine with the writer.
//
//	go test ./engine/checkpoint/shared -run xxx -bench CommitTo
func BenchmarkCommitTo(b *testing.B) {
	run := func(b *testing.B, s checkpoint.Store) {
		next := 0
		keys := make([]checkpoint.Key, 100)
		for b.Loop() {
			for i := range keys {
				keys[i] = benchKey(next)
				next++
			}
			e := checkpoint.Entry{Feed: "bench", Partition: "writer", From: noon, To: noon.Add(time.Hour), Counts: checkpoint.Counts{Listed: 100, Fetched: 100, Delivered: 100}}
			if err := s.Commit(&checkpoint.Commit{Feed: "bench", Partition: "writer", Position: &checkpoint.Position{Cursor: noon, Forwarded: int64(next)},
				Keys: keys, Expires: noon, Entry: &e}); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("embedded", func(b *testing.B) {
		s, err := checkpoint.Open(b.TempDir(), checkpoint.Options{})
		if err != nil {
			b.Fatal(err)
		}
		run(b, s)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	})
	shared := func(b *testing.B, url string) {
		s := openShared(b, Options{URL: url})
		if err := s.Claim(b.Context(), "bench", "writer", s.Owner("bench", "writer"), "bench"); err != nil {
			b.Fatal(err)
		}
		run(b, s)
	}
	b.Run("one server", func(b *testing.B) { shared(b, natstest.URL(natstest.Start(b, nil))) })
	b.Run("one server, sync always", func(b *testing.B) {
		shared(b, natstest.URL(natstest.Start(b, func(o *server.Options) { o.SyncAlways = true })))
	})
	b.Run("cluster of three", func(b *testing.B) { shared(b, natstest.URL(natstest.StartCluster(b, 3)...)) })
}
