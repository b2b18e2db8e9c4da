// Package natstest runs NATS servers with JetStream within a test, and ends them with it.
package natstest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Forever is longer than anything takes on the slowest machine, and shorter than tests may.
const Forever = 5 * time.Minute

// Server is a NATS server on a port of loopback, with its files in a folder of the test.
type Server struct {
	t       testing.TB
	options server.Options
	running *server.Server
}

// Start starts a server, and ends it with the test. configure, if not nil, alters its
// options before.
func Start(t testing.TB, configure func(*server.Options)) *Server {
	t.Helper()
	s := &Server{t: t, options: options(t, FreePort(t))}
	if configure != nil {
		configure(&s.options)
	}
	s.Start()
	t.Cleanup(s.Stop)
	s.Ready()
	return s
}

// MaxPayload is for Start: how large a message may be, in bytes.
func MaxPayload(bytes int32) func(*server.Options) {
	return func(o *server.Options) { o.MaxPayload = bytes }
}

// StartCluster starts a cluster of servers, and ends it with the test.
func StartCluster(t testing.TB, size int) []*Server {
	t.Helper()
	var routes []string
	ports := make([]int, size)
	for i := range ports {
		ports[i] = FreePort(t)
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
	}
	cluster := make([]*Server, size)
	for i := range cluster {
		s := &Server{t: t, options: options(t, FreePort(t))}
		s.options.ServerName = fmt.Sprintf("n%d", i+1)
		s.options.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]}
		s.options.Routes = server.RoutesFromStr(strings.Join(routes, ","))
		cluster[i] = s
		s.Start()
		t.Cleanup(s.Stop)
	}
	for _, s := range cluster {
		s.Ready()
	}
	wait(t, "the cluster has a leader and all its servers", func() bool {
		for _, s := range cluster {
			if s.running.JetStreamIsLeader() {
				return len(s.running.JetStreamClusterPeers()) == size
			}
		}
		return false
	})
	return cluster
}

// URL is where clients reach the servers.
func URL(cluster ...*Server) string {
	var hosts []string
	for _, s := range cluster {
		hosts = append(hosts, s.Address())
	}
	return "nats://" + strings.Join(hosts, ",")
}

// Address is the server's host and port.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.options.Port) }

// Dir is where the server keeps its files.
func (s *Server) Dir() string { return s.options.StoreDir }

// Start starts the server again after Stop, on the same port and files. It does not wait.
func (s *Server) Start() {
	s.t.Helper()
	options := s.options
	running, err := server.NewServer(&options)
	if err != nil {
		s.t.Fatal(err)
	}
	s.running = running
	go running.Start()
}

// Ready waits until the server takes connections.
func (s *Server) Ready() {
	s.t.Helper()
	if !s.running.ReadyForConnections(Forever) {
		s.t.Fatal("the NATS server does not start")
	}
}

// Stop ends the server.
func (s *Server) Stop() {
	s.running.Shutdown()
	s.running.WaitForShutdown()
}

// LeadsStream reports whether the server is the leader of a stream.
func (s *Server) LeadsStream(name string) bool {
	return s.running.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, name)
}

func options(t testing.TB, port int) server.Options {
	return server.Options{
		Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, NoSystemAccount: false,
		AuthTimeout: Forever.Seconds(), TLSTimeout: Forever.Seconds(), // a client on a busy machine takes its time
		JetStream: true, StoreDir: filepath.Join(t.TempDir(), "nats"), JetStreamMaxStore: 64 << 30, JetStreamMaxMemory: 256 << 20,
	}
}

// FreePort is a port that was free a moment ago, since a server that starts again needs the one it had. It is
// below those that systems give to connections that go out: one of these would have it while the server is stopped.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().(*net.TCPAddr).Port
		}
	}
	t.Fatal("no free port")
	return 0
}

func wait(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(Forever); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s it is not so that %s", Forever, what)
		}
	}
}
