package expression_test

import (
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/expr-lang/expr/vm"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file lists the reference's functions.

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
	"kebab":       optional1(expression.AppendKebab),
	"domain":      optional1(expression.AppendDomain),
	"ip":          optional1(expression.AppendIP),
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

func notList(v any) error { return fmt.Errorf("a %s is not a list", kind(v)) }

func notMap(v any) error { return fmt.Errorf("a %s is not a map", kind(v)) }

// reference runs expressions in expr's own machine.
type reference struct {
	program *vm.Program
	names   []expression.Name
}
