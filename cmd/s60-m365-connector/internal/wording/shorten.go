package wording

import (
	"strings"
)

// Shorten keeps a line readable on a terminal.
func Shorten(s string) string {
	const longest = 60
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > longest {
		return string(r[:longest-1]) + "…"
	}
	return s
}
