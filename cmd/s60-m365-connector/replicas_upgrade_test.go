package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/shared"
	"github.com/secure60/s60-m365-connector/engine/lease"
)

// TestReplicasUpgrade: two replicas of the release before the last change of the messages' format are replaced, one after the
// other. The older one works on until its turn comes, what it cannot read is not written before, and what one gives back
// the other has as soon as after any other planned change. That is measured by the log, from the release of a partition to its next claim;
// how long a feed is silent, which is printed, depends on how soon a new process is there, too.
func TestReplicasUpgrade(t *testing.T) {
	c := newSteady(t)
	older, feeds := buildBefore(t, shared.Format)
	// The older release's feeds for both: what tells two records apart has changed since.
	c.config = filepath.Join(c.dir, "older")
	if err := writeFeeds(os.DirFS(feeds), c.config, strings.NewReplacer("delay: 5m", "delay: 0s")); err != nil {
		t.Fatal(err)
	}
	newer := c.binary
	c.binary = older
	c.startAll(2)
	time.Sleep(2 * reportsEvery) // the first rounds read the history
	for i, n := range c.nodes {
		what := n.name + " is upgraded"
		c.silent(what, reportsEvery, func() {
			c.stopOnly(n)
			n.binary = newer
			n.env = append(n.env, "FEEDS=posture-conditional-access") // of objects, which only the newer one has
			c.start(n)
			c.eventually(what+", and works", func() bool {
				held, free := c.owners()
				return free == 0 && held[n.name] > 1 // more than what only it has
			})
		})
		if version := c.version(); i == 0 && version != shared.Format-1 {
			t.Errorf("a message of format %d was written while the older release ran", version)
		}
		for _, n := range c.nodes {
			select {
			case err := <-n.exited:
				t.Fatalf("%s ended: %v", n.name, err)
			default:
			}
		}
	}
	c.eventually("what needs the newer format begins once all are upgraded", func() bool { return c.version() == shared.Format })
	if most, of := c.unheld(); most > lease.DefaultTTL/2 {
		t.Errorf("%s was nobody's for %v, want %v at most", of, most, lease.DefaultTTL/2)
	} else {
		t.Logf("what one gave back the other had after %v at most", most.Round(time.Millisecond))
	}
	c.judge()
	c.withinLimits()
}

// eventually waits for something.
func (c *replicas) eventually(what string, is func() bool) {
	c.t.Helper()
	for most := time.Now().Add(5 * time.Minute); !is(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(most) {
			c.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// unheld is for how long at most, by the servers' clock, a partition that was given back was nobody's, and which.
func (c *replicas) unheld() (most time.Duration, of string) {
	free := map[string]time.Time{}
	c.read(func(subject string, head logged) {
		since, is := free[subject]
		if gap := head.at.Sub(since); is && head.Kind == "claim" && gap > most {
			most, of = gap, subject
		}
		if delete(free, subject); head.Kind == "release" {
			free[subject] = head.at
		}
	})
	return most, of
}

// version is the newest format of the messages in the log.
func (c *replicas) version() (newest int) {
	c.read(func(_ string, head logged) { newest = max(newest, head.V) })
	return newest
}

// buildBefore builds the connector as it was before messages had that format, and returns its feeds too.
func buildBefore(t *testing.T, format int) (binary, feeds string) {
	t.Helper()
	git := func(args ...string) []byte {
		out, err := exec.Command("git", append([]string{"-C", "../.."}, args...)...).Output()
		if err != nil {
			t.Skipf("the history is not here, so there is no older release: git %v: %v", args, err)
		}
		return out
	}
	changed := bytes.Fields(git("log", "--format=%H", fmt.Sprintf("-Sconst Format = %d", format), "--", "engine/checkpoint/shared/message.go"))
	if len(changed) == 0 {
		t.Skipf("the history does not go back to where messages got format %d: git fetch --unshallow", format)
	}
	before, dir := string(changed[len(changed)-1])+"^", t.TempDir()
	unpack := exec.Command("tar", "-x", "-C", dir)
	unpack.Stdin = bytes.NewReader(git("archive", before))
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	t.Logf("the older release is %s", bytes.TrimSpace(git("log", "-1", "--format=%h %ad %s", before)))
	binary = filepath.Join(dir, "older")
	build := exec.Command("go", "build", "-o", binary, "./cmd/s60-m365-connector")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the older release: %v: %s", err, out)
	}
	return binary, filepath.Join(dir, "feeds")
}
