package extract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// largestError bounds what is read of the body of an answer that is no success.
const largestError = 1 << 20

// thenMissing is what a feed's licence.missing asks for, beside its error rules.
const thenMissing = "missing licence"

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

// onlyFault reports whether the body says nothing but that there was an error.
func (a *answer) onlyFault() bool {
	object, ok := a.body.(map[string]any)
	return ok && len(object) == 1 && len(a.fault) > 0
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

// judge says what an answer means by the rules of the feed, then by what holds
// for all services. An empty verdict means a success.
func judge(feed *definition.Feed, a *answer) (then string, err error) {
	env := a.env()
	for i, rule := range feed.Errors {
		holds, err := rule.When.Bool(env)
		if err != nil {
			return "", fmt.Errorf("errors[%d], %q over an answer with HTTP %d: %w", i, rule.When, a.status, err)
		}
		if holds {
			return rule.Then, nil
		}
	}
	if feed.Licence != nil && feed.Licence.Missing != nil {
		missing, err := feed.Licence.Missing.Bool(env)
		if err != nil {
			return "", fmt.Errorf("licence.missing, %q over an answer with HTTP %d: %w", feed.Licence.Missing, a.status, err)
		}
		if missing {
			return thenMissing, nil
		}
	}
	switch {
	case a.status >= 200 && a.status < 300:
		return "", nil
	case a.status == http.StatusTooManyRequests, a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "":
		return definition.ThenThrottle, nil
	case a.status == http.StatusUnauthorized:
		return definition.ThenRefreshToken, nil
	case a.status >= 500, a.status == http.StatusRequestTimeout:
		return definition.ThenRetry, nil
	}
	return definition.ThenFail, nil
}
