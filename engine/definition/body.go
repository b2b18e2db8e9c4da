package definition

// Body is the body of a request: a YAML value whose texts may hold ${…}. It may
// be used by several goroutines at once.
type Body struct {
	// value is a *Template, a bool, int, float64, nil, []any or map[string]any of
	// such.
	value any
}

// Expand gives the body for the values in env, ready to be marshalled as JSON.
// It is made anew for each call, so that the caller may change it. A text that is one
// ${…} and nothing else has the type of its value; every other is a text. The error is
// that of [Template.Expand].
func (b *Body) Expand(env map[string]any) (any, error) {
	if b == nil {
		return nil, nil
	}
	return expandBody(b.value, env)
}

func expandBody(value any, env map[string]any) (any, error) {
	switch v := value.(type) {
	case *Template:
		return v.value(env)
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			var err error
			if list[i], err = expandBody(item, env); err != nil {
				return nil, err
			}
		}
		return list, nil
	case map[string]any:
		object := make(map[string]any, len(v))
		for name, item := range v {
			var err error
			if object[name], err = expandBody(item, env); err != nil {
				return nil, err
			}
		}
		return object, nil
	}
	return value, nil
}
