package transform

import "strings"

// This file says which fields a rule that redacts means.

// pattern is a field, and the path within the JSON that it holds.
type pattern struct {
	name string
	path []string
}

// parsePattern gives what a pattern stands for: a field and a path into it, and, as the same may come as
// an object or an array that is spread, each field that steps of the path make a part of the name.
func parsePattern(s string) (list []pattern) {
	steps := strings.Split(s, ".")
	list = append(list, pattern{steps[0], steps[1:]})
	name := steps[0]
	for i, step := range steps[1:] {
		rest := steps[i+2:]
		if i > 0 && ofElements(steps[i]) && isValueKey(step) { // of an element, whose value has the element's name
			list = append(list, pattern{name, rest})
		}
		if ofElements(step) {
			step = "*" // once it is spread, an element has its name and no index
		}
		name += "_" + flatPattern(step)
		list = append(list, pattern{name, rest})
	}
	return list
}

// ofElements says that a step names elements of an array: some by their index, or all.
func ofElements(step string) bool {
	return step != "" && strings.Trim(step, "*0123456789") == ""
}

// flatPattern is a step of a path as a part of a field's name.
func flatPattern(step string) string {
	parts := strings.Split(step, "*")
	for i := range parts {
		parts[i] = flatName(parts[i])
	}
	return strings.Join(parts, "*")
}

// RedactedNames are the names of the fields that a rule's pattern may stand for, with * for any run of
// characters.
func RedactedNames(s string) (names []string) {
	for _, p := range parsePattern(s) {
		names = append(names, p.name)
	}
	return names
}

// matches says whether name is what the pattern stands for, * being any run of
// characters.
func matches(pattern, name string) bool {
	star, again := -1, 0
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, again = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			again++
			p, n = star+1, again
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
