package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// Commands of the sessions that put a connector into a place where others lost
// or repeated records. The sessions named corpus-… are mistakes that collectors
// have been seen to make, one each.

// setPosition makes the state of a connector that last read so long ago:
// position FEED PARTITION AGE. A negative age lies in the future; "-" is the
// partition of a feed that has one only.
func setPosition(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: position FEED PARTITION AGE")
	}
	age, err := time.ParseDuration(args[2])
	ts.Check(err)
	store, err := checkpoint.Open(ts.Getenv("STATE_DIR"), checkpoint.Options{})
	ts.Check(err)
	partition := strings.TrimPrefix(args[1], "-")
	position, _, err := store.Position(args[0], partition)
	ts.Check(err)
	at := time.Now().UTC().Add(-age).Truncate(time.Second)
	position.Cursor, position.ReadAt = at, at
	if position.Start.IsZero() || position.Start.After(at) {
		position.Start = at
	}
	ts.Check(store.Commit(&checkpoint.Commit{Feed: args[0], Partition: partition, Position: &position}))
	ts.Check(store.Close())
}

// quickConfig overrides the feeds with budgets of requests that do not stretch a
// session, and no delay, so that what is new can be judged at once.
func quickConfig(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(writeQuickFeeds(ts.Getenv("CONFIG_DIR")))
}

// repeat lists a new blob with records that were offered before: repeat FEED N.
func repeat(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: repeat FEED N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(simulatorOf(ts).Repeat(args[0], n))
}

// judge fails unless every record of a period arrived exactly once: judge FROM
// TO, both as ages. What arrived from outside the period does not count.
func judge(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: judge FROM TO")
	}
	var ages [2]time.Duration
	for i, arg := range args {
		age, err := time.ParseDuration(arg)
		ts.Check(err)
		ages[i] = age
	}
	now := time.Now()
	r := simulatorOf(ts).ReportBetween(now.Add(-ages[0]), now.Add(-ages[1]))
	if r.Offered == 0 || r.Lost != 0 || r.Duplicated != 0 || r.Unexpected != 0 || len(r.Violations) > 0 {
		ts.Fatalf("not every record arrived exactly once: %d offered, %d lost, %d twice, %d unexpected, violations %q%s",
			r.Offered, r.Lost, r.Duplicated, r.Unexpected, r.Violations, lostOf(r))
	}
}

// count checks a number of the simulator: count NAME OPERATOR N, where NAME is
// requests.<target>, fault.<kind>, event.<operation> of events that are no
// records, lost, duplicated or received; the operator is one of = < >, of which
// the last waits until it is so.
func count(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: count NAME OPERATOR N")
	}
	want, err := strconv.ParseInt(args[2], 10, 64)
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		r := simulatorOf(ts).Report()
		got := r.Counts[args[0]]
		if name, ok := strings.CutPrefix(args[0], "event."); ok {
			got = r.Other[name]
		}
		switch args[0] {
		case "lost":
			got = r.Lost
		case "duplicated":
			got = r.Duplicated
		case "received":
			got = r.Received
		}
		for kind, n := range r.Faults {
			if args[0] == "fault."+string(kind) {
				got = n
			}
		}
		switch holds := map[string]bool{"=": got == want, "<": got < want, ">": got > want}; {
		case holds[args[1]]:
			return
		case args[1] != ">" || time.Now().After(deadline):
			ts.Fatalf("%s is %d, want %s %d; counts %v, events %v, faults %v", args[0], got, args[1], want, r.Counts, r.Other, r.Faults)
		}
	}
}

// ends runs a command and checks its exit code: ends CODE COMMAND ….
func ends(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: ends CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if failed, ok := err.(*exec.ExitError); ok {
		got = failed.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// atPeak runs a command to its end and checks the most memory that it held:
// peak MEGABYTES COMMAND ….
func atPeak(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: peak MEGABYTES COMMAND…")
	}
	limit, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	path, err := lookPath(ts, args[1])
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = environmentOf(ts)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	ts.Check(cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	most := int64(0)
	for running := true; running; {
		most = max(most, peakMemory(cmd.Process.Pid))
		select {
		case err = <-done:
			running = false
		case <-time.After(20 * time.Millisecond):
		}
	}
	if err != nil {
		ts.Fatalf("%v\n%s", err, out.String())
	}
	ts.Logf("peak memory %d MB", most>>20)
	if most == 0 || most > limit<<20 {
		ts.Fatalf("peak memory %d MB, want at most %d MB and measured", most>>20, limit)
	}
}

// condition knows [disk]: small disks can be mounted, which takes root; and
// [race]: the race detector is on.
func condition(name string) (bool, error) {
	switch name {
	case "disk":
		return canMount(), nil
	case "race":
		return underRace, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

var canMount = sync.OnceValue(func() bool {
	dir, err := os.MkdirTemp("", "disk")
	if err != nil {
		return false
	}
	defer os.Remove(dir)
	if smallDisk(dir, 1<<20) != nil {
		return false
	}
	return syscall.Unmount(dir, 0) == nil
})

// mountDisk makes a folder a disk of its own: disk FOLDER MEGABYTES.
func mountDisk(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: disk FOLDER MEGABYTES")
	}
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(smallDisk(dir, size<<20))
	ts.Defer(func() { syscall.Unmount(dir, syscall.MNT_DETACH) }) //nolint:errcheck // the machine's end does it
}

func lookPath(ts *testscript.TestScript, name string) (string, error) {
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		path := dir + "/" + name
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is nowhere in PATH", name)
}

// environmentOf are the variables that the connector reads.
func environmentOf(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "MS_LOGIN_BASE", "MS_MANAGE_BASE",
		"MS_GRAPH_BASE", "MS_DEFENDER_BASE", "S60_INGEST_BASE", "PROJECT_ID", "TOKEN", "TOKEN_FILE", "S60_COLLECTOR_BASE", "STATE_DIR", "CONFIG_DIR", "LISTEN_ADDR",
		"INITIAL_LOOKBACK_MINUTES", "DELIVERY_FORMAT", "MGMT_CONTENT_TYPES", "ENABLE_GRAPH", "ENABLE_MGMT_ACTIVITY", "OUTPUT", "LOG_LEVEL"} {
		if value := ts.Getenv(name); value != "" || name == "LISTEN_ADDR" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// memory checks the most memory that a running process ever held: memory
// PIDFILE MEGABYTES.
func memory(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: memory PIDFILE MEGABYTES")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	limit, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	most := peakMemory(pid)
	ts.Logf("peak memory %d MB", most>>20)
	if most == 0 || most > limit<<20 {
		ts.Fatalf("peak memory %d MB, want at most %d MB and measured", most>>20, limit)
	}
}

// newerState makes the state look like one that a newer release wrote.
func newerState(ts *testscript.TestScript, neg bool, args []string) {
	db, err := pebble.Open(ts.Getenv("STATE_DIR")+"/state", &pebble.Options{FormatMajorVersion: pebble.FormatNewest, Logger: discard{}})
	ts.Check(err)
	value, closer, err := db.Get([]byte("m"))
	ts.Check(err)
	var meta map[string]any
	ts.Check(json.Unmarshal(value, &meta))
	ts.Check(closer.Close())
	meta["version"] = 99
	text, err := json.Marshal(meta)
	ts.Check(err)
	ts.Check(db.Set([]byte("m"), text, pebble.Sync))
	ts.Check(db.Close())
}

// discard keeps the store's own words out of the test's output.
type discard struct{}

func (discard) Infof(string, ...any) {}

func (discard) Errorf(string, ...any) {}

func (discard) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
