package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
)

// The processes of benchmarks: the connector as it is shipped, and the simulator, measured from outside.

// buildShipped builds the program as it is shipped.
func buildShipped(b *testing.B) string {
	binary := filepath.Join(b.TempDir(), program.Name)
	if out, err := exec.Command("make", "-s", "-C", "../..", "build", "BINARY="+binary).CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// simulation is a simulator in a process of its own.
type simulation struct {
	settings []string // of a connector that reads it, NAME=value
	dir      string   // for its state
	stop     func()
}

// simulated starts a simulator, until stop or the end of the benchmark.
func simulated(b *testing.B, binary, dir string, options ...string) *simulation {
	process := exec.Command(binary, append([]string{"simulate", "-no-gzip"}, options...)...)
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := process.Start(); err != nil {
		b.Fatal(err)
	}
	sim := &simulation{dir: dir, settings: []string{"STATE_DIR=" + dir, "CONFIG_DIR=" + dir, "LISTEN_ADDR=", "PATH=" + os.Getenv("PATH")}}
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != ""; {
		sim.settings = append(sim.settings, lines.Text())
	}
	sim.stop = sync.OnceFunc(func() {
		process.Process.Kill()   //nolint:errcheck // it has ended
		io.Copy(io.Discard, out) //nolint:errcheck // nothing of it is wanted
		process.Wait()           //nolint:errcheck // it was killed
	})
	b.Cleanup(sim.stop)
	return sim
}

func (s *simulation) setting(name string) string {
	for _, setting := range s.settings {
		if value, ok := strings.CutPrefix(setting, name+"="); ok {
			return value
		}
	}
	return ""
}

// usage is what a process did, and what it took for it.
type usage struct {
	records         int64
	wall, processor time.Duration
	peak, resident  float64 // memory in MiB: at most, and when it was looked at last
}

func (u *usage) add(v usage) {
	u.records, u.wall, u.processor = u.records+v.records, u.wall+v.wall, u.processor+v.processor
	u.peak, u.resident = max(u.peak, v.peak), max(u.resident, v.resident)
}

func (u *usage) rate() float64 { return float64(u.records) / u.wall.Seconds() }

func (u *usage) processorPerMillion() float64 {
	return u.processor.Seconds() / float64(u.records) * 1e6
}

// catchUp runs the connector until it has caught up with the content of the Management
// Activity API.
func catchUp(b *testing.B, binary string, sim *simulation, settings ...string) usage {
	return connect(b, binary, sim, 0, append([]string{"ENABLE_GRAPH=false"}, settings...), "run", "--once")
}

// connect runs the connector until it ends, or for so long, and then stops it.
func connect(b *testing.B, binary string, sim *simulation, long time.Duration, settings []string, args ...string) usage {
	connector := exec.Command(binary, args...)
	connector.Dir, connector.Env = sim.dir, append(slices.Clip(sim.settings), settings...)
	u, log := watched(b, connector, long)
	for line := range strings.SplitSeq(log, "\n") {
		var n int64
		if _, after, ok := strings.Cut(line, `msg="Forwarded `); ok {
			fmt.Sscan(after, &n) //nolint:errcheck // then it counts for nothing, and the rate shows it
			u.records += n
		}
	}
	return u
}

// watched runs a program until it ends, or for so long, and then stops it. It gives what that
// took, and what the program said on standard error.
func watched(b *testing.B, program *exec.Cmd, long time.Duration) (u usage, log string) {
	var said strings.Builder
	program.Stderr = &said
	started := time.Now()
	if err := program.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- program.Wait() }()
	var end <-chan time.Time
	if long > 0 {
		end = time.After(long)
	}
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for running := true; running; {
		select {
		case err := <-ended:
			if err != nil {
				b.Fatalf("%v\n%s", err, said.String())
			}
			running = false
		case <-end:
			program.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it is waited for
			end = nil
		case <-look.C:
			// The operating system's own maximum for a child begins with the memory of its parent.
			if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", program.Process.Pid)); err == nil {
				u.peak, u.resident = max(u.peak, mebibytes(status, "VmHWM:")), cmp.Or(mebibytes(status, "VmRSS:"), u.resident)
			}
		}
	}
	u.wall, u.processor = time.Since(started), program.ProcessState.UserTime()+program.ProcessState.SystemTime()
	return u, said.String()
}

// mebibytes reads a size out of what /proc tells of a process; 0 where it is not there.
func mebibytes(status []byte, name string) float64 {
	var kib float64
	_, rest, _ := strings.Cut(string(status), name)
	fmt.Sscan(rest, &kib) //nolint:errcheck // it is 0 then
	return kib / 1024
}

// processor is the processor time of this process until now.
func processor() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u) //nolint:errcheck // it cannot fail for the process itself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
