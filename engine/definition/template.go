package definition

// Template is a text with expressions in ${…}.
type Template struct {
	source string
}

// String is the template as written.
func (t *Template) String() string { return t.source }

// Expand gives the text for the values in env. nil expands to nothing.
func (t *Template) Expand(env map[string]any) (string, error) { return "", nil }
