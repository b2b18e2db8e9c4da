package deploy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestReplicasStart starts what the compose file and the manifests describe, against a
// simulated tenant, and takes a connector and a server from it. All is real but the
// container runtime: see network_test.go.
func TestReplicasStart(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not started: networks and users of containers need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("not started: no ip (Debian: iproute2)")
	}
	newNamespace(t) // or skip
	programs := buildPrograms(t)
	for name, read := range deployments {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tenant := simulate(t, programs["s60-m365-connector"])
			c := cluster{t: t, tenant: tenant, replicas: read(t, tenant.env)}
			for _, connector := range c.replicas.connectors {
				quickFeeds(t, connector.files)
			}
			c.network = newNetwork(t, slices.Concat(c.servers, c.connectors), programs)
			c.start()
			c.loseConnector()
			c.loseServers()
			c.stop()
		})
	}
}

// buildPrograms builds what the images hold, by the images' names.
func buildPrograms(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	// Of the connector's module, whose packages other checks have built; without what a debugger needs, which takes half of the time.
	cmd := exec.Command("go", "build", "-C", "..", "-ldflags", "-s -w", "-o", dir, "./cmd/s60-m365-connector", "github.com/nats-io/nats-server/v2")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // a root holds no libraries
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return map[string]string{"nats": filepath.Join(dir, "nats-server"), "s60-m365-connector": filepath.Join(dir, "s60-m365-connector")}
}

// tenantProcess is a simulator of its own, on this machine's loopback.
type tenantProcess struct {
	t       *testing.T
	env     string // settings of a connector for it
	ports   []string
	control string
}

func simulate(t *testing.T, program string) *tenantProcess {
	t.Helper()
	cmd := exec.Command(program, "simulate", "-records", "2000", "-history", "20h", "-blob-every", "2s")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it has ended
		cmd.Wait()         //nolint:errcheck // it was killed
	})
	s := &tenantProcess{t: t, env: "POLLING_INTERVAL_MINUTES=0.02\n"}
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != ""; {
		s.env += lines.Text() + "\n"
		if base, ok := strings.CutPrefix(lines.Text(), "MS_LOGIN_BASE="); ok {
			s.control = base + "/_simulator/"
		}
	}
	for _, match := range regexp.MustCompile(`http://127\.0\.0\.1:(\d+)`).FindAllStringSubmatch(s.env, -1) {
		if !slices.Contains(s.ports, match[1]) {
			s.ports = append(s.ports, match[1])
		}
	}
	if s.control == "" || len(s.ports) == 0 {
		t.Fatalf("the simulator gave no settings but %q", s.env)
	}
	return s
}

// ask uses a control endpoint of the simulator.
func (s *tenantProcess) ask(method, path string, query url.Values) []byte {
	s.t.Helper()
	r, err := http.NewRequest(method, s.control+path+"?"+query.Encode(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatalf("the simulator: %v", err)
	}
	defer answer.Body.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		s.t.Fatalf("the simulator refused %s: %s %v", path, text, err)
	}
	return text
}

// report is what the simulator says of the deliveries.
type report struct {
	Offered, Received, Lost, Duplicated, Unexpected int64
	Feeds                                           []struct {
		Feed  string
		Asked bool
	}
}

func (s *tenantProcess) report() (r report) {
	s.t.Helper()
	if err := json.Unmarshal(s.ask("GET", "report", nil), &r); err != nil {
		s.t.Fatal(err)
	}
	return r
}

// quickFeeds are the shipped feeds without their distance to now, and with budgets that do
// not stretch the test, as files of CONFIG_DIR.
func quickFeeds(t *testing.T, files map[string]string) {
	t.Helper()
	feeds, err := filepath.Glob("../feeds/*.yaml")
	if err != nil || len(feeds) == 0 {
		t.Fatalf("no feeds: %v", err)
	}
	quick := strings.NewReplacer("requests: 5, per: 10s", "requests: 1000, per: 1s", "requests: 1, per: 1s", "requests: 1000, per: 1s", "per: 1m,", "per: 1s,", "delay: 5m", "delay: 0s")
	for _, feed := range feeds {
		files["/config/feeds/"+filepath.Base(feed)] = quick.Replace(readFile(t, feed))
	}
}

// cluster is a deployment that runs.
type cluster struct {
	t *testing.T
	replicas
	tenant  *tenantProcess
	network *network
	js      jetstream.JetStream
}

func (c *cluster) of(x container) *running { return c.network.containers[x.name] }

// slower is by how much a machine may be slower than the one that the times are for.
const slower = 10

// eventually waits until something holds.
func (c *cluster) eventually(within time.Duration, what string, holds func() error) {
	c.t.Helper()
	begin := time.Now()
	for {
		err := holds()
		if err == nil {
			c.t.Logf("%s: after %s", what, time.Since(begin).Round(100*time.Millisecond))
			return
		}
		if time.Since(begin) > slower*within {
			c.t.Fatalf("%s: not within %s: %v", what, slower*within, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// start starts the servers, which form a cluster, and then the connectors, which share the work.
func (c *cluster) start() {
	for _, server := range c.servers {
		c.of(server).start(c.t)
	}
	c.eventually(30*time.Second, "the servers are a cluster", func() error {
		for _, server := range c.servers {
			if err := c.network.isHealthy(c.of(server)); err != nil {
				return fmt.Errorf("%s: %w", server.name, err)
			}
		}
		return nil
	})
	for _, connector := range c.connectors {
		for _, port := range c.tenant.ports {
			c.of(connector).forward(c.t, port)
		}
		c.of(connector).start(c.t)
	}
	c.eventually(40*time.Second, "both connectors are healthy and deliver", func() error {
		for _, connector := range c.connectors {
			if err := c.network.isHealthy(c.of(connector)); err != nil {
				return fmt.Errorf("%s: %w", connector.name, err)
			}
			if log := readFile(c.t, c.of(connector).log.Name()); !strings.Contains(log, "Forwarded ") {
				return fmt.Errorf("%s has forwarded nothing", connector.name)
			}
		}
		return nil
	})
	c.delivered("the history")
	c.connect()
	for info := range c.js.ListStreams(context.Background()).Info() {
		if info.Config.Storage != jetstream.FileStorage || info.Config.Replicas != 3 || len(info.Cluster.Replicas) != 2 {
			c.t.Errorf("stream %s: %s storage, %d copies, leader %s, followers %v", info.Config.Name, info.Config.Storage, info.Config.Replicas, info.Cluster.Leader, info.Cluster.Replicas)
		}
	}
	c.eventually(20*time.Second, "each partition is held by one connector", func() error {
		holders := map[string][]string{}
		for _, connector := range c.connectors {
			out, err := c.of(connector).exec("feeds")
			if err != nil {
				return fmt.Errorf("%s: feeds: %w: %s", connector.name, err, out)
			}
			for _, line := range regexp.MustCompile(`(?m)^(\S+(?: \S+)?) +yes +(\S+(?: \(\S+\))?)`).FindAllStringSubmatch(out, -1) {
				holders[line[1]] = append(holders[line[1]], line[2])
			}
		}
		parts := map[string]int{}
		for partition, states := range holders {
			holder := slices.Index(states, "ok")
			if len(states) != 2 || holder < 0 || states[1-holder] != "standby ("+c.connectors[holder].name+")" {
				return fmt.Errorf("%s: %q", partition, states)
			}
			parts[c.connectors[holder].name]++
		}
		if len(parts) != len(c.connectors) {
			return fmt.Errorf("only these hold any: %v", parts)
		}
		return nil
	})
}

// connect connects to the servers as the connectors do.
func (c *cluster) connect() {
	u, err := url.Parse(strings.Split(c.connectors[0].env["STATE_URL"], ",")[0])
	if err != nil {
		c.t.Fatal(err)
	}
	password, _ := u.User.Password()
	var servers []string
	for _, server := range c.servers {
		servers = append(servers, server.names[len(server.names)-1])
	}
	nc, err := nats.Connect(strings.Join(servers, ","), nats.UserInfo(u.User.Username(), password), nats.SetCustomDialer(c.network), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	if c.js, err = jetstream.New(nc); err != nil {
		c.t.Fatal(err)
	}
	if _, err := nats.Connect(servers[0], nats.SetCustomDialer(c.network)); err == nil {
		c.t.Error("a server takes a client without a password")
	}
}

// stateStream is the stream of the state.
func (c *cluster) stateStream() *jetstream.StreamInfo {
	c.t.Helper()
	for attempt := 0; ; attempt++ { // the server that was asked may just have been killed
		list := c.js.ListStreams(context.Background())
		for info := range list.Info() {
			if !strings.HasPrefix(info.Config.Name, "KV_") && info.Cluster.Leader != "" {
				return info
			}
		}
		if attempt == 20 {
			c.t.Fatalf("no stream of the state has a leader: %v", list.Err())
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// delivered waits until all that the tenant has on offer has arrived.
func (c *cluster) delivered(what string) {
	c.t.Helper()
	c.eventually(50*time.Second, what+" is delivered", func() error {
		if r := c.tenant.report(); r.Offered == 0 || r.Lost > 0 {
			return fmt.Errorf("%d of %d records arrived", r.Received, r.Offered)
		}
		return nil
	})
}

// publish has new records for every feed.
func (c *cluster) publish() {
	for _, f := range c.tenant.report().Feeds {
		if f.Asked {
			c.tenant.ask("POST", "publish", url.Values{"feed": {f.Feed}, "n": {"50"}, "age": {"1s"}})
		}
	}
}

// loseConnector kills a connector: the other does the work of both.
func (c *cluster) loseConnector() {
	c.of(c.connectors[0]).kill()
	c.publish()
	c.delivered("what came after a connector was killed")
	c.t.Logf("twice came %d", c.tenant.report().Duplicated)
	c.of(c.connectors[0]).start(c.t)
	c.eventually(40*time.Second, "it is back", func() error { return c.network.isHealthy(c.of(c.connectors[0])) })
}

// loseServers kills one server after the other, the one that leads the stream of the state
// among them: the work goes on with the two that are left.
func (c *cluster) loseServers() {
	for _, server := range c.servers {
		what := "a follower"
		if c.stateStream().Cluster.Leader == server.name {
			what = "the leader"
		}
		c.of(server).kill()
		c.publish()
		c.delivered(fmt.Sprintf("what came after server %s, %s, was killed", server.name, what))
		c.t.Logf("twice came %d", c.tenant.report().Duplicated)
		c.of(server).start(c.t)
		c.eventually(30*time.Second, "all servers have the state", func() error {
			info := c.stateStream()
			for _, peer := range info.Cluster.Replicas {
				if !peer.Current || peer.Offline {
					return fmt.Errorf("%s lags behind by %d", peer.Name, peer.Lag)
				}
			}
			return c.network.isHealthy(c.of(server))
		})
	}
}

// stop stops all as a runtime does.
func (c *cluster) stop() {
	for _, x := range slices.Concat(c.connectors, c.servers) {
		c.of(x).stop(c.t, 15*time.Second)
	}
	// One connector was killed, and may repeat what it had in flight: a request for each event, up to 256 at
	// once, makes three batches of 200. A server's death repeats nothing: who lost its session by it
	// commits what was delivered as soon as there is a leader.
	const inFlight = 3 * 200
	if r := c.tenant.report(); r.Lost > 0 || r.Unexpected > 0 || r.Duplicated > inFlight {
		c.t.Errorf("of %d records %d were lost, %d came twice, %d are none of the tenant's", r.Offered, r.Lost, r.Duplicated, r.Unexpected)
	}
}
