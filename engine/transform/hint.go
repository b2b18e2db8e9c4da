package transform

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

var (
	// bareText is a text of several words that somebody wrote as an expression.
	bareText = regexp.MustCompile(`^\pL[\pL\d]*([ -][\pL\d]+)+$`)
	// bareWord is one word, which may be a text as well as a name.
	bareWord = regexp.MustCompile(`^\p{Ll}[\p{Ll}\d]*$`)
	// recordPath is a field as the record has it.
	recordPath = regexp.MustCompile(`^[A-Za-z][A-Za-z\d]*(\.[A-Za-z_][A-Za-z\d_]*)*`)
)

// hint is what is wrong with an expression, for somebody who writes a mapping for the first time: a text is not taken
// for a name, nor a field of the record for one of the event.
func hint(source string, e *expression.Error) string {
	source = strings.TrimSpace(source)
	before, _, unknown := strings.Cut(e.Message, "; expected ")
	switch {
	case strings.Contains(e.Message, "did you mean"):
	case bareText.MatchString(source):
		return fmt.Sprintf(`a text within an expression has quotes of its own: '"%s"'`, source)
	case !unknown:
	case bareWord.MatchString(source):
		return fmt.Sprintf(`%s; if it is a text, write '"%s"', and if a field of the record, %s_%s`, before, source, prefix, source)
	default:
		path := recordPath.FindString(string([]rune(source)[min(e.Offset, len([]rune(source))):]))
		if inner, ok := strings.CutPrefix(path, prefix+"."); ok || strings.ToLower(path) != path {
			if ok {
				path = inner
			}
			return fmt.Sprintf("%s; the field of the record is %s_%s here", before, prefix, flatName(path))
		}
	}
	return e.Message
}
