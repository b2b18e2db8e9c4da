package mappings

import (
	_ "embed" // the list of known names
	"path"
	"slices"
	"strings"
)

// KnownFields is known-fields.txt: the names of the fields that records of the
// shipped mappings are known to have, as [ParseNames] reads it.
//
//go:embed known-fields.txt
var KnownFields string

// Names are flat names of fields of records, by mapping.
type Names struct {
	exact    map[string]map[string]bool
	prefixes map[string][]string
}

// ParseNames reads a list of names: a section "[mapping]" for each mapping, a
// name on each line, "name*" for all names that begin so. What stands before the
// first section is a remark.
func ParseNames(list string) Names {
	n := Names{exact: make(map[string]map[string]bool), prefixes: make(map[string][]string)}
	mapping := ""
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			mapping = line[1 : len(line)-1]
			n.exact[mapping] = make(map[string]bool)
		case line == "" || mapping == "":
		case strings.HasSuffix(line, "*"):
			n.prefixes[mapping] = append(n.prefixes[mapping], strings.TrimSuffix(line, "*"))
		default:
			n.exact[mapping][line] = true
		}
	}
	return n
}

// Of says whether there is a list for a mapping.
func (n Names) Of(mapping string) bool { return n.exact[mapping] != nil }

// Has says whether records of a mapping are known to have a field.
func (n Names) Has(mapping, name string) bool {
	return n.exact[mapping][name] ||
		slices.ContainsFunc(n.prefixes[mapping], func(p string) bool { return strings.HasPrefix(name, p) }) ||
		n.exact[mapping][withoutCount(name)]
}

// Like says whether records of a mapping are known to have a field whose name a pattern stands for, in
// which * is any run of characters.
func (n Names) Like(mapping, pattern string) bool {
	for name := range n.exact[mapping] {
		if like, _ := path.Match(pattern, name); like {
			return true
		}
	}
	literal, _, _ := strings.Cut(pattern, "*")
	return slices.ContainsFunc(n.prefixes[mapping], func(p string) bool {
		return strings.HasPrefix(p, literal) || strings.HasPrefix(literal, p)
	})
}

// withoutCount is the name without the _2 of a field whose name another had
// first.
func withoutCount(name string) string {
	if digits := strings.TrimRight(name, "0123456789"); len(digits) < len(name) && strings.HasSuffix(digits, "_") {
		return digits[:len(digits)-1]
	}
	return name
}

// List are the known names of a mapping, in order, without those that only a
// beginning stands for; of all mappings if it is "".
func (n Names) List(mapping string) []string {
	var list []string
	for section, names := range n.exact {
		if mapping == "" || section == mapping {
			for name := range names {
				list = append(list, name)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Whole is the list of a mapping, beginnings with a * behind them; nil if it has none.
func (n Names) Whole(mapping string) []string {
	if !n.Of(mapping) {
		return nil
	}
	list := n.List(mapping)
	for _, before := range n.prefixes[mapping] {
		list = append(list, before+"*")
	}
	return list
}

// Add notes that records of a mapping have a field.
func (n Names) Add(mapping, name string) {
	if n.exact[mapping] == nil {
		n.exact[mapping] = make(map[string]bool)
	}
	n.exact[mapping][name] = true
}
