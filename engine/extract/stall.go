package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

var (
	// ErrThrottled is met where a service has requests wait for longer than MaxThrottled.
	ErrThrottled = errors.New("the service throttles for longer than a request waits")
	errStalled   = errors.New("the body stood still")
)

// largestBody bounds a page or an item: it is no list of records any more, but a stream without end.
const largestBody = 1 << 30

// body reads the body of an answer. A read that takes longer than patience
// ends the request: time counts only while a read is under way, never while
// the reader does something else.
type body struct {
	ctx      context.Context
	from     io.Reader
	patience time.Duration
	timer    *time.Timer
	bytes    int64
	failed   error // of the connection, as opposed to what the bytes say
}

// newBody wraps the body of a request whose context is ctx; stop ends it.
func newBody(ctx context.Context, from io.Reader, patience time.Duration, stop context.CancelCauseFunc) *body {
	timer := time.AfterFunc(patience, func() {
		stop(fmt.Errorf("%w for %v", errStalled, patience))
	})
	timer.Stop()
	return &body{ctx: ctx, from: from, patience: patience, timer: timer}
}

func (b *body) Read(p []byte) (int, error) {
	b.timer.Reset(b.patience)
	n, err := b.from.Read(p)
	b.timer.Stop()
	if b.bytes += int64(n); b.bytes > largestBody {
		return n, &shapeError{fmt.Sprintf("the body is larger than %d GB and shows no end; nothing that a feed lists is", largestBody>>30)}
	}
	if err != nil && err != io.EOF {
		if cause := context.Cause(b.ctx); errors.Is(cause, errStalled) {
			err = cause
		}
		b.failed = err
	}
	return n, err
}
