package schemas

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// durationForm is that of the schemas' durations, too.
var durationForm = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?d)?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*$`)

// ParseDuration reads a duration as Go writes it, with d for a day of 24
// hours: 90s, 1h30m, 7d, 1d12h.
func ParseDuration(s string) (time.Duration, bool) {
	if s == "" || !durationForm.MatchString(s) {
		return 0, false
	}
	total := time.Duration(0)
	if days, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || n > 36500 { // a century; twice that is near the end of what a Duration holds
			return 0, false
		}
		total = time.Duration(n * float64(24*time.Hour))
		if rest == "" {
			return total, true
		}
		s = rest
	}
	d, err := time.ParseDuration(s)
	if err != nil || total+d < 0 {
		return 0, false
	}
	return total + d, true
}

// durationKeyword is the keyword minimumDuration.
type durationKeyword struct{ least time.Duration }

// Compile implements [jsonschema.ExtCompiler].
func (durationKeyword) Compile(_ jsonschema.CompilerContext, schema map[string]any) (jsonschema.ExtSchema, error) {
	text, ok := schema["minimumDuration"].(string)
	if !ok {
		return nil, nil
	}
	least, _ := ParseDuration(text)
	return durationKeyword{least}, nil
}

// Validate implements [jsonschema.ExtSchema]. What is of the form of a duration, and is
// none all the same, is longer than a century.
func (k durationKeyword) Validate(ctx jsonschema.ValidationContext, value any) error {
	text, ok := value.(string)
	if !ok || !durationForm.MatchString(text) {
		return nil
	}
	switch d, ok := ParseDuration(text); {
	case !ok:
		return ctx.Error("pattern", "is no duration")
	case d < k.least:
		return ctx.Error("minimumDuration", "is shorter than %s", k.least)
	}
	return nil
}
