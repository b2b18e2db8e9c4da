package extract

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transport"
)

// job starts a job, unless the window names one that was, and waits until it is
// done. No more is held meanwhile than the place in the sink's memory. env knows the job then, and where its
// result is, if the feed says how that is found.
func (r *Reader) job(ctx context.Context, by asks, w Window, env map[string]any, sink Sink) error {
	j := by.job
	id, begun := w.Job, w.JobAt
	if id == "" {
		answer, err := r.ask(ctx, "job start", &j.Create, env, by.own)
		if err != nil {
			return err
		}
		if id = gjson.GetBytes(answer.raw, j.ID).String(); id == "" {
			return &shapeError{fmt.Sprintf("the answer to the start of the job has no id at %q; it holds %s", j.ID, members(answer.raw))}
		}
		begun = time.Now()
		if err := sink.Job(id); err != nil {
			return &sinkError{err}
		}
	}
	env["job"] = map[string]any{"id": id}
	for {
		answer, err := r.ask(ctx, "job "+oneLine(id), &j.Poll, env, by.own)
		if refused, ok := errors.AsType[*StatusError](err); ok && refused.Status >= 400 && refused.Status < 500 && refused.Status != http.StatusTooManyRequests && refused.Status != http.StatusUnauthorized && refused.Status != http.StatusForbidden {
			return &JobFailed{ID: oneLine(id), Err: err} // the service does not know it any more
		}
		if err != nil {
			return err
		}
		done, err := answer.holds("job.done", j.Done, answer.env())
		if err != nil {
			return err
		}
		if done {
			return found(j, env, answer)
		}
		failed, err := answer.holds("job.failed", j.Failed, answer.env())
		if err != nil {
			return err
		}
		if failed {
			return &JobFailed{ID: oneLine(id), Err: fmt.Errorf("it has failed, says the service: %s", cmp.Or(answer.message(), oneLine(string(answer.raw))))}
		}
		if waited := time.Since(begun); j.Most > 0 && waited >= j.Most {
			return &JobFailed{ID: oneLine(id), Err: fmt.Errorf("it is not done after %v", waited.Round(time.Second))}
		}
		if err := transport.Sleep(ctx, max(j.Every, time.Second)); err != nil {
			return err
		}
	}
}

// found puts where the result of a job is into env, as the answer that it is done says.
func found(j *definition.Job, env map[string]any, answer *document) error {
	if j.Result == "" {
		return nil
	}
	result := gjson.GetBytes(answer.raw, j.Result).String()
	if result == "" {
		return &shapeError{fmt.Sprintf("the answer that the job is done has no result at %q; it holds %s", j.Result, members(answer.raw))}
	}
	env["job"].(map[string]any)["result"] = result
	return nil
}

// document is a small answer as a whole.
type document struct {
	*answer
	raw []byte
}

// ask sends a request of the feed whose answer is one small document, at most 1 MB. own: a fallback
// may replace it.
func (r *Reader) ask(ctx context.Context, what string, d *definition.Request, env map[string]any, own bool) (*document, error) {
	p, err := r.prepare(d, env, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	answer, err := r.document(ctx, what, p, own)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return answer, nil
}

// document gets one small JSON document.
func (r *Reader) document(ctx context.Context, what string, p prepared, own bool) (*document, error) {
	d := &document{}
	q := &request{what: what, prepared: p, lone: true, own: own}
	q.take = func(_ *http.Response, from io.Reader, _ func([]byte) error) (raw []byte, err error) {
		if d.raw, err = io.ReadAll(io.LimitReader(from, largestError)); err == nil && !gjson.ValidBytes(d.raw) {
			err = errors.New("no JSON, or more than 1 MB")
		}
		if err != nil {
			return nil, &brokenError{err: err}
		}
		return d.raw, nil
	}
	q.done = func(answered *http.Response, raw []byte) error {
		d.answer = newAnswer(answered.StatusCode, answered.Header, raw)
		return nil
	}
	if err := r.send(ctx, q); err != nil {
		return nil, err
	}
	return d, nil
}
