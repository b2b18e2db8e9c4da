package expression

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// function is one function of the language. Its arguments arrive normal; unless
// takesNil, a nil among them makes the result nil without a call.
type function struct {
	min, max int // number of arguments; max -1: any
	takesNil bool
	call     func(args []any) (any, error)
}

const many = -1

// functions are all functions but those that take a predicate, which stay
// expr's own.
var functions = map[string]function{
	// text
	"lower":       text1(strings.ToLower),
	"upper":       text1(strings.ToUpper),
	"trim":        {1, 2, false, trim},
	"trimPrefix":  {1, 2, false, cutter(strings.TrimPrefix)},
	"trimSuffix":  {1, 2, false, cutter(strings.TrimSuffix)},
	"split":       {2, 3, false, splitter(strings.SplitN)},
	"splitAfter":  {2, 3, false, splitter(strings.SplitAfterN)},
	"replace":     {3, 4, false, replace},
	"repeat":      {2, 2, false, repeat},
	"join":        {1, 2, false, join},
	"indexOf":     {2, 2, false, indexer(strings.Index)},
	"lastIndexOf": {2, 2, false, indexer(strings.LastIndex)},
	"hasPrefix":   {2, 2, false, func(a []any) (any, error) { return HasPrefix(a[0], a[1]), nil }},
	"hasSuffix":   {2, 2, false, func(a []any) (any, error) { return HasSuffix(a[0], a[1]), nil }},
	"toBase64":    text1(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }),
	"fromBase64":  {1, 1, false, fromBase64},
	"words":       {0, many, true, words},
	"kebab":       optional1(AppendKebab),
	"domain":      optional1(AppendDomain),
	"ip":          optional1(AppendIP),
	"port":        {1, 1, false, port},
	"time":        {1, 1, false, timeOf},
	"json":        {1, 1, false, fromJSON},

	// conversion
	"string":   {1, 1, false, toText},
	"int":      {1, 1, false, toInt},
	"float":    {1, 1, false, toFloat},
	"type":     {1, 1, true, func(a []any) (any, error) { return typeOf(a[0]), nil }},
	"toJSON":   {1, 1, false, func(a []any) (any, error) { return JSON(a[0]) }},
	"fromJSON": {1, 1, false, fromJSON},

	// numbers
	"abs":     {1, 1, false, abs},
	"ceil":    rounding(math.Ceil),
	"floor":   rounding(math.Floor),
	"round":   rounding(math.Round),
	"max":     {1, many, true, extreme(1)},
	"min":     {1, many, true, extreme(-1)},
	"mean":    {1, many, true, mean},
	"median":  {1, many, true, median},
	"bitand":  bits(func(x, y int) int { return x & y }),
	"bitor":   bits(func(x, y int) int { return x | y }),
	"bitxor":  bits(func(x, y int) int { return x ^ y }),
	"bitnand": bits(func(x, y int) int { return x &^ y }),
	"bitshl":  bits(func(x, y int) int { return x << uint(y) }),
	"bitshr":  bits(func(x, y int) int { return x >> uint(y) }),
	"bitushr": bits(func(x, y int) int { return int(uint(x) >> uint(y)) }),
	"bitnot": {1, 1, false, func(a []any) (any, error) {
		i, err := whole("bitnot", a[0])
		return ^i, err
	}},

	// lists and maps
	"len":       {1, 1, false, length},
	"first":     {1, 1, false, func(a []any) (any, error) { return Member(a[0], 0), nil }},
	"last":      {1, 1, false, func(a []any) (any, error) { return Member(a[0], -1), nil }},
	"get":       {2, 2, false, func(a []any) (any, error) { return Member(a[0], a[1]), nil }},
	"take":      {2, 2, false, take},
	"keys":      {1, 1, false, keys},
	"values":    {1, 1, false, values},
	"toPairs":   {1, 1, false, toPairs},
	"fromPairs": {1, 1, false, fromPairs},
	"reverse":   {1, 1, false, reverse},
	"uniq":      {1, 1, false, uniq},
	"concat":    {1, many, true, concat},
	"flatten":   {1, 1, false, flatten},
	"sort":      {1, 2, false, sortList},

	// time
	"now":      {0, 0, true, func([]any) (any, error) { return time.Now().UTC(), nil }},
	"date":     {1, 2, false, date},
	"duration": {1, 1, false, duration},
}

// Call calls a function of the language by its name, as an expression would.
func Call(name string, args ...any) (any, error) {
	f, ok := functions[name]
	if !ok {
		return nil, fmt.Errorf("there is no function %s", name)
	}
	for i, arg := range args {
		args[i] = normal(arg)
		if args[i] == nil && !f.takesNil {
			return nil, nil
		}
	}
	v, err := f.call(args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

func notText(v any) error { return fmt.Errorf("a %s is not text", kind(v)) }

// asTexts are the arguments as texts, all or an error.
func asTexts(args []any) (out [4]string, err error) {
	for i, v := range args {
		if i == len(out) {
			break
		}
		s, ok := Text(v)
		if !ok {
			return out, notText(v)
		}
		out[i] = s
	}
	return out, nil
}

func text1(f func(string) string) function {
	return function{1, 1, false, func(args []any) (any, error) {
		s, err := asTexts(args)
		if err != nil {
			return nil, err
		}
		return f(s[0]), nil
	}}
}

// optional1 is a function of a text that gives a text or nil; it is not
// defined for lists and maps, which give nil too.
func optional1(f func(dst []byte, s string) ([]byte, bool)) function {
	return function{1, 1, false, func(args []any) (any, error) {
		s, ok := Text(args[0])
		if !ok {
			return nil, nil
		}
		out, ok := f(nil, s)
		if !ok {
			return nil, nil
		}
		return string(out), nil
	}}
}

func trim(args []any) (any, error) {
	s, err := asTexts(args)
	if err != nil {
		return nil, err
	}
	if len(args) == 2 {
		return strings.Trim(s[0], s[1]), nil
	}
	return strings.TrimSpace(s[0]), nil
}

func cutter(f func(s, cut string) string) func([]any) (any, error) {
	return func(args []any) (any, error) {
		s, err := asTexts(args)
		if err != nil {
			return nil, err
		}
		if len(args) == 1 {
			s[1] = " "
		}
		return f(s[0], s[1]), nil
	}
}

func splitter(f func(s, separator string, n int) []string) func([]any) (any, error) {
	return func(args []any) (any, error) {
		s, err := asTexts(args[:2])
		if err != nil {
			return nil, err
		}
		n := -1
		if len(args) == 3 {
			if n, err = whole("the third argument", args[2]); err != nil {
				return nil, err
			}
		}
		return normal(f(s[0], s[1], n)), nil
	}
}

func replace(args []any) (any, error) {
	s, err := asTexts(args[:3])
	if err != nil {
		return nil, err
	}
	n := -1
	if len(args) == 4 {
		if n, err = whole("the fourth argument", args[3]); err != nil {
			return nil, err
		}
	}
	if grown := len(s[2]) - len(s[1]); grown > 0 && len(s[0])+strings.Count(s[0], s[1])*grown > MaxText {
		return nil, ErrTooLong
	}
	return strings.Replace(s[0], s[1], s[2], n), nil
}

func repeat(args []any) (any, error) {
	s, err := asTexts(args[:1])
	if err != nil {
		return nil, err
	}
	n, err := whole("the second argument", args[1])
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, errors.New("the second argument is negative")
	}
	if n > MaxText || len(s[0])*n > MaxText {
		return nil, ErrTooLong
	}
	return strings.Repeat(s[0], n), nil
}

// join joins what is there: elements that are nil are left out.
func join(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	separator := ""
	if len(args) == 2 {
		if separator, ok = Text(args[1]); !ok {
			return nil, notText(args[1])
		}
	}
	var b strings.Builder
	some := false
	for _, v := range list {
		if v = normal(v); v == nil {
			continue
		}
		s, ok := Text(v)
		if !ok {
			return nil, notText(v)
		}
		if some {
			b.WriteString(separator)
		}
		some = true
		if b.Len()+len(s) > MaxText {
			return nil, ErrTooLong
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// indexer counts in characters, as len and [from:to] do.
func indexer(f func(s, part string) int) func([]any) (any, error) {
	return func(args []any) (any, error) {
		s, err := asTexts(args)
		if err != nil {
			return nil, err
		}
		at := f(s[0], s[1])
		if at < 0 {
			return -1, nil
		}
		return utf8.RuneCountInString(s[0][:at]), nil
	}
}

func fromBase64(args []any) (any, error) {
	s, err := asTexts(args)
	if err != nil {
		return nil, err
	}
	out, err := base64.StdEncoding.DecodeString(s[0])
	if err != nil || !utf8.Valid(out) {
		return nil, nil
	}
	return string(out), nil
}

// words joins the arguments that say something with one space.
func words(args []any) (any, error) {
	var b strings.Builder
	for _, v := range args {
		if v == nil {
			continue
		}
		s, ok := Text(v)
		if !ok {
			return nil, notText(v)
		}
		if s == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		if b.Len()+len(s) > MaxText {
			return nil, ErrTooLong
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

func port(args []any) (any, error) {
	s, ok := Text(args[0])
	if !ok {
		return nil, nil
	}
	if n, ok := Port(s); ok {
		return n, nil
	}
	return nil, nil
}

func timeOf(args []any) (any, error) {
	s, ok := Text(args[0])
	if !ok {
		return nil, nil
	}
	out, ok := AppendTime(nil, s)
	if !ok {
		return nil, nil
	}
	return string(out), nil
}

func fromJSON(args []any) (any, error) {
	s, ok := args[0].(string)
	if !ok {
		return args[0], nil // decoded already
	}
	v, ok := DecodeJSON(s)
	if !ok {
		return nil, nil
	}
	return v, nil
}

// toText is string(x): a list or a map becomes its compact JSON.
func toText(args []any) (any, error) {
	if s, ok := Text(args[0]); ok {
		return s, nil
	}
	return JSON(args[0])
}

// toInt is int(x): a number loses its fraction, a text is read as a number
// first; what is no number is nil. A whole number that no int holds stays as
// it is.
func toInt(args []any) (any, error) {
	v := args[0]
	if s, ok := v.(string); ok {
		if v = parseText(s); v == nil {
			return nil, nil
		}
	}
	switch n := v.(type) {
	case int:
		return n, nil
	case float64, Number:
		_, f, _, ok := number(n)
		switch {
		case !ok || math.IsNaN(f) || math.IsInf(f, 0):
			return nil, nil
		case math.Abs(f) < 1<<63:
			return int(f), nil
		}
		if n, ok := n.(Number); ok && strings.Trim(string(n), "-0123456789") == "" {
			return n, nil
		}
	}
	return nil, nil
}

// toFloat is float(x): a number as a floating-point one, a text read as a
// number first; what is no number is nil.
func toFloat(args []any) (any, error) {
	v := args[0]
	if s, ok := v.(string); ok {
		v = parseText(s)
	}
	_, f, _, ok := number(v)
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, nil
	}
	return f, nil
}

// parseText reads a number out of a text that holds nothing else.
func parseText(s string) any {
	s = strings.TrimSpace(s)
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return int(i)
	}
	if s == "" || strings.Trim(s, "+-.0123456789eE") != "" { // no Inf, NaN, hexadecimal, underscores
		return nil
	}
	if strings.Trim(s, "0123456789") == "" {
		return Number(strings.TrimLeft(s, "0"))
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil
	}
	return f
}

func typeOf(v any) string {
	switch v := normal(v).(type) {
	case string:
		return "string"
	case int:
		return "int"
	case float64, Number:
		return "float"
	case []any:
		return "array"
	default:
		return kind(v)
	}
}

func whole(what string, v any) (int, error) {
	if i, f, isWhole, ok := number(v); ok {
		if isWhole {
			return i, nil
		}
		if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int(f), nil
		}
	}
	return 0, fmt.Errorf("%s must be a whole number, not a %s", what, kind(v))
}

func notNumber(v any) error { return fmt.Errorf("a %s is not a number", kind(v)) }

func abs(args []any) (any, error) {
	i, f, isWhole, ok := number(args[0])
	switch {
	case !ok:
		return nil, notNumber(args[0])
	case isWhole && i >= 0:
		return i, nil
	case isWhole && i != math.MinInt:
		return -i, nil
	}
	return math.Abs(f), nil
}

func rounding(f func(float64) float64) function {
	return function{1, 1, false, func(args []any) (any, error) {
		i, x, isWhole, ok := number(args[0])
		switch {
		case !ok:
			return nil, notNumber(args[0])
		case isWhole:
			return i, nil
		}
		return f(x), nil
	}}
}

func bits(f func(x, y int) int) function {
	return function{2, 2, false, func(args []any) (any, error) {
		x, err := whole("the first argument", args[0])
		if err != nil {
			return nil, err
		}
		y, err := whole("the second argument", args[1])
		if err != nil {
			return nil, err
		}
		return f(x, y), nil
	}}
}

// spread are the numbers among the arguments and in the lists among them;
// nil is passed over.
func spread(args []any) ([]any, error) {
	var out []any
	for _, v := range args {
		if list, ok := v.([]any); ok {
			inner, err := spread(normals(list))
			if err != nil {
				return nil, err
			}
			out = append(out, inner...)
			continue
		}
		if v == nil {
			continue
		}
		if _, _, _, ok := number(v); !ok {
			return nil, notNumber(v)
		}
		out = append(out, v)
	}
	return out, nil
}

func normals(list []any) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = normal(v)
	}
	return out
}

func extreme(sign int) func([]any) (any, error) {
	return func(args []any) (any, error) {
		list, err := spread(args)
		if err != nil || len(list) == 0 {
			return nil, err
		}
		best := list[0]
		for _, v := range list[1:] {
			if c, ok := compareNumbers(v, best); ok && c*sign > 0 {
				best = v
			}
		}
		return best, nil
	}
}

func floats(args []any) ([]float64, error) {
	list, err := spread(args)
	out := make([]float64, len(list))
	for i, v := range list {
		_, out[i], _, _ = number(v)
	}
	return out, err
}

func mean(args []any) (any, error) {
	list, err := floats(args)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	var sum float64
	for _, f := range list {
		sum += f
	}
	return sum / float64(len(list)), nil
}

func median(args []any) (any, error) {
	list, err := floats(args)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	sort.Float64s(list)
	middle := len(list) / 2
	if len(list)%2 == 1 {
		return list[middle], nil
	}
	return (list[middle-1] + list[middle]) / 2, nil
}

func notList(v any) error { return fmt.Errorf("a %s is not a list", kind(v)) }
func notMap(v any) error  { return fmt.Errorf("a %s is not a map", kind(v)) }

// length counts characters of a text, elements of a list, members of a map.
func length(args []any) (any, error) {
	switch v := args[0].(type) {
	case []any:
		return len(v), nil
	case map[string]any:
		return len(v), nil
	}
	s, ok := Text(args[0])
	if !ok {
		return nil, notText(args[0])
	}
	return utf8.RuneCountInString(s), nil
}

func take(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	n, err := whole("the second argument", args[1])
	if err != nil {
		return nil, err
	}
	return list[:min(max(n, 0), len(list))], nil
}

// names are the keys of a map in order, so that a result is the same on every
// run.
func names(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func keys(args []any) (any, error) {
	m, ok := args[0].(map[string]any)
	if !ok {
		return nil, notMap(args[0])
	}
	return normal(names(m)), nil
}

func values(args []any) (any, error) {
	m, ok := args[0].(map[string]any)
	if !ok {
		return nil, notMap(args[0])
	}
	out := make([]any, 0, len(m))
	for _, name := range names(m) {
		out = append(out, m[name])
	}
	return out, nil
}

func toPairs(args []any) (any, error) {
	m, ok := args[0].(map[string]any)
	if !ok {
		return nil, notMap(args[0])
	}
	out := make([]any, 0, len(m))
	for _, name := range names(m) {
		out = append(out, []any{name, m[name]})
	}
	return out, nil
}

func fromPairs(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	m := make(map[string]any, len(list))
	for _, v := range list {
		pair, ok := normal(v).([]any)
		if !ok || len(pair) != 2 {
			return nil, errors.New("every element must be a pair [name, value]")
		}
		name, ok := Text(pair[0])
		if !ok {
			return nil, notText(pair[0])
		}
		m[name] = pair[1]
	}
	return m, nil
}

func reverse(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	out := slices.Clone(list)
	slices.Reverse(out)
	return out, nil
}

func uniq(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	out := make([]any, 0, len(list))
	texts := make(map[string]bool)
	for _, v := range list {
		if s, ok := v.(string); ok {
			if texts[s] {
				continue
			}
			texts[s] = true
		} else if In(v, out) {
			continue
		}
		out = append(out, v)
	}
	return out, nil
}

// concat joins lists; a nil adds nothing and any other value itself.
func concat(args []any) (any, error) {
	out := []any{}
	for _, v := range args {
		switch v := v.(type) {
		case nil:
		case []any:
			out = append(out, v...)
		default:
			out = append(out, v)
		}
	}
	return out, nil
}

func flatten(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	out := []any{}
	for _, v := range list {
		if inner, ok := normal(v).([]any); ok {
			flat, err := flatten([]any{inner})
			if err != nil {
				return nil, err
			}
			out = append(out, flat.([]any)...)
		} else {
			out = append(out, v)
		}
	}
	return out, nil
}

func sortList(args []any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, notList(args[0])
	}
	sign := 1
	if len(args) == 2 {
		switch args[1] {
		case "asc":
		case "desc":
			sign = -1
		default:
			return nil, errors.New(`the order must be "asc" or "desc"`)
		}
	}
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b any) int {
		c, _ := Compare(a, b)
		return c * sign
	})
	return out, nil
}

// date is a time to compute with, where time(x) gives one as text. With a
// second argument it reads a Go time layout.
func date(args []any) (any, error) {
	if t, ok := args[0].(time.Time); ok {
		return t, nil
	}
	s, err := asTexts(args)
	if err != nil {
		return nil, err
	}
	layout := time.RFC3339Nano
	if len(args) == 2 {
		layout = s[1]
	} else if out, ok := AppendTime(nil, s[0]); ok {
		s[0] = string(out)
	}
	t, err := time.Parse(layout, s[0])
	if err != nil {
		return nil, nil
	}
	return t.UTC(), nil
}

func duration(args []any) (any, error) {
	if d, ok := args[0].(time.Duration); ok {
		return d, nil
	}
	s, err := asTexts(args)
	if err != nil {
		return nil, err
	}
	d, err := time.ParseDuration(s[0])
	if err != nil {
		return nil, nil
	}
	return d, nil
}
