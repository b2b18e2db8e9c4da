package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// Subscribe sees to it that the partition is switched on at the service: it
// lists what is, and starts only what is not. last is when a start was last
// attempted, the zero time if never; attempted is the same, or the time of the
// start that this call attempted, whether it succeeded or not. off says that there was no subscription before it, whether there is
// one now or not: a service that answers that it was active all along is believed, unless lost, and one whose list came
// empty has not said that there was none. The service must not
// be asked to start again within the feed's wait: the error then is a *SubscribeWait.
//
// lost says that the service has said, by a rule of the feed, that there is no subscription: it is
// then started, whatever the list says.
//
// A feed without a subscription is subscribed.
func (r *Reader) Subscribe(ctx context.Context, last time.Time, lost bool) (attempted time.Time, off bool, err error) {
	s := r.feed.Subscribe
	if s == nil {
		return last, false, nil
	}
	active, listed, err := r.subscribed(ctx, s)
	if err == nil && (lost || !active) {
		if until := last.Add(s.Wait); !last.IsZero() && time.Now().Before(until) && !last.After(time.Now()) {
			err = &SubscribeWait{Until: until, Err: r.started, Said: r.unsubscribed}
		} else {
			var was bool
			last, was, err = r.start(ctx, s, last)
			off, r.started = lost || listed && !was, err
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return last, off, ctx.Err()
		}
		return last, off, r.wrap(fmt.Errorf("subscription: %w", err))
	}
	return last, off, nil
}

// subscribed lists the subscriptions and looks for an active one. listed is false for a list without even brackets.
func (r *Reader) subscribed(ctx context.Context, s *definition.Subscribe) (active, listed bool, err error) {
	p, err := r.prepare(&s.List, r.env(Window{}), nil)
	if err != nil {
		return false, false, fmt.Errorf("list: %w", err)
	}
	q := &request{what: "subscription list", prepared: p, lone: true}
	q.take = func(_ *http.Response, from io.Reader, check func([]byte) error) ([]byte, error) {
		active = false
		wrapped := false
		lone := func(envelope []byte) error {
			wrapped = len(envelope) > 0 && envelope[0] == '{'
			a := newAnswer(http.StatusOK, nil, envelope)
			if object, _ := a.body.(map[string]any); len(object) == 1 && a.message() != "" {
				return &oddError{"no list, but: " + a.message()}
			}
			return check(envelope)
		}
		take := func(raw []byte) error {
			for _, record := range subscriptions(raw, wrapped) {
				env := r.names()
				maps.Copy(env, record)
				if r.feed.ForEach != nil {
					env[r.feed.ForEach.Variable] = r.partition
				}
				// What does not fit the expression is not what is looked for.
				if holds, err := s.Active.Bool(env); err == nil && holds {
					active = true
				}
			}
			return nil
		}
		envelope, err := split(from, "@this", true, splitTo{check: lone, take: take})
		listed = len(envelope) > 0
		return envelope, err
	}
	q.done = func(*http.Response, []byte) error { return nil }
	err = r.send(ctx, q)
	return active, listed, err
}

// subscriptions are the objects that a listed value stands for: itself, and
// where the list is wrapped in an object, those of the arrays in it.
func subscriptions(raw []byte, wrapped bool) []map[string]any {
	value := gjson.ParseBytes(raw)
	self, ok := value.Value().(map[string]any)
	if !ok {
		return nil
	}
	found := []map[string]any{self}
	if !wrapped {
		return found
	}
	value.ForEach(func(_, v gjson.Result) bool {
		if v.IsArray() {
			for _, v := range v.Array() {
				if m, ok := v.Value().(map[string]any); ok {
					found = append(found, m)
				}
			}
		}
		return true
	})
	return found
}

// start asks the service to start the subscription, once.
func (r *Reader) start(ctx context.Context, s *definition.Subscribe, last time.Time) (attempted time.Time, was bool, err error) {
	p, err := r.prepare(&s.Start, r.env(Window{}), nil)
	if err != nil {
		return last, false, fmt.Errorf("start: %w", err)
	}
	now := time.Now().UTC()
	q := &request{
		what: "subscription start", prepared: p,
		once: true, already: s.Already,
		take: func(_ *http.Response, from io.Reader, _ func([]byte) error) ([]byte, error) {
			_, err := io.Copy(io.Discard, io.LimitReader(from, largestError))
			return nil, err
		},
		done: func(*http.Response, []byte) error { return nil },
	}
	err = r.send(ctx, q)
	if q.sent {
		last = now
	}
	if given, ok := errors.AsType[*skipped](err); ok {
		err = errors.New(given.reason)
	}
	return last, q.was, err
}
