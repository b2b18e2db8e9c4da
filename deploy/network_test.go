package deploy

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// This file runs containers as far as a machine without a container runtime
// does: each is a process with a root, a network, a host name, a user and the
// capabilities (none) of its own. A root holds the program, the files that are mounted and
// the volumes, and only the volumes belong to the user. Nothing is left
// behind: namespaces end with the last process in them, and processes with the
// test.

// container is what a compose file or a pod says of one.
type container struct {
	name    string            // of its host
	names   []string          // by which others reach it
	image   string            // as it is written
	args    []string          // of the image's entry point
	env     map[string]string // with all that it is made of in place
	files   map[string]string // that are mounted, by path
	volumes []string          // paths that may be written to
	user    int               // and group
	healthy string            // URL that says so by status 200; "" where the image asks the connector itself
}

// namespace is a network namespace, as an open file.
type namespace struct{ file *os.File }

// newNamespace is skipped where this process may make none.
func newNamespace(t *testing.T) namespace {
	t.Helper()
	var n namespace
	err := onThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			n.file, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	})
	if err != nil {
		t.Skipf("no network namespaces here: %v", err)
	}
	t.Cleanup(func() { n.file.Close() }) //nolint:errcheck // it was only read
	n.ip(t, "link set lo up")
	return n
}

// onThread runs f on a thread of its own, which ends with it: what f does to
// its thread stays there.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// do runs f within the namespace.
func (n namespace) do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// ip runs the lines as ip commands within the namespace.
func (n namespace) ip(t *testing.T, lines ...string) {
	t.Helper()
	err := n.do(func() error {
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip: %w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// network has one address for each container.
type network struct {
	t          *testing.T
	dir        string
	hub        namespace // of the bridge; the test talks to the containers from here
	containers map[string]*running
	addresses  map[string]string // by name
}

// running is a container on a network.
type running struct {
	container
	space   namespace
	root    string
	program string
	log     *os.File
	process *process // that runs, or ran last
}

// process is one run of a program.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // once it has exited
}

// newNetwork connects the containers. programs are the binaries of the images,
// by the image's name without its tag.
func newNetwork(t *testing.T, containers []container, programs map[string]string) *network {
	t.Helper()
	n := &network{t: t, dir: t.TempDir(), hub: newNamespace(t), containers: map[string]*running{}, addresses: map[string]string{}}
	n.hub.ip(t, "link add bridge type bridge", "link set bridge up", "addr add 10.0.0.254/24 dev bridge")
	hosts := new(strings.Builder)
	hosts.WriteString("127.0.0.1 localhost\n")
	for i, c := range containers {
		address := fmt.Sprintf("10.0.0.%d", i+1)
		space := newNamespace(t)
		n.hub.ip(t, fmt.Sprintf("link add port%d type veth peer name eth0 netns /proc/%d/fd/%d", i, os.Getpid(), space.file.Fd()),
			fmt.Sprintf("link set port%d master bridge up", i))
		space.ip(t, "addr add "+address+"/24 dev eth0", "link set eth0 up")
		fmt.Fprintf(hosts, "%s %s\n", address, strings.Join(c.names, " "))
		for _, name := range c.names {
			n.addresses[name] = address
		}
		image, _, _ := strings.Cut(filepath.Base(c.image), ":")
		if programs[image] == "" {
			t.Fatalf("%s: no program for the image %s", c.name, c.image)
		}
		n.containers[c.name] = &running{container: c, space: space, program: programs[image]}
	}
	for _, c := range n.containers {
		c.fill(t, filepath.Join(n.dir, c.name), hosts.String())
	}
	t.Cleanup(func() {
		for _, name := range slices.Sorted(maps.Keys(n.containers)) {
			c := n.containers[name]
			c.kill()
			if t.Failed() {
				text, _ := os.ReadFile(c.log.Name())
				t.Logf("the end of the log of %s:\n%s", name, text[max(0, len(text)-3000):])
			}
		}
	})
	return n
}

// fill makes the root of the container.
func (c *running) fill(t *testing.T, root, hosts string) {
	c.root = root
	c.files["/etc/hosts"] = hosts
	for path, text := range c.files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(c.program, filepath.Join(root, "program")); err != nil {
		t.Fatal(err)
	}
	for _, path := range c.volumes {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, c.user, c.user); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if c.log, err = os.Create(root + ".log"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.log.Close() }) //nolint:errcheck // the test has ended
}

// start runs the container's program. It is to run until kill or stop.
func (c *running) start(t *testing.T) {
	t.Helper()
	var err error
	if c.process, err = c.run(c.log, c.args...); err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
}

// run runs the program within the container, as its entry point or beside it.
func (c *running) run(out io.Writer, args ...string) (*process, error) {
	p := &process{cmd: exec.Command("/program", args...), exited: make(chan struct{})}
	p.cmd.Err = nil // it is looked for here, and lies within the root
	p.cmd.Dir = "/"
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = []string{}
	for name, value := range c.env {
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     c.root,
		Credential: &syscall.Credential{Uid: uint32(c.user), Gid: uint32(c.user)},
		Pdeathsig:  syscall.SIGKILL, // when its thread ends, or this process
	}
	started := make(chan error, 1)
	go c.space.do(func() error { //nolint:errcheck // started tells
		err := isolate(c.name)
		if err == nil {
			err = p.cmd.Start()
		}
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.exited)
		}
		return nil
	})
	return p, <-started
}

// isolate gives this thread a host name of its own, and takes from what it
// starts all that root may do beyond its own files.
func isolate(host string) error {
	if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(host)); err != nil {
		return err
	}
	for capability := range uintptr(unix.CAP_LAST_CAP + 1) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
			return err
		}
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// exec is the output of a command within the container.
func (c *running) exec(args ...string) (string, error) {
	var out strings.Builder
	p, err := c.run(&out, args...)
	if err != nil {
		return "", err
	}
	<-p.exited
	return out.String(), p.err
}

func (c *running) kill() {
	if c.process != nil {
		c.process.cmd.Process.Kill() //nolint:errcheck // it has ended
		<-c.process.exited
	}
}

// stop ends the container as a runtime does.
func (c *running) stop(t *testing.T, grace time.Duration) {
	t.Helper()
	select {
	case <-c.process.exited:
		t.Errorf("%s: ended by itself: %v", c.name, c.process.err)
		return
	default:
	}
	c.process.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it has ended, as is seen
	select {
	case <-c.process.exited:
		if c.process.err != nil {
			t.Errorf("%s: stopped: %v, want exit code 0", c.name, c.process.err)
		}
	case <-time.After(grace):
		t.Errorf("%s: still running %s after SIGTERM", c.name, grace)
	}
}

// Dial connects as one of the network would; names are those of the containers.
func (n *network) Dial(_, address string) (net.Conn, error) { return n.dial(n.hub, address) }

func (n *network) dial(from namespace, address string) (conn net.Conn, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if known := n.addresses[host]; known != "" {
		host = known
	}
	err = from.do(func() (err error) {
		conn, err = net.DialTimeout("tcp", net.JoinHostPort(host, port), 2*time.Second)
		return err
	})
	return conn, err
}

// isHealthy asks what the container's health check asks, from within it.
func (n *network) isHealthy(c *running) error {
	if c.healthy == "" {
		if out, err := c.exec("health"); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) { return n.dial(c.space, address) }}}
	answer, err := client.Get(c.healthy)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body)
		return fmt.Errorf("%s: %s", answer.Status, text)
	}
	return nil
}

// forward makes a port of this machine's loopback one of the container's.
func (c *running) forward(t *testing.T, port string) {
	t.Helper()
	address := net.JoinHostPort("127.0.0.1", port)
	var listener net.Listener
	err := c.space.do(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() }) //nolint:errcheck // the test has ended
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", address)
			if err != nil {
				in.Close() //nolint:errcheck // that is the answer
				continue
			}
			go func() {
				defer in.Close()  //nolint:errcheck // either side may hang up
				defer out.Close() //nolint:errcheck // as above
				go func() {
					io.Copy(out, in)                //nolint:errcheck // as above
					out.(*net.TCPConn).CloseWrite() //nolint:errcheck // as above
				}()
				io.Copy(in, out) //nolint:errcheck // as above
			}()
		}
	}()
}
