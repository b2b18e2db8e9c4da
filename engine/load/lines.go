package load

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"syscall"
	"time"
)

// writeGrace is how long a write that is under way when the caller gives up may
// take to finish, so that a batch that is as good as written is not repeated.
const writeGrace = time.Second

// lines writes events as lines to something local.
type lines struct {
	// write gives how much of p is there to stay, and why not all of it is.
	write func(p []byte) (int, error)

	busy   chan struct{} // holds a token while a write is under way, perhaps longer than its delivery
	buffer []byte        // of who holds the token
	torn   *shipment     // of which a line is not whole yet; nil: none
}

// newLines makes a destination of lines.
func newLines(config Config, write func([]byte) (int, error), close func() error) *stream {
	l := &lines{write: write, busy: make(chan struct{}, 1)}
	s := newStream(config)
	s.send = l.send
	s.close = sync.OnceValue(func() error {
		select {
		case l.busy <- struct{}{}:
			return close()
		case <-time.After(writeGrace):
			return errors.New("a write is still under way")
		}
	})
	return s
}

// send writes what is left once. A write may block for as long as who reads it likes (a pipe), and cannot be
// called back: it may outlive the call.
func (l *lines) send(ctx context.Context, d *shipment, settle func(int, string)) (failed failure) {
	select {
	case l.busy <- struct{}{}:
	case <-ctx.Done():
		return failed
	}
	if cap(l.buffer) > 2*streamBatchBytes {
		l.buffer = nil
	}
	l.buffer = l.buffer[:0]
	if l.torn != nil && l.torn != d {
		l.buffer = append(l.buffer, '\n')
	}
	prefix := len(l.buffer)
	for _, event := range d.left {
		l.buffer = append(append(l.buffer, d.Events[event]...), '\n')
	}
	from, to := d.begun, 0
	done := make(chan error, 1)
	go func() {
		n, err := l.write(l.buffer[from:])
		to = from + n
		done <- err
	}()
	over := ctx.Done()
	var late <-chan time.Time
	for {
		select {
		case err := <-done:
			l.wrote(d, to-prefix, settle)
			<-l.busy
			if err != nil {
				failed = failure{class: transient, cause: err.Error()}
			}
			if errors.Is(err, syscall.EPIPE) || errors.Is(err, fs.ErrClosed) {
				failed.fatal = err
			}
			return failed
		case <-over:
			over, late = nil, time.After(writeGrace)
		case <-late:
			go func() {
				<-done
				if to > 0 && l.buffer[to-1] == '\n' {
					l.torn = nil
				} else if to > 0 {
					l.torn = new(shipment)
				}
				<-l.busy
			}()
			return failed
		}
	}
}

// wrote settles the events of which n bytes have all; below 0, what was torn is not ended yet.
func (l *lines) wrote(d *shipment, n int, settle func(int, string)) {
	if n < 0 {
		return
	}
	for _, event := range d.left {
		size := len(d.Events[event]) + 1
		if n < size {
			break
		}
		n -= size
		settle(event, "")
	}
	if l.torn, d.begun = nil, n; n > 0 {
		l.torn = d
	}
}
