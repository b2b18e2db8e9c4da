package checkpoint

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var killFor = flag.Duration("kill-for", 3*time.Second, "how long to kill writers at random instants")

// childDir makes this test binary a writer on that directory; see TestMain.
const childDir = "CHECKPOINT_TEST_CHILD_DIR"

// smallTable makes tables and compactions frequent.
const smallTable = 64 << 10

func TestMain(m *testing.M) {
	flag.Parse()
	if dir := os.Getenv(childDir); dir != "" {
		if err := writeUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var writers = []string{"a", "b", "c"}

// writeUntilKilled commits numbered batches of several partitions side by side, goes
// on where the state stands, and prints "partition count" for each one acknowledged.
func writeUntilKilled(dir string) error {
	s, err := Open(dir, Options{memTable: smallTable})
	if err != nil {
		return err
	}
	if s.SetAside() != nil {
		return fmt.Errorf("%s", s.SetAside())
	}
	failed := make(chan error)
	for _, partition := range writers {
		p, ok, err := s.Position("feed", partition)
		if err != nil {
			return err
		}
		n := 0
		if ok {
			n = int(p.Forwarded) + 1
		}
		go func() {
			for ; ; n++ {
				if err := s.Commit(numberedCommit(partition, n)); err != nil {
					failed <- err
					return
				}
				fmt.Printf("%s %d\n", partition, n+1)
			}
		}()
	}
	go func() {
		for {
			if err := s.Sweep(noon.Add(-time.Hour)); err != nil {
				failed <- err
				return
			}
		}
	}()
	return <-failed
}

// TestKilledAtAnyInstant kills writers with SIGKILL, over and over on one state:
// what was acknowledged is there, whole, and of what was in flight nothing is there in part.
func TestKilledAtAnyInstant(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]int{}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	rounds := 0
	for end := time.Now().Add(*killFor); time.Now().Before(end) || acknowledged["a"] == 0; rounds++ {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childDir+"="+dir)
		var stderr bytes.Buffer
		child.Stderr = &stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		// Some die while they open the state, most while they write: these live until they have written, however slow they are.
		delay := time.Duration(random.IntN(200)) * time.Millisecond
		kill := time.AfterFunc(time.Minute, func() { _ = child.Process.Kill() })
		if random.IntN(4) == 0 {
			kill.Reset(delay)
		}
		lines := bufio.NewScanner(out)
		for first := true; lines.Scan(); first = false {
			if first {
				kill.Reset(min(delay, 100*time.Millisecond))
			}
			var partition string
			var n int
			if _, err := fmt.Sscan(lines.Text(), &partition, &n); err == nil {
				acknowledged[partition] = n
			}
		}
		_ = child.Wait()
		kill.Stop()
		if stderr.Len() > 0 {
			t.Fatalf("the writer failed: %s", &stderr)
		}
		s := openTest(t, dir, Options{memTable: smallTable})
		if s.SetAside() != nil {
			t.Fatalf("after a kill the state was set aside: %s", s.SetAside())
		}
		for _, partition := range writers {
			n, err := verifyNumbered(s, partition, acknowledged[partition])
			if err != nil {
				t.Fatalf("round %d: %v", rounds, err)
			}
			acknowledged[partition] = n
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills; batches acknowledged: %v", rounds, acknowledged)
}

// TestPowerCut takes the file system as a power cut would leave it: what was not synced
// may be there or not, sector by sector.
func TestPowerCut(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprintf("%d%% of what was not synced survives", percent), func(t *testing.T) {
			random := rand.New(rand.NewPCG(uint64(percent), 7))
			mem := vfs.NewCrashableMem()
			acknowledged := map[string]int{}
			for round := range rounds {
				s, err := Open("/dir", Options{FS: mem, memTable: smallTable})
				if err != nil {
					t.Fatal(err)
				}
				if s.SetAside() != nil {
					t.Fatalf("round %d: after a power cut the state was set aside: %s", round, s.SetAside())
				}
				for _, partition := range writers {
					if acknowledged[partition], err = verifyNumbered(s, partition, acknowledged[partition]); err != nil {
						t.Fatalf("round %d: %v", round, err)
					}
				}
				// The cut comes while commits and a sweep run; what is acknowledged before
				// it must be there, what is after may.
				var mu sync.Mutex
				stop := make(chan struct{})
				var wg sync.WaitGroup
				counts := maps.Clone(acknowledged)
				for _, partition := range writers {
					n := acknowledged[partition]
					wg.Go(func() {
						for {
							select {
							case <-stop:
								return
							default:
							}
							if err := s.Commit(numberedCommit(partition, n)); err != nil {
								t.Error(err)
								return
							}
							n++
							mu.Lock()
							counts[partition] = n
							mu.Unlock()
						}
					})
				}
				wg.Go(func() {
					if err := s.Sweep(noon.Add(-time.Hour)); err != nil {
						t.Error(err)
					}
				})
				time.Sleep(time.Duration(1+random.IntN(30)) * time.Millisecond)
				mu.Lock()
				before := maps.Clone(counts)
				mu.Unlock()
				cut := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: random})
				close(stop)
				wg.Wait()
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				mem = cut
				// A commit acknowledged between the count and the cut is one more; find
				// out which, as verifyNumbered allows for one.
				check, err := Open("/dir", Options{FS: mem, memTable: smallTable})
				if err != nil {
					t.Fatal(err)
				}
				if check.SetAside() != nil {
					t.Fatalf("round %d: after a power cut the state was set aside: %s", round, check.SetAside())
				}
				for _, partition := range writers {
					p, ok, err := check.Position("feed", partition)
					if err != nil {
						t.Fatal(err)
					}
					n := 0
					if ok {
						n = int(p.Forwarded) + 1
					}
					if n < before[partition] {
						t.Fatalf("round %d: partition %s has %d batches, %d were acknowledged", round, partition, n, before[partition])
					}
					acknowledged[partition] = n
				}
				if err := check.Close(); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("batches: %v", acknowledged)
		})
	}
}

// TestSecondProcess opens the state while another process has it.
func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() { // it has the lock
		t.Fatal("the other process wrote nothing")
	}
	go func() {
		for lines.Scan() {
		}
	}()
	for _, readOnly := range []bool{false, true} {
		_, err = Open(dir, Options{ReadOnly: readOnly, LockWait: 50 * time.Millisecond})
		wantError(t, err, ErrLocked, dir, fmt.Sprintf("process %d", child.Process.Pid), "STATE_DIR")
	}
	// It lets go by dying, and the one that waits gets in.
	time.AfterFunc(100*time.Millisecond, func() { _ = child.Process.Kill() })
	s, err := Open(dir, Options{LockWait: time.Minute})
	_ = child.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
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
