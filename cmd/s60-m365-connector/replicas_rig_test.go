package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/shared"
	"github.com/secure60/s60-m365-connector/engine/lease"
	"github.com/secure60/s60-m365-connector/engine/simulator"
)

// This file starts, watches and judges the replicas of the tests beside it.

const (
	replicaCount = 3
	// takeover is how long the partitions of a replica that has gone may be nobody's.
	takeover = 30 * time.Second
	// replicaBatch is how many events may be between their first request and their commit in one process.
	replicaBatch = 200
)

// Addresses of the test's network. NATS and the tenant have one each, so that a
// replica can be cut off from the one and not from the other.
const (
	natsHost   = "10.77.61.1"
	tenantHost = "10.77.61.2"
)

type replicas struct {
	t       *testing.T
	rng     *rand.Rand
	dir     string
	config  string // CONFIG_DIR of all
	binary  string
	server  *natsserver.Server
	natsURL string
	spaces  bool // each replica has a network of its own
	sim     *simulator.Simulator
	view    *shared.Store // of the test itself, to look on
	nodes   []*replicaProcess
	faults  int
	late    atomic.Int64 // nanoseconds; see watchLate
}

// replicaProcess is one replica.
type replicaProcess struct {
	name, space string
	binary      string
	env         []string
	log         *os.File
	cmd         *exec.Cmd
	exited      chan error
}

func newReplicas(t *testing.T, spaces bool, tenant simulator.Options) *replicas {
	dir := t.TempDir()
	c := &replicas{t: t, rng: rand.New(rand.NewPCG(*replicasSeed, 0)), dir: dir, config: filepath.Join(dir, "config"), binary: buildProgram(t), spaces: spaces}
	go c.watchLate()
	tenant.Seed = *replicasSeed
	var err error
	if c.sim, err = simulator.Start(tenant); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.sim.Close() }) //nolint:errcheck // the test has ended
	host := "127.0.0.1"
	if spaces {
		c.network()
		host = natsHost
	}
	c.serve(host, natsserver.RANDOM_PORT)
	t.Cleanup(func() { c.server.Shutdown() })
	return c
}

// serve starts NATS, with what is in its folder.
func (c *replicas) serve(host string, port int) {
	var err error
	c.server, err = natsserver.NewServer(&natsserver.Options{Host: host, Port: port, JetStream: true, StoreDir: c.natsDir(), NoSigs: true})
	if err != nil {
		c.t.Fatal(err)
	}
	c.server.Start()
	if !c.server.ReadyForConnections(time.Minute) {
		c.t.Fatal("NATS does not start")
	}
	c.natsURL = c.server.ClientURL()
}

func (c *replicas) natsDir() string { return filepath.Join(c.dir, "nats") }

// loseNATS ends NATS, and begins it anew, with nothing, where it was: each replica ends with what it had in hand.
func (c *replicas) loseNATS() {
	c.faults += len(c.nodes)
	c.view.Close() //nolint:errcheck // it goes with what it is of: it must not restore anything
	at := c.server.Addr().(*net.TCPAddr)
	c.server.Shutdown()
	c.server.WaitForShutdown()
	for _, dir := range []string{c.natsDir(), filepath.Join(c.dir, "view")} {
		if err := os.RemoveAll(dir); err != nil {
			c.t.Fatal(err)
		}
	}
	c.serve(at.IP.String(), at.Port)
}

// startAll starts the replicas, and waits until they have shared the partitions.
func (c *replicas) startAll(count int) {
	for i := range count {
		c.start(c.add(fmt.Sprintf("replica-%d", i+1), "STATE_URL="+c.natsURL))
	}
	c.lookOn()
	c.settled("at the start")
}

// add makes a process of it, which does not run yet.
func (c *replicas) add(name string, env ...string) *replicaProcess {
	n := &replicaProcess{name: name, binary: c.binary}
	if c.spaces {
		c.space(n, len(c.nodes))
	}
	c.nodes = append(c.nodes, n)
	var err error
	if n.log, err = os.Create(filepath.Join(c.dir, n.name+".log")); err != nil {
		c.t.Fatal(err)
	}
	n.env = append(c.sim.Env(), "REPLICA_NAME="+n.name, "STATE_DIR="+filepath.Join(c.dir, n.name), "CONFIG_DIR="+c.config,
		"LISTEN_ADDR=", "PATH="+os.Getenv("PATH"), "POLLING_INTERVAL_MINUTES=0.02", "HEARTBEAT_INTERVAL_MINUTES=1")
	n.env = append(n.env, env...)
	c.t.Cleanup(func() { c.end(n) })
	return n
}

// lookOn opens the test's own view of the shared state.
func (c *replicas) lookOn() {
	var err error
	c.view, err = shared.Open(context.Background(), shared.Options{
		URL: c.natsURL, Name: c.stream(), Dir: filepath.Join(c.dir, "view"), Replica: "test", SessionTTL: lease.DefaultTTL,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { c.view.Close() }) //nolint:errcheck // the test has ended
}

func (c *replicas) stream() string { return "s60-m365-" + c.sim.EnvMap()["TENANT_ID"] }

func (c *replicas) end(n *replicaProcess) {
	if n.cmd == nil {
		return
	}
	n.cmd.Process.Signal(syscall.SIGCONT) //nolint:errcheck // it may have ended
	n.cmd.Process.Kill()                  //nolint:errcheck // it may have ended
	<-n.exited
	if c.t.Failed() {
		text, _ := os.ReadFile(n.log.Name()) //nolint:errcheck // of use only to the reader
		lines := slices.DeleteFunc(strings.Split(string(text), "\n"), func(line string) bool { return strings.Contains(line, "Forwarded") })
		c.t.Logf("the end of the log of %s, without deliveries:\n%s", n.name, strings.Join(lines[max(0, len(lines)-80):], "\n"))
	}
}

// network makes a bridge with the two addresses, and lets tenantHost lead to the
// simulator, which is on loopback.
func (c *replicas) network() {
	remove := func() { exec.Command("ip", "link", "del", "s60test").Run() } //nolint:errcheck // there may be none
	remove()
	c.ip("link", "add", "s60test", "type", "bridge")
	c.t.Cleanup(remove)
	c.ip("addr", "add", natsHost+"/24", "dev", "s60test")
	c.ip("addr", "add", tenantHost+"/24", "dev", "s60test")
	c.ip("link", "set", "s60test", "up")
	for _, route := range c.routes() {
		from, to, _ := strings.Cut(route, "=")
		listener, err := net.Listen("tcp", to)
		if err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(func() { listener.Close() }) //nolint:errcheck // the test has ended
		go lead(listener, from)
	}
}

// routes lead from the simulator's addresses, which a replica has on its own
// loopback, to those on the bridge.
func (c *replicas) routes() (list []string) {
	for name, base := range c.sim.EnvMap() {
		if u, err := url.Parse(base); strings.HasSuffix(name, "_BASE") && err == nil {
			list = append(list, u.Host+"="+tenantHost+":"+u.Port())
		}
	}
	return list
}

func (c *replicas) ip(args ...string) {
	c.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		c.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// space gives a replica a network of its own.
func (c *replicas) space(n *replicaProcess, i int) {
	n.space = fmt.Sprintf("s60test%d", i+1)
	remove := func() {
		exec.Command("ip", "netns", "del", n.space).Run() //nolint:errcheck // there may be none
		exec.Command("ip", "link", "del", n.space).Run()  //nolint:errcheck // it goes with the namespace, in a while
	}
	remove() // of a test that was killed
	c.ip("netns", "add", n.space)
	c.t.Cleanup(remove)
	c.ip("link", "add", n.space, "type", "veth", "peer", "name", "eth0", "netns", n.space)
	c.ip("link", "set", n.space, "master", "s60test", "up")
	c.ip("-n", n.space, "addr", "add", fmt.Sprintf("10.77.61.%d/24", 11+i), "dev", "eth0")
	c.ip("-n", n.space, "link", "set", "eth0", "up")
	c.ip("-n", n.space, "link", "set", "lo", "up")
	forwarder := exec.Command("ip", append([]string{"netns", "exec", n.space, "relay"}, c.routes()...)...)
	if err := forwarder.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { forwarder.Process.Kill(); forwarder.Wait() }) //nolint:errcheck // it was killed
}

func (c *replicas) start(n *replicaProcess) {
	n.cmd = exec.Command(n.binary, "run")
	if n.space != "" {
		// What ip runs takes its place, so that signals reach the connector.
		n.cmd = exec.Command("ip", "netns", "exec", n.space, n.binary, "run")
	}
	n.cmd.Env, n.cmd.Stdout, n.cmd.Stderr = n.env, n.log, n.log
	if err := n.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	cmd, exited := n.cmd, make(chan error, 1)
	go func() { exited <- cmd.Wait(); close(exited) }()
	n.exited = exited
}

// owners are the names of the replicas that hold partitions, with how many; free
// is how many are nobody's who lives.
func (c *replicas) owners() (held map[string]int, free int) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	names := map[string]string{}
	held = map[string]int{}
	keys, err := c.view.Sessions().Keys(ctx)
	if err != nil {
		return held, 0
	}
	for _, id := range keys {
		if e, err := c.view.Sessions().Get(ctx, id); err == nil {
			for _, n := range c.nodes {
				if strings.Contains(string(e.Value()), `"`+n.name+`"`) {
					names[id] = n.name
				}
			}
		}
	}
	positions, err := c.view.Positions("")
	if err != nil {
		c.t.Fatal(err)
	}
	for p := range positions {
		if name := names[c.view.Owner(p[0], p[1])]; name != "" {
			held[name]++
		} else {
			free++
		}
	}
	return held, free
}

// settled waits until all replicas hold all partitions between them; how even the parts
// are by their weights is for the tests of package lease.
func (c *replicas) settled(when string) {
	c.t.Helper()
	started := time.Now()
	for {
		held, free := c.owners()
		least, all := 1<<30, 0
		for _, n := range c.nodes {
			least, all = min(least, held[n.name]), all+held[n.name]
		}
		if free == 0 && all >= 12 && least > 0 {
			c.t.Logf("%s: settled in %.1f s: %v", when, time.Since(started).Seconds(), held)
			return
		}
		if time.Since(started) > 2*takeover {
			c.t.Fatalf("%s: the partitions are not settled after %s: held %v, free %d", when, time.Since(started).Round(time.Second), held, free)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// taken waits until the partitions that n holds are the others'.
func (c *replicas) taken(what string, n *replicaProcess) {
	c.t.Helper()
	started := time.Now()
	for {
		held, free := c.owners()
		if free == 0 && held[n.name] == 0 && len(held) > 0 {
			c.t.Logf("%s %s: the others have all of it after %.1f s", n.name, what, time.Since(started).Seconds())
			return
		}
		if time.Since(started) > takeover {
			c.t.Fatalf("%s %s: after %s its partitions are not the others': held %v, free %d", n.name, what, takeover, held, free)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (c *replicas) killOnly(n *replicaProcess) {
	c.faults++
	n.cmd.Process.Kill() //nolint:errcheck // it is waited for
	<-n.exited
}

func (c *replicas) kill(n *replicaProcess) {
	c.killOnly(n)
	c.taken("killed", n)
	c.start(n)
}

// pause lets the replica sleep for longer than its session lasts: when it wakes, it
// still believes that it holds its partitions.
func (c *replicas) pause(n *replicaProcess) {
	c.faults++
	n.cmd.Process.Signal(syscall.SIGSTOP) //nolint:errcheck // a test without it fails below
	c.taken("paused", n)
	n.cmd.Process.Signal(syscall.SIGCONT) //nolint:errcheck // a test without it fails below
}

// cut loses every packet between the replica and NATS, without a word to either.
func (c *replicas) cut(n *replicaProcess) {
	c.faults++
	c.ip("-n", n.space, "neigh", "replace", natsHost, "lladdr", "02:00:00:00:00:61", "dev", "eth0", "nud", "permanent")
	c.taken("cut off", n)
	c.ip("-n", n.space, "neigh", "del", natsHost, "dev", "eth0")
}

// stop ends the replica as a container runtime does: it gives back what it holds, so the
// others need not wait for its session to end.
func (c *replicas) stop(n *replicaProcess) {
	c.stopOnly(n)
	started := time.Now()
	c.taken("stopped", n)
	if took := time.Since(started); took > lease.DefaultTTL/2 {
		c.t.Errorf("what %s gave back was taken after %s: nobody should wait for a session that has ended", n.name, took)
	}
	c.start(n)
}

func (c *replicas) stopOnly(n *replicaProcess) {
	n.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it is waited for
	started := time.Now()
	if err := <-n.exited; err != nil || time.Since(started) > 11*time.Second {
		c.t.Errorf("%s stopped by SIGTERM: %v, after %s; want exit code 0 within 10 s", n.name, err, time.Since(started))
	}
}

func (c *replicas) judge() {
	c.sim.StopLive()
	time.Sleep(1200 * time.Millisecond) // past the second that a window ends with
	r := c.sim.Report()
	for until := time.Now().Add(90 * time.Second); r.Lost > 0 && time.Now().Before(until); r = c.sim.Report() {
		time.Sleep(200 * time.Millisecond)
	}
	c.t.Logf("records offered %d, lost %d, twice %d, faults %d", r.Offered, r.Lost, r.Duplicated, c.faults)
	if r.Offered < 4000 {
		c.t.Errorf("this run shows nothing: %d records", r.Offered)
	}
	if r.Lost > 0 {
		c.t.Errorf("lost %d records: %s", r.Lost, lostOf(r))
	}
	if most := int64(c.faults * replicaBatch); r.Duplicated > most {
		c.t.Errorf("%d records came twice; %d faults may repeat a batch of %d each", r.Duplicated, c.faults, replicaBatch)
	}
	if r.Unexpected > 0 || len(r.Violations) > 0 {
		c.t.Errorf("unexpected events: %d, violations: %q", r.Unexpected, r.Violations)
	}
	c.oneWriter()
}

// logged is what the tests know of a message of the log.
type logged struct {
	V             int
	Kind, Session string
	at            time.Time
}

// read reads the whole log.
func (c *replicas) read(each func(subject string, head logged)) {
	c.t.Helper()
	conn, err := nats.Connect(c.natsURL)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stream, err := js.Stream(ctx, c.stream())
	if err != nil {
		c.t.Fatal(err)
	}
	for seq := stream.CachedInfo().State.FirstSeq; seq <= stream.CachedInfo().State.LastSeq; seq++ {
		raw, err := stream.GetMsg(ctx, seq)
		if err != nil {
			continue // it was purged
		}
		// Before the head, which is JSON, stands its length.
		var head logged
		if err := json.NewDecoder(bytes.NewReader(raw.Data[max(bytes.Index(raw.Data, []byte(`{"v":`)), 0):])).Decode(&head); err != nil {
			c.t.Fatalf("message %d of %s: %v", seq, raw.Subject, err)
		}
		head.at = raw.Time
		each(raw.Subject, head)
	}
}

// oneWriter holds that behind a claim of a partition there is nothing in the log but what the session that claimed it wrote.
func (c *replicas) oneWriter() {
	claims, written := map[string]string{}, map[string]map[string]bool{}
	c.read(func(subject string, head logged) {
		if head.Kind == "claim" {
			claims[subject] = head.Session
		}
		if written[subject] == nil {
			written[subject] = map[string]bool{}
		}
		written[subject][head.Session] = true
		if head.Session != claims[subject] {
			c.t.Errorf("a message of %s is a %s of %s, and %s holds the partition", subject, head.Kind, head.Session, claims[subject])
		}
	})
	moved := 0
	for _, sessions := range written {
		if len(sessions) > 1 {
			moved++
		}
	}
	if len(claims) < 12 || moved == 0 {
		c.t.Errorf("the log shows nothing: %d partitions, %d that moved", len(claims), moved)
	}
}

// relay is a program of the tests: it takes connections at the left address of each
// argument and leads them to the right one, "127.0.0.1:80=10.0.0.1:80".
func relay() {
	for _, route := range os.Args[1:] {
		from, to, _ := strings.Cut(route, "=")
		listener, err := net.Listen("tcp", from)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go lead(listener, to)
	}
	select {}
}

func lead(listener net.Listener, to string) {
	for {
		in, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer in.Close()
			out, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer out.Close()
			go func() { io.Copy(out, in); out.Close() }() //nolint:errcheck // either end may hang up
			io.Copy(in, out)                              //nolint:errcheck // either end may hang up
		}()
	}
}
