package extract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/expression"
)

// largestError bounds what is read of the body of an answer that is no success.
const largestError = 1 << 20

// What an answer may ask for beside what error rules can say.
const (
	thenMissing  = "missing licence" // by licence.missing
	thenFallback = "fallback"        // by fallback.when
)

// answer is what the rules of a feed see of an HTTP answer.
type answer struct {
	status int
	header http.Header
	body   any // parsed JSON, or text
	fault  map[string]any
	text   string // the start of a body that is no JSON
}

// newAnswer takes a body that may be anything: JSON, JSON in single quotes,
// HTML, nothing.
func newAnswer(status int, header http.Header, raw []byte) *answer {
	a := &answer{status: status, header: header, fault: map[string]any{}}
	raw = bytes.TrimSpace(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")))
	if len(raw) == 0 {
		return a
	}
	err := json.Unmarshal(raw, &a.body)
	if err != nil && bytes.HasPrefix(raw, []byte("{'")) {
		// Python's idea of JSON, which front ends of services have been seen to send.
		err = json.Unmarshal(bytes.ReplaceAll(raw, []byte("'"), []byte(`"`)), &a.body)
	}
	if err != nil {
		a.body = strings.ToValidUTF8(string(raw), "\uFFFD")
		if raw[0] == '<' {
			a.text = "the body is an HTML or XML page"
		} else {
			a.text = oneLine(string(raw[:min(len(raw), 200)]))
		}
		return a
	}
	if object, ok := a.body.(map[string]any); ok {
		if fault, ok := object["error"].(map[string]any); ok {
			a.fault = fault
		}
	}
	return a
}

// faulty reports whether a success says that there was an error: in a body that is a list, by an error
// object beside it; in one that may be a record itself, only if it says nothing else.
func (a *answer) faulty(lone bool) bool {
	object, ok := a.body.(map[string]any)
	return ok && len(a.fault) > 0 && (!lone || len(object) == 1)
}

// readAnswer reads the body of an answer that is no success. A body that breaks
// off is taken as far as it goes: the status alone says most. A service that
// repeats the token it was sent must not bring it into a log.
func readAnswer(r *http.Response, from io.Reader, token string) *answer {
	raw, _ := io.ReadAll(io.LimitReader(from, largestError))
	if token != "" {
		raw = bytes.ReplaceAll(raw, []byte(token), []byte("[removed]"))
	}
	return newAnswer(r.StatusCode, r.Header, raw)
}

// env is what expressions over an answer may refer to. Header names are found
// in their canonical form and in lower case.
func (a *answer) env() map[string]any {
	headers := make(map[string]any, 2*len(a.header))
	for name, values := range a.header {
		value := strings.Join(values, ", ")
		headers[http.CanonicalHeaderKey(name)] = value
		headers[strings.ToLower(name)] = value
	}
	return map[string]any{"status": a.status, "error": a.fault, "body": a.body, "headers": headers}
}

// code and message are what the body says of a fault.
func (a *answer) code() string {
	return oneLine(scalar(a.fault["code"]))
}

func (a *answer) message() string {
	if m := scalar(a.fault["message"]); m != "" {
		return oneLine(m)
	}
	if object, ok := a.body.(map[string]any); ok {
		// Front ends have envelopes of their own: {"Message": …}, and the "error" of RFC 6750.
		for _, name := range []string{"Message", "message", "error_description", "error"} {
			if m := scalar(object[name]); m != "" {
				return oneLine(m)
			}
		}
	}
	return a.text
}

func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64, bool:
		return fmt.Sprint(v)
	}
	return ""
}

// judge says what an answer means: by what the feed's own request may be replaced for, by the rules of
// the feed, then by what holds for all services. An empty text means a success. at is where a rule says
// that what the service keeps begins.
func (r *Reader) judge(q *request, a *answer) (then string, at time.Time, err error) {
	feed, env := r.feed, a.env()
	holds := func(name string, p *expression.Program) (is bool) {
		if err == nil {
			is, err = a.holds(name, p, env)
		}
		return is
	}
	if q.own && feed.Fallback != nil && holds("fallback.when", feed.Fallback.When) {
		return thenFallback, at, nil
	}
	for i, rule := range feed.Errors {
		if holds(fmt.Sprintf("errors[%d]", i), rule.When) {
			if rule.At != nil {
				at = timeOf(rule.At.Eval(env))
			}
			return rule.Then, at, nil
		}
	}
	if feed.Licence != nil && holds("licence.missing", feed.Licence.Missing) {
		return thenMissing, at, nil
	}
	if err != nil {
		return "", at, err
	}
	switch {
	case a.status >= 200 && a.status < 300:
		return "", at, nil
	case a.status == http.StatusTooManyRequests, a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "":
		return definition.ThenThrottle, at, nil
	case a.status == http.StatusUnauthorized:
		return definition.ThenRefreshToken, at, nil
	case a.status == http.StatusGone && q.delta:
		return definition.ThenResetWindow, at, nil
	case a.status >= 500, a.status == http.StatusRequestTimeout:
		return definition.ThenRetry, at, nil
	}
	return definition.ThenFail, at, nil
}

// holds reports whether the condition of a name in the feed holds over the answer, which env gives; nil never does.
func (a *answer) holds(name string, p *expression.Program, env map[string]any) (bool, error) {
	if p == nil {
		return false, nil
	}
	is, err := p.Bool(env)
	if err != nil {
		return false, fmt.Errorf("%s, %q over an answer with HTTP %d: %w", name, p, a.status, err)
	}
	return is, nil
}

// timeOf is the time that an expression gives, zero if it gives none.
func timeOf(v any, err error) time.Time {
	if err != nil {
		return time.Time{}
	}
	switch v := v.(type) {
	case time.Time:
		return v.UTC()
	case string:
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
			if at, err := time.Parse(layout, strings.TrimSpace(v)); err == nil {
				return at.UTC()
			}
		}
	}
	return time.Time{}
}
