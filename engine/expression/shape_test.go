package expression

import (
	"regexp"
	"strings"
	"testing"
)

func TestShape(t *testing.T) {
	shapes := map[string]bool{
		"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$":       true,
		`^\{?[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}?$`: true,
		"^[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}$":                          true,
		"^[A-Za-z]+-[A-Za-z][A-Za-z0-9]+$":                           true,
		"^a?b*c{2,3}$":                                               false, // a number that is not fixed before one that may be none
		"^a?b+c{2,}$":                                                true,
		"^[a-c]+b$":                                                  false,
		"^(?i)abc$":                                                  false,
		"^a|b$":                                                      false,
		"^é$":                                                        false,
		"^[^a]$":                                                     false,
		"abc":                                                        false,
		"^(ab){2}c$":                                                 true,
		"^(ab)+c$":                                                   false,
		"^a{0}b$":                                                    true,
		"(?m)^ab$":                                                   false,
	}
	texts := []string{"", "a", "b", "c", "abc", "ab", "acc", "abbccc", "bcc", "cccc", "ababc", "abab", "abb", "cb", "é", "Get-Mailbox", "Get-M", "-M", "Get-Mail box", "abc\n",
		"0a1b2c3d-0000-1111-2222-333344445555", "0a1b2c3d-0000-1111-2222-33334444555", "0a1b2c3d-0000-1111-2222-3333444455556", "{0A1B2C3D-0000-1111-2222-333344445555}", "0a1b2c3d-0000-1111-2222-33334444555g"}
	texts = append(texts, strings.Repeat("a", 300))
	for pattern, want := range shapes {
		s := shapeOf(pattern)
		if (s != nil) != want {
			t.Errorf("%s: a shape: %v, want %v", pattern, s != nil, want)
		}
		if s == nil {
			continue
		}
		re := regexp.MustCompile(pattern)
		for _, text := range texts {
			if got, want := s.match(text), re.MatchString(text); got != want {
				t.Errorf("%s on %q: %v, want %v", pattern, text, got, want)
			}
		}
	}
}
