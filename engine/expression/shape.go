package expression

import (
	"regexp/syntax"
	"unicode/utf8"
)

// shape is a pattern that says of each character of a whole text what it is:
// ^, then so many of one class of ASCII characters, so many of the next, then $.
// Identifiers are told so in mappings; regexp takes twenty times as long.
type shape []stretch

// stretch is a class of characters, and how many of them.
type stretch struct {
	class       [2]uint64 // a bit for each ASCII character
	least, most int       // most -1: any number
}

func (s *stretch) has(c byte) bool { return c < utf8.RuneSelf && s.class[c/64]>>(c%64)&1 != 0 }

// match takes as many characters for a stretch as there are, which is right as
// those of the next stretch are others wherever the number is not fixed.
func (s shape) match(text string) bool {
	at := 0
	for i := range s {
		stretch, from := &s[i], at
		for at < len(text) && (stretch.most < 0 || at-from < stretch.most) && stretch.has(text[at]) {
			at++
		}
		if at-from < stretch.least {
			return false
		}
	}
	return at == len(text)
}

// maxShape is how many stretches a shape has at most.
const maxShape = 64

// shapeOf is a pattern as a shape, nil if it is none.
func shapeOf(pattern string) shape {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || re.Op != syntax.OpConcat || len(re.Sub) < 3 {
		return nil
	}
	last := len(re.Sub) - 1
	if re.Sub[0].Op != syntax.OpBeginText || re.Sub[last].Op != syntax.OpEndText {
		return nil
	}
	var s shape
	for _, sub := range re.Sub[1:last] {
		if s = s.with(sub); s == nil || len(s) > maxShape {
			return nil
		}
	}
	for i := range s {
		if s[i].least == s[i].most || i == len(s)-1 {
			continue
		}
		next := &s[i+1]
		if next.least == 0 || s[i].class[0]&next.class[0] != 0 || s[i].class[1]&next.class[1] != 0 {
			return nil
		}
	}
	return s
}

// with appends what re says, nil if that is more than a shape can say.
func (s shape) with(re *syntax.Regexp) shape {
	if re.Flags&(syntax.FoldCase|syntax.NonGreedy) != 0 {
		return nil
	}
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if r >= utf8.RuneSelf {
				return nil
			}
			one := stretch{least: 1, most: 1}
			one.class[r/64] |= 1 << (r % 64)
			s = append(s, one)
		}
		return s
	case syntax.OpCharClass:
		one := stretch{least: 1, most: 1}
		for i := 0; i < len(re.Rune); i += 2 {
			if re.Rune[i+1] >= utf8.RuneSelf {
				return nil
			}
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				one.class[r/64] |= 1 << (r % 64)
			}
		}
		return append(s, one)
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range re.Sub {
			if s = s.with(sub); s == nil || len(s) > maxShape {
				return nil
			}
		}
		return s
	}
	least, most := re.Min, re.Max
	switch re.Op {
	case syntax.OpRepeat:
	case syntax.OpPlus:
		least, most = 1, -1
	case syntax.OpStar:
		least, most = 0, -1
	case syntax.OpQuest:
		least, most = 0, 1
	default:
		return nil
	}
	of := shape{}.with(re.Sub[0])
	switch {
	case len(of) == 1 && of[0].least == 1 && of[0].most == 1:
		of[0].least, of[0].most = least, most
		return append(s, of...)
	case len(of) == 0 || least != most || len(of)*least > maxShape:
		return nil
	}
	for range least {
		s = append(s, of...)
	}
	return s
}
