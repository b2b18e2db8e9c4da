package expression

import (
	"fmt"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// splitPart compiles split(text, separator)[index], and first and last of it,
// without making the list; nil for anything else.
func (c *compiler) splitPart(of ast.Node, index int, slow eval) eval {
	call, ok := of.(*ast.CallNode)
	if !ok || len(call.Arguments) != 2 || call.Callee.String() != "split" || index < -1 {
		return nil
	}
	v, _ := c.constant(call.Arguments[1])
	separator, _ := v.(string)
	if separator == "" {
		return nil
	}
	text := c.eval(call.Arguments[0])
	return func(m *Machine) Value {
		v := text(m)
		if v.kind == nilKind {
			return v
		}
		s, safe, ok := m.text(v)
		switch {
		case !ok:
			return m.fail(fmt.Errorf("split: %w", notText(v)))
		case len(s) > MaxValues:
			return slow(m) // which counts the parts
		case index < 0:
			if at := strings.LastIndex(s, separator); at >= 0 {
				s = s[at+len(separator):]
			}
			return Value{kind: textKind, text: s, safe: safe}
		}
		for range index {
			at := strings.Index(s, separator)
			if at < 0 {
				return Value{}
			}
			s = s[at+len(separator):]
		}
		if at := strings.Index(s, separator); at >= 0 {
			s = s[:at]
		}
		return Value{kind: textKind, text: s, safe: safe}
	}
}
