package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
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

// This file is how commands reach a running connector: through a socket in the state
// directory, which only the owner of the state can use.

const socketName = "connector.sock"

// longestSocket is the longest path of a socket that every system takes.
const longestSocket = 100

// socketAt gives a path of the socket that is short enough. It is good until release is called.
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

// ListenSocket listens for commands. This process holds the lock of the state, so a socket
// that is there already was left by one that was killed.
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

var errNotListening = errors.New("LISTEN_ADDR is empty, so that a running connector cannot be asked: set it, for both")

// patience is how long the running connector may take to begin an answer.
const patience = 10 * time.Second

// client reaches the running connector: at the socket, or at LISTEN_ADDR if it has another
// state directory or is of an earlier release. A path goes behind base.
func client(ctx context.Context, s *settings.Settings) (_ *http.Client, base string, err error) {
	transport := &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: patience} // no proxy: it is this host
	if Running(ctx, s) {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dialSocket(ctx, s) }
		return &http.Client{Transport: transport}, "http://localhost", nil
	}
	if s.Listen == "" {
		return nil, "", errNotListening
	}
	base, err = URL(s.Listen)
	return &http.Client{Transport: transport}, base, err
}

// URL is where this host reaches a listener. An address that means "every interface" is reached on loopback.
func URL(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), err
}

// send gives the answer to a request, whatever its status. The caller closes its body.
func send(ctx context.Context, s *settings.Settings, method, path string) (*http.Response, error) {
	c, base, err := client(ctx, s)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, base+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.Do(request)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // the URL says nothing to a person
	}
	if err != nil {
		return nil, fmt.Errorf("no connector answers on %s: %w", strings.TrimPrefix(base, "http://"), err)
	}
	return response, nil
}

// asked is the body of an answer with status 200. The caller closes it.
func asked(ctx context.Context, s *settings.Settings, method, path string) (io.ReadCloser, error) {
	response, err := send(ctx, s, method, path)
	if err != nil {
		return nil, fmt.Errorf("a connector is running on this state directory, but cannot be asked: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10)) // what there is of it
		return nil, fmt.Errorf("the running connector answered HTTP %d: %s", response.StatusCode, strings.TrimSpace(string(text)))
	}
	return response.Body, nil
}

// Ask gives the answer of the connector that runs on this host to a short question.
func Ask(ctx context.Context, s *settings.Settings, path string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	response, err := send(ctx, s, http.MethodGet, path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, string(text), err
}

// AskJSON decodes the answer of the running connector into v.
func AskJSON(ctx context.Context, s *settings.Settings, path string, v any) error {
	body, err := asked(ctx, s, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(v); err != nil {
		return fmt.Errorf("the answer of the running connector to %s: %w", path, err)
	}
	return nil
}

// AskEach gives the elements of the array that the running connector answers with, as they
// come: there may be more than memory holds. An error comes last.
func AskEach[T any](ctx context.Context, s *settings.Settings, path string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		body, err := asked(ctx, s, http.MethodGet, path)
		if err != nil {
			yield(none, err)
			return
		}
		defer body.Close()
		d := json.NewDecoder(body)
		_, err = d.Token()
		for err == nil && d.More() {
			var v T
			if err = d.Decode(&v); err == nil && !yield(v, nil) {
				return
			}
		}
		if err == nil {
			_, err = d.Token() // an answer that broke off has no end
		}
		if err != nil {
			yield(none, fmt.Errorf("the answer of the running connector to %s: %w", path, err))
		}
	}
}

// Progress says how far the running connector is with a command's work. The answer is a line
// of JSON for each.
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

// Request has the running connector do some work, and follows it to its end. Ending ctx ends
// the work. It returns the last progress.
func Request(ctx context.Context, s *settings.Settings, path string, parameters url.Values, hear func(Progress)) (last Progress, err error) {
	body, err := asked(ctx, s, http.MethodPost, path+"?"+parameters.Encode())
	if err != nil {
		return last, err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
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
