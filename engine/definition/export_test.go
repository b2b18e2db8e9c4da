package definition

import "github.com/secure60/s60-m365-connector/schemas"

// ParseFeed reads one feed without regard to the name of its file, or to whether its mapping exists. A feed with
// problems is nil.
func ParseFeed(file string, data []byte, settings map[string]any) (*Feed, []Problem) {
	t := newTree(parse(file, data))
	if t.root == nil {
		return nil, t.problems
	}
	t.validate(schemas.Feed(), false)
	f := t.feed("", settings)
	Sort(t.problems)
	if Invalid(t.problems) {
		return nil, t.problems
	}
	return f, t.problems
}

// ParseMapping reads one mapping likewise, which includes no other.
func ParseMapping(file string, data []byte) (*Mapping, []Problem) {
	t := newTree(parse(file, data))
	if t.root == nil {
		return nil, t.problems
	}
	t.validate(schemas.Mapping(), false)
	m := t.mapping("", nil)
	m.checkConstants()
	Sort(t.problems)
	if Invalid(t.problems) {
		return nil, t.problems
	}
	return &m.Mapping, t.problems
}

// NewTemplate compiles a template whose expressions may use any name.
func NewTemplate(source string) (*Template, error) {
	t, errs := parseTemplate(source, namespace{any: true}.compile)
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return t, nil
}
