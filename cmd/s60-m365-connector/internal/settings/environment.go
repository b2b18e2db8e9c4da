package settings

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transport"
)

// This file reads values of one kind each out of an environment.

// Problems is every problem of the settings, a line each.
type Problems []string

func (e Problems) Error() string { return strings.Join(e, "\n") }

// environment takes settings out of an environment and collects what is wrong.
type environment struct {
	env      map[string]string
	problems Problems
}

func (r *environment) fail(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

func (r *environment) text(name string) string { return strings.TrimSpace(r.env[name]) }

func (r *environment) textOr(name, otherwise string) string {
	if v := r.text(name); v != "" {
		return v
	}
	return otherwise
}

func (r *environment) boolean(name string, otherwise bool) bool {
	switch v := strings.ToLower(r.text(name)); v {
	case "":
		return otherwise
	case "true", "1", "yes", "on":
		return true
	case "false", "0", "no", "off":
		return false
	default:
		r.fail("%s is %q: write true or false", name, v)
		return otherwise
	}
}

func (r *environment) oneOf(name, otherwise string, values ...string) string {
	v := r.textOr(name, otherwise)
	for _, known := range values {
		if strings.EqualFold(v, known) {
			return known
		}
	}
	r.fail("%s is %q: write one of %s", name, v, strings.Join(values, ", "))
	return otherwise
}

// briefest is the least an interval may be: enough for a test, and no busy loop.
const briefest = 100 * time.Millisecond

// minutes reads a number of minutes, decimals allowed. A zero is allowed only
// where least is 0.
func (r *environment) minutes(name string, otherwise float64, least time.Duration) time.Duration {
	v := r.text(name)
	n := otherwise
	if v != "" {
		var err error
		// A year is far beyond what any of these settings can mean.
		if n, err = strconv.ParseFloat(v, 64); err != nil || !(n >= 0 && n <= 525600) {
			r.fail("%s is %q: write a number of minutes, such as %v", name, v, otherwise)
			n = otherwise
		}
	}
	d := time.Duration(n * float64(time.Minute))
	if d < least {
		r.fail("%s is %q: write a number of minutes above 0, decimals allowed, such as %v", name, v, otherwise)
	}
	return d
}

func (r *environment) count(name string, otherwise, most int) int {
	v := r.text(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		r.fail("%s is %q: write a whole number from 1 to %d", name, v, most)
		return otherwise
	}
	return n
}

// The least and the most that a timeout may be: an answer takes a moment on any network, and one that has not
// come within an hour never will.
const (
	shortestTimeout = time.Second
	longestTimeout  = time.Hour
)

// timeout reads a span of time: a number of seconds, or a duration.
func (r *environment) timeout(name string, otherwise time.Duration) time.Duration {
	v := r.text(name)
	if v == "" {
		return otherwise
	}
	d, ok := definition.ParseDuration(v)
	if seconds, err := strconv.ParseFloat(v, 64); err == nil && seconds >= 0 && seconds <= longestTimeout.Seconds() {
		d, ok = time.Duration(seconds*float64(time.Second)), true
	}
	if !ok || d < shortestTimeout || d > longestTimeout {
		r.fail("%s is %q: write a number of seconds or a duration from 1s to 1h, such as %d or 2m", name, v, int(otherwise.Seconds()))
		return otherwise
	}
	return d
}

// automatic reads a number that the program finds by itself unless it is given: 0.
func (r *environment) automatic(name string, most int) int {
	if strings.EqualFold(r.text(name), "auto") {
		return 0
	}
	return r.count(name, 0, most)
}

// RateLimit is so many requests in any span of that length; 0 of them: no limit.
type RateLimit struct {
	Requests int
	Per      time.Duration
}

func (l RateLimit) String() string { return fmt.Sprintf("%d/%s", l.Requests, l.Per) }

func (r *environment) rate(name string, otherwise RateLimit) RateLimit {
	v := r.text(name)
	if v == "" {
		return otherwise
	}
	count, span, _ := strings.Cut(v, "/")
	n, err := strconv.Atoi(strings.TrimSpace(count))
	per, ok := definition.ParseDuration(strings.TrimSpace(span))
	if err != nil || n < 1 || !ok || per <= 0 {
		r.fail("%s is %q: write a number of requests and a span of time, such as 8000/10s", name, v)
		return RateLimit{}
	}
	return RateLimit{n, per}
}

// base reads the URL of a service. Plain http would show tokens to the
// network, so it is for loopback only.
func (r *environment) base(name, otherwise string) string {
	v := r.textOr(name, otherwise)
	if v == "" {
		return ""
	}
	u, err := url.Parse(v)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		r.fail("%s is %q: write a URL such as https://host.example", name, printable(v))
	case u.User != nil:
		r.fail("%s holds a user name or password: write the URL without it", name)
	case u.Scheme == "http" && !transport.Loopback(u.Hostname()):
		r.fail("%s is %q: write https://; plain http is allowed for loopback addresses only", name, printable(v))
	case name != "S60_COLLECTOR_BASE" && (u.RawQuery != "" || u.Fragment != ""):
		r.fail("%s is %q: write the URL without a query or fragment", name, printable(v))
	}
	if name == "S60_COLLECTOR_BASE" { // used exactly as given
		return v
	}
	return strings.TrimRight(v, "/")
}

func printable(v string) string {
	if u, err := url.Parse(v); err == nil {
		return u.Redacted()
	}
	return "a text that is not a URL"
}

func (r *environment) list(name string) []any {
	list := []any{}
	for v := range strings.SplitSeq(r.text(name), ",") {
		if v = strings.TrimSpace(v); v != "" && !slices.Contains(list, any(v)) {
			list = append(list, v)
		}
	}
	return list
}

// readable reports a file that cannot be read, while a person is looking.
func (r *environment) readable(name, path string) bool {
	f, err := os.Open(path)
	if err != nil {
		r.fail("%s is %q: %v; write the path of a file that the connector may read", name, path, errors.Unwrap(err))
		return false
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		r.fail("%s is %q: that is a folder; write the path of a file", name, path)
		return false
	}
	return true
}

func (r *environment) folder(name, path string) {
	if _, err := os.ReadDir(path); err != nil {
		r.fail("%s is %q: %v; write the path of a folder that the connector may read", name, path, errors.Unwrap(err))
	}
}
