package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
)

// This file is how commands reach the connector that runs on the same state: through a
// socket in the state directory, which only the owner of the state may use.

const socketName = "connector.sock"

// longestSocket is what the address of a socket holds on every system.
const longestSocket = 100

// socketAt gives a path of the socket that is short enough, for as long as release was
// not called.
func socketAt(dir string) (path string, release func(), err error) {
	path = filepath.Join(dir, socketName)
	if len(path) <= longestSocket {
		return path, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("the path %s is too long for a socket", path)
	}
	f, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), socketName), func() { f.Close() }, nil
}

// ListenSocket listens for the commands that work on the state of this process, which
// holds its lock: a socket that is there already is of one that was killed.
func ListenSocket(s *settings.Settings) (net.Listener, error) {
	path, release, err := socketAt(s.StateDir)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false) // by then the path may mean nothing
	return socket{listener, filepath.Join(s.StateDir, socketName)}, os.Chmod(path, 0o600)
}

// socket is a listener that takes its file away.
type socket struct {
	net.Listener
	path string
}

// Close ends listening.
func (l socket) Close() error { return errors.Join(l.Listener.Close(), os.Remove(l.path)) }

func dialSocket(ctx context.Context, s *settings.Settings) (net.Conn, error) {
	path, release, err := socketAt(s.StateDir)
	if err != nil {
		return nil, err
	}
	defer release()
	return new(net.Dialer).DialContext(ctx, "unix", path)
}

// Running reports whether a connector answers at the socket of the state.
func Running(ctx context.Context, s *settings.Settings) bool {
	conn, err := dialSocket(ctx, s)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// errNotListening says that no connector can be asked.
var errNotListening = errors.New("LISTEN_ADDR is empty, so that a running connector cannot be asked: set it, for both")

// client reaches the running connector: at the socket, or else at LISTEN_ADDR, where the
// connector has another state directory, or is of an earlier release. base is what a path is added to.
func client(ctx context.Context, s *settings.Settings) (_ *http.Client, base string, err error) {
	if Running(ctx, s) {
		return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialSocket(ctx, s)
		}, DisableKeepAlives: true}}, "http://localhost", nil
	}
	if s.Listen == "" {
		return nil, "", errNotListening
	}
	host, port, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return nil, "", err
	}
	// An address that means "every interface" is reached on loopback.
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	// No proxy: it is this host.
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://" + net.JoinHostPort(host, port), nil
}

// patience is how long the running connector may take to begin an answer.
const patience = 10 * time.Second

// get asks for a path. The caller closes the answer's body.
func get(ctx context.Context, s *settings.Settings, path string) (*http.Response, error) {
	c, base, err := client(ctx, s)
	if err != nil {
		return nil, err
	}
	c.Transport.(*http.Transport).ResponseHeaderTimeout = patience
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no connector answers on %s: %w", strings.TrimPrefix(base, "http://"), cause(err))
	}
	return response, nil
}

// cause is an error of a request without the request.
func cause(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// Ask gives the answer of the connector that runs on this host to a short question.
func Ask(ctx context.Context, s *settings.Settings, path string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	response, err := get(ctx, s, path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, string(text), err
}

// AskJSON decodes the answer of the running connector into v.
func AskJSON(ctx context.Context, s *settings.Settings, path string, v any) error {
	return askFor(ctx, s, path, func(body io.Reader) error { return json.NewDecoder(body).Decode(v) })
}

// AskEach decodes the elements of the array that the running connector answers with, one
// after the other: there is no bound to how many.
func AskEach[T any](ctx context.Context, s *settings.Settings, path string, use func(T) error) error {
	return askFor(ctx, s, path, func(body io.Reader) error {
		d := json.NewDecoder(body)
		if _, err := d.Token(); err != nil {
			return err
		}
		for d.More() {
			var v T
			if err := d.Decode(&v); err != nil {
				return err
			}
			if err := use(v); err != nil {
				return err
			}
		}
		_, err := d.Token() // an answer that broke off has no end
		return err
	})
}

func askFor(ctx context.Context, s *settings.Settings, path string, use func(io.Reader) error) error {
	response, err := get(ctx, s, path)
	if err != nil {
		return fmt.Errorf("a connector is running on this state directory, but cannot be asked: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10)) // what there is of it
		return fmt.Errorf("the running connector answered HTTP %d: %s", response.StatusCode, strings.TrimSpace(string(text)))
	}
	if err := use(response.Body); err != nil {
		return fmt.Errorf("the answer of the running connector to %s: %w", path, err)
	}
	return nil
}

// Progress is a line of the answer to work that the running connector does for a command.
type Progress struct {
	Done   float64 `json:"done"` // from 0 to 1
	Events int64   `json:"events"`
	// Repeated are records that were delivered before, and were not sent again.
	Repeated int64 `json:"repeated,omitempty"`

	// The last line says how it ended.
	Ended    bool      `json:"ended,omitempty"`
	Problem  string    `json:"problem,omitempty"` // "" if it ended well
	Code     int       `json:"code,omitempty"`    // the exit code that the problem calls for
	Replayed *Replayed `json:"replayed,omitempty"`
}

// Request lets the running connector work, and hears how far it is until it has ended.
// The work ends with ctx, too. The last progress is given.
func Request(ctx context.Context, s *settings.Settings, path string, parameters url.Values, hear func(Progress)) (last Progress, err error) {
	c, base, err := client(ctx, s)
	if err != nil {
		return last, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path+"?"+parameters.Encode(), nil)
	if err != nil {
		return last, err
	}
	response, err := c.Do(request)
	if err != nil {
		return last, fmt.Errorf("the running connector: %w", cause(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10)) // what there is of it
		return last, fmt.Errorf("the running connector answered HTTP %d: %s", response.StatusCode, strings.TrimSpace(string(text)))
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		last = Progress{}
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			return last, fmt.Errorf("the running connector's answer: %w", err)
		}
		hear(last)
	}
	switch {
	case ctx.Err() != nil:
		return last, ctx.Err()
	case !last.Ended:
		return last, errors.New("the running connector stopped before the work was done: give the command again")
	case last.Problem != "":
		return last, program.Exit(last.Code, errors.New(last.Problem))
	}
	return last, nil
}
