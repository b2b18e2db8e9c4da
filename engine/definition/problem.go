package definition

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/secure60/s60-m365-connector/schemas"
)

// Pos is a place in a file. Line and Column count from 1; Column counts
// characters.
type Pos struct {
	File   string
	Line   int
	Column int
}

// String is file:line:column, the form that editors and terminals make
// clickable.
func (p Pos) String() string {
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is something wrong in a definition file.
type Problem struct {
	Pos
	Length  int    // characters to underline, at least 1
	Message string // what is wrong and what would be right
	Source  string // the whole source line
	Warning bool   // worth saying, but what was loaded is valid
	// By names the files that extend File and are faulty for it, "" where File is
	// faulty by itself.
	By string
}

// String is the problem as shown to a person: file:line:col: message, then
// the source line and a line of carets under the span. It ends without a line
// feed.
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "%s: ", p.Pos)
	} else if p.File != "" {
		fmt.Fprintf(&b, "%s: ", p.File)
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.Message)
	if p.By != "" {
		fmt.Fprintf(&b, " (in %s, which extends this file)", p.By)
	}
	if strings.TrimSpace(p.Source) == "" {
		return b.String()
	}
	fmt.Fprintf(&b, "\n    %s\n    ", p.Source)
	// A tab in the source is repeated, so that the carets line up however wide
	// the terminal shows it.
	column := 1
	for _, c := range p.Source {
		if column >= p.Column {
			break
		}
		if c == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
		column++
	}
	rest := utf8.RuneCountInString(p.Source) - p.Column + 1
	b.WriteString(strings.Repeat("^", max(1, min(p.Length, rest))))
	return b.String()
}

// Invalid reports whether any of the problems is more than a warning.
func Invalid(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning })
}

// Sort orders problems by file and place.
func Sort(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
}

// Print writes problems to w, each as [Problem.String] shows it.
func Print(w io.Writer, problems []Problem) error {
	for _, p := range problems {
		if _, err := fmt.Fprintln(w, p); err != nil {
			return err
		}
	}
	return nil
}

// ParseDuration reads a duration as Go writes it, with d for a day of 24
// hours: 90s, 1h30m, 7d, 1d12h.
func ParseDuration(s string) (time.Duration, bool) { return schemas.ParseDuration(s) }
