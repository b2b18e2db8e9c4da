package expression

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
)

var environment = map[string]any{
	"text": "Alice@Contoso.com", "empty": "", "n": 42, "f": 1.5, "big": Number("123456789012345678901234567890"), "yes": true, "no": false,
	"list": []any{"a", "b", 3, nil}, "map": map[string]any{"a": 1, "b": map[string]any{"c": "d"}}, "items": []any{map[string]any{"k": "x", "v": 1}, map[string]any{"k": "y"}},
	"json": `{"a":[1,2,{"b":"c"}],"n":12345678901234567890}`, "rfc": "2026-03-01T10:00:00", "umlaut": "Grüße (x)",
}

var constants = map[string]any{"tables": map[string]any{"codes": map[string]any{"0": "success", "50053": "locked"}, "empty": map[string]any{}}}

// TestSemantics states what the language does with absent, mixed and odd data.
func TestSemantics(t *testing.T) {
	t.Parallel()
	tests := []struct {
		source string
		want   any
	}{
		// nil
		{`missing`, nil},
		{`lower(missing)`, nil},
		{`upper(missing) ?? "none"`, "none"},
		{`trim(missing)`, nil}, {`trimPrefix(missing, "a")`, nil}, {`split(missing, "@")`, nil}, {`split(missing, "@")[1]`, nil},
		{`replace(text, "A", missing)`, nil}, {`replace(missing, "a", "b")`, nil}, {`repeat(missing, 2)`, nil}, {`indexOf(missing, "a")`, nil},
		{`join(missing, ",")`, nil}, {`len(missing)`, nil}, {`string(missing)`, nil}, {`int(missing)`, nil}, {`float(missing)`, nil},
		{`time(missing)`, nil}, {`ip(missing)`, nil}, {`port(missing)`, nil}, {`kebab(missing)`, nil}, {`domain(missing)`, nil}, {`json(missing)`, nil},
		{`first(missing)`, nil}, {`last(missing)`, nil}, {`keys(missing)`, nil}, {`get(missing, "a")`, nil}, {`toJSON(missing)`, nil},
		{`filter(missing, # == 1)`, nil}, {`map(missing, #)`, nil}, {`any(missing, # == 1)`, nil}, {`count(missing)`, nil}, {`sum(missing)`, nil},
		{`find(missing, # == 1)`, nil}, {`any(missing, true) ? "a" : "b"`, "b"},
		{`missing.a.b[0].c`, nil}, {`missing[0]`, nil}, {`missing?.a`, nil}, {`missing[1:2]`, nil}, {`-missing`, nil}, {`missing..3`, nil},
		{`missing == nil`, true}, {`missing != nil`, false}, {`text == nil`, false}, {`text != nil`, true}, {`missing == ""`, false}, {`missing != "a"`, true},
		{`missing < 1`, false}, {`missing >= 1`, false}, {`missing < "a"`, false}, {`missing > missing`, false},
		{`missing in ["", "b"]`, false}, {`missing in [nil]`, true}, {`missing not in ["a"]`, true}, {`"a" in missing`, false},
		{`missing contains "a"`, false}, {`"a" contains missing`, false}, {`missing matches "a"`, false}, {`missing matches missing`, false},
		{`missing startsWith "a"`, false}, {`missing endsWith "a"`, false}, {`not (missing contains "a")`, true},
		{`missing ? 1 : 2`, 2}, {`not missing`, true}, {`missing && true`, false}, {`true && missing`, false}, {`missing || true`, true}, {`missing || missing`, false},
		{`missing + "a"`, nil}, {`"a" + missing`, nil}, {`missing + 1`, nil}, {`missing - 1`, nil}, {`2 * missing`, nil}, {`missing / 2`, nil}, {`missing % 2`, nil}, {`missing ** 2`, nil},
		{`missing ?? "a"`, "a"}, {`missing ?? missing ?? n`, 42}, {`empty ?? "a"`, ""}, {`missing ?: "b"`, "b"},
		// across types
		{`n == "42"`, false}, {`"42" == n`, false}, {`n != "42"`, true}, {`yes == "true"`, false}, {`yes == 1`, false}, {`n < "5"`, false}, {`"a" < 1`, false}, {`yes < no`, false},
		{`n in ["42"]`, false}, {`"42" in [42]`, false}, {`n in [1, 42.0]`, true}, {`yes in [true]`, true}, {`yes in ["true"]`, false},
		{`list == text`, false}, {`list == ["a", "b", 3, nil]`, true}, {`map == {"a": 1, "b": {"c": "d"}}`, true}, {`list contains "a"`, false},
		{`f == 1.5`, true}, {`n == 42.0`, true}, {`f < n`, true}, {`big > n`, true}, {`big == big`, true}, {`text < "B"`, true}, {`1 < n < 50`, true}, {`1 < missing < 50`, false},
		// numbers as text
		{`lower(n)`, "42"}, {`string(n)`, "42"}, {`string(f)`, "1.5"}, {`string(big)`, "123456789012345678901234567890"}, {`big`, Number("123456789012345678901234567890")},
		{`"id-" + n`, "id-42"}, {`n + "-id"`, "42-id"}, {`"id-" + big`, "id-123456789012345678901234567890"}, {`"is " + yes`, "is true"}, {`string(yes)`, "true"},
		{`n contains "2"`, true}, {`n startsWith "4"`, true}, {`n endsWith 2`, true}, {`n matches "^[0-9]+$"`, true}, {`"a42" contains n`, true}, {`split(n, "4")[1]`, "2"},
		{`words("a", n, missing, "", "b")`, "a 42 b"}, {`words()`, ""}, {`words(missing)`, ""}, {`tables.codes[0]`, "success"}, {`tables.codes[50053]`, "locked"},
		{`n in tables.codes`, false}, {`50053 in tables.codes`, true}, {`len(n)`, 2}, {`replace(n, 4, "x")`, "x2"},
		// arithmetic
		{`n + 1`, 43}, {`n - f`, 40.5}, {`n * 2`, 84}, {`n / 4`, 10.5}, {`n % 5`, 2}, {`2 ** 3`, 8.0}, {`-n`, -42}, {`9223372036854775807 + 1`, 9223372036854775808.0}, {`+n`, 42},
		{`int("17")`, 17}, {`int(" 17 ")`, 17}, {`int("1.9")`, 1}, {`int(1.9)`, 1}, {`int("x")`, nil}, {`int("")`, nil}, {`int("0x1f")`, nil}, {`int("1_000")`, nil}, {`int(yes)`, nil}, {`int(big)`, Number("123456789012345678901234567890")},
		{`int("123456789012345678901")`, Number("123456789012345678901")}, {`float("1.5")`, 1.5}, {`float("1e3")`, 1000.0}, {`float("x")`, nil}, {`float("inf")`, nil}, {`float(n)`, 42.0}, {`int("5") < 6`, true},
		{`abs(-3)`, 3}, {`round(1.5)`, 2.0}, {`ceil(1.2)`, 2.0}, {`floor(1.8)`, 1.0}, {`max(1, 2.5, missing)`, 2.5}, {`min([3, 1])`, 1}, {`mean([1, 2])`, 1.5}, {`median([1, 5, 9])`, 5.0}, {`sum([1, 2.5, nil])`, 3.5}, {`bitand(6, 3)`, 2},
		{`bitshl(1, 4)`, 16},
		// lookups
		{`tables.codes["0"]`, "success"}, {`tables.codes["nope"]`, nil}, {`tables.codes[missing]`, nil}, {`tables.codes[missing] ?? "failure"`, "failure"}, {`tables["codes"]["0"]`, "success"}, {`tables.empty.x`, nil},
		{`{"a": 1}[text]`, nil}, {`{"Alice@Contoso.com": "found"}[text]`, "found"}, {`map.b.c`, "d"}, {`map.x.y.z`, nil}, {`map["a"]`, 1}, {`list[0]`, "a"}, {`list[-1]`, nil}, {`list[-2]`, 3}, {`list[9]`, nil}, {`list["a"]`, nil},
		{`text[0]`, "A"}, {`text[99]`, nil}, {`text[0:5]`, "Alice"}, {`text[-3:]`, "com"}, {`text[:99]`, "Alice@Contoso.com"}, {`list[1:2]`, []any{"b"}}, {`n[0]`, nil}, {`text.a`, nil},
		{`umlaut[2:4]`, "üß"}, {`len(umlaut)`, 9}, {`umlaut[indexOf(umlaut, "(") + 1:-1]`, "x"}, {`lastIndexOf(umlaut, "e")`, 4}, {`indexOf(text, "zz")`, -1},
		// text
		{`lower(text)`, "alice@contoso.com"}, {`upper(text)`, "ALICE@CONTOSO.COM"}, {`split(text, "@")[1]`, "Contoso.com"}, {`split(text, "@")[5]`, nil}, {`split("a,b,c", ",", 2)`, []any{"a", "b,c"}},
		{`trim("  x ")`, "x"}, {`trim("xxaxx", "x")`, "a"}, {`trimPrefix("foobar", "foo")`, "bar"}, {`trimSuffix("a.b", ".b")`, "a"}, {`replace("aXbX", "X", "-")`, "a-b-"}, {`replace("aXbX", "X", "-", 1)`, "a-bX"},
		{`repeat("ab", 2)`, "abab"}, {`join(["a", 1, nil, true], "-")`, "a-1-true"}, {`hasPrefix(text, "Alice")`, true}, {`hasSuffix(text, "com")`, true}, {`text matches "^alice"`, false}, {`text matches "(?i)^alice"`, true},
		{`text matches "^" + "Al"`, true}, {`toBase64("hi")`, "aGk="}, {`fromBase64("aGk=")`, "hi"}, {`fromBase64("%%")`, nil}, {`text | lower() | split("@") | first()`, "alice"},
		// functions of the domain
		{`kebab("Add member to role.")`, "add-member-to-role"}, {`domain(text)`, "contoso.com"}, {`ip("1.2.3.4:55")`, "1.2.3.4"}, {`port("1.2.3.4:55")`, 55}, {`time(rfc)`, "2026-03-01T10:00:00Z"},
		{`json(json).a[2].b`, "c"}, {`json(json).n`, Number("12345678901234567890")}, {`json("{")`, nil}, {`json(json).a[9].b`, nil}, {`json("[1,2]")[0]`, 1}, {`fromJSON("3")`, 3}, {`toJSON(map)`, `{"a":1,"b":{"c":"d"}}`}, {`string(list)`, `["a","b",3,null]`},
		{`ip(list)`, nil}, {`kebab(map)`, nil}, {`time(yes)`, nil}, {`json("1 2")`, nil},
		// loops
		{`filter(items, .v == 1)[0].k`, "x"}, {`map(items, .k)`, []any{"x", "y"}}, {`join(map(items, .v), ",")`, "1"}, {`any(items, .k == "y")`, true}, {`all(items, .v == 1)`, false}, {`none(items, .k == "z")`, true}, {`one(items, .v != nil)`, true},
		{`find(items, .k == "y").k`, "y"}, {`find(items, .k == "z")`, nil}, {`findIndex(items, .k == "y")`, 1}, {`count(items, .v == 1)`, 1}, {`count([true, false])`, 1}, {`sum(items, .v)`, 1}, {`sortBy(items, .k, "desc")[0].k`, "y"},
		{`groupBy(items, .k).x[0].v`, 1}, {`reduce([1, 2, 3], #acc + #)`, 6}, {`reduce(list, #acc + "-" + (# ?? "?"), "")`, "-a-b-3-?"}, {`map(1..3, # * 2)`, []any{2, 4, 6}}, {`find(items, let k = .k; k == "y")?.k`, "y"},
		{`findLast(list, # == "a")`, "a"}, {`findLastIndex(list, # in ["a", "b"])`, 1}, {`find([trim(find(items, .k == "n").v), findLast(items, lower(.k ?? .K) == "y").k], # not in [nil, ""])`, "y"},
		{`len(filter(items, any(list, # == 3)))`, 2}, {`map(items, .missing.deep)`, []any{nil, nil}},
		// lists and maps
		{`first(list)`, "a"}, {`last(["x", "y"])`, "y"}, {`take(list, 1)`, []any{"a"}}, {`keys(map)`, []any{"a", "b"}}, {`values({"b": 2, "a": 1})`, []any{1, 2}}, {`toPairs({"a": 1})`, []any{[]any{"a", 1}}}, {`fromPairs([["a", 1]])`, map[string]any{"a": 1}},
		{`reverse([1, 2])`, []any{2, 1}}, {`uniq(["a", "a", 1, 1.0])`, []any{"a", 1}}, {`concat([1], missing, [2], 3)`, []any{1, 2, 3}}, {`flatten([1, [2, [3]]])`, []any{1, 2, 3}}, {`sort([3, 1, 2])`, []any{1, 2, 3}}, {`sort(["b", "a"], "desc")`, []any{"b", "a"}},
		{`type(n)`, "int"}, {`type(big)`, "float"}, {`type(missing)`, "nil"}, {`type(list)`, "array"}, {`type(map)`, "map"}, {`type(text)`, "string"},
		// variables and conditions
		{`let x = lower(text); x + x`, "alice@contoso.comalice@contoso.com"}, {`if yes { 1 } else { 2 }`, 1}, {`yes and not no ? "a" : "b"`, "a"}, {`{"a": n, "b": [text]}`, map[string]any{"a": 42, "b": []any{"Alice@Contoso.com"}}},
		{`date("2026-03-01T00:00:00Z") < date("2026-03-02")`, true}, {`string(date("2026-03-01") + duration("1h"))`, "2026-03-01T01:00:00Z"}, {`string(date("2026-03-02") - date("2026-03-01"))`, "24h0m0s"}, {`date("x")`, nil}, {`duration("x")`, nil},
	}
	for _, test := range tests {
		p, err := Compile(test.source, Options{Constants: constants})
		if err != nil {
			t.Errorf("%s: %v", test.source, err)
			continue
		}
		got, err := p.Eval(environment)
		if err != nil {
			t.Errorf("%s: %v", test.source, err)
		} else if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s = %#v, want %#v", test.source, got, test.want)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	options := Options{
		Allowed:   func(name string) bool { return strings.HasPrefix(name, "event_") || name == "user_name" },
		Expected:  "a name that begins with event_",
		Names:     []string{"user_name"},
		Constants: constants,
	}
	tests := []struct {
		source, message string
		offset, length  int
	}{
		{"", "the expression is empty", 0, 0},
		{"  ", "the expression is empty", 0, 0},
		{"usr_name", "unknown name usr_name; did you mean user_name?", 0, 8},
		{`event_a + user_nmae`, "unknown name user_nmae; did you mean user_name?", 10, 9},
		{`"ä" + zebra`, "unknown name zebra; expected a name that begins with event_", 6, 5},
		{`lowr(event_a)`, "unknown function lowr; did you mean lower?", 0, 4},
		{`frobnicate(event_a)`, "unknown function frobnicate", 0, 10},
		{`lower == "x"`, "lower is a function: write lower(…)", 0, 5},
		{`lower()`, "lower takes 1 argument, not 0", 0, 5},
		{`replace(event_a, "b")`, "replace takes 3 to 4 arguments, not 2", 0, 7},
		{`max()`, "max takes at least 1 arguments, not 0", 0, 3},
		{`tables.cods["1"]`, "tables has no cods; did you mean codes?", 7, 4},
		{`tables.zzz["1"]`, "tables has no zzz; it has codes, empty", 7, 3},
		{`tabels.codes["1"]`, "unknown name tabels; did you mean tables?", 0, 6},
		{`event_a.trim()`, "values have no methods; call a function instead, as in lower(x)", 8, 4},
		{`$env["event_a"]`, "unknown name $env; expected a name that begins with event_", 0, 4},
		{`event_a matches "("`, "error parsing regexp: missing closing ): `(`", 16, 3},
		{`event_a ==`, "the expression ends where something is still missing", 9, 1},
		{`event_a @ 1`, "unrecognized character: U+0040 '@'", 8, 1},
		{`(event_a`, "the expression ends where something is still missing", 7, 1},
		{`event_a ]`, "unexpected ]", 8, 1},
		{`event_a ?? 1 + 2 == 3`, "?? and other operators need parentheses to say which comes first: (a ?? b) + c", 13, 1},
		{`any(event_a, any(#, any(#, any(#, true))))`, "any is the fourth loop within another; three are allowed", 27, 3},
		{`let x = 1; y`, "unknown name y; did you mean x?", 11, 1},
		{`now(1)`, "now takes 0 arguments, not 1", 0, 3},
		{strings.Repeat("1+", maxNodes) + "1", "the expression has more than 2000 parts: split it over several fields", 0, 0},
	}
	for _, test := range tests {
		_, err := Compile(test.source, options)
		var at *Error
		if !errors.As(err, &at) {
			t.Errorf("%s: %v, want an *Error", test.source, err)
			continue
		}
		if len(test.source) > 1000 {
			if at.Message != test.message {
				t.Errorf("long expression: %s", at.Message)
			}
			continue
		}
		if at.Message != test.message || at.Offset != test.offset || at.Length != test.length {
			t.Errorf("%s\n got %d+%d %s\nwant %d+%d %s", test.source, at.Offset, at.Length, at.Message, test.offset, test.length, test.message)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	tests := []struct{ source, message string }{
		{`lower(list)`, "lower: a list is not text"},
		{`split(map, ",")`, "split: a map is not text"},
		{`filter(text, true)`, "a text is not a list"},
		{`text - 1`, "- needs two numbers, not a text and a number"},
		{`list + text`, "a list and a text cannot be added"},
		{`n / 0`, "division by zero"},
		{`n % 0`, "division by zero"},
		{`f % 2`, "% needs whole numbers"},
		{`text ? 1 : 2`, "a text is neither true nor false"},
		{`not n`, "a number is neither true nor false"},
		{`text && true`, "a text is neither true nor false"},
		{`-text`, "- needs a number, not a text"},
		{`text matches umlaut + "("`, "matches: error parsing regexp: missing closing ): `Grüße (x)(`"},
		{`repeat(text, -1)`, "repeat: the second argument is negative"},
		{`repeat("abcdefgh", 100000000)`, "repeat: the texts that it builds grow over 16 MiB"},
		{`reduce(1..40, #acc + #acc, "x")`, "the texts that it builds grow over 16 MiB"},
		{`count(1..2000, any(1..2000, # == 0))`, "the expression takes more than 100000 steps on this data"},
		{`1..1000000`, ".. of more than 100000 numbers"},
		{`9223372036854775807 ** 99`, "the result of ** is not a number"},
		{`sort(list, "up")`, `sort: the order must be "asc" or "desc"`},
		{`sum(["a"])`, "a text is not a number"},
		{`len(reduce(1..26, concat(#acc, #acc), list))`, "the lists that it builds grow over 262144 elements"},
		{`len(map(1..100000, repeat("x", 1000) + #))`, "the texts that it builds grow over 16 MiB"},
	}
	for _, test := range tests {
		p, err := Compile(test.source, Options{})
		if err != nil {
			t.Errorf("%s: %v", test.source, err)
			continue
		}
		if v, err := p.Eval(environment); err == nil || err.Error() != test.message {
			t.Errorf("%s = %v, %v, want %s", test.source, v, err, test.message)
		}
	}
}

func TestBool(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		source string
		want   bool
		err    string
	}{
		{`n == 42`, true, ""}, {`missing`, false, ""}, {`no`, false, ""},
		{`text`, false, "text gives a text, not true or false"},
		{`lower(list)`, false, "lower: a list is not text"},
	} {
		p, err := Compile(test.source, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Bool(environment)
		if message := fmt.Sprint(err); got != test.want || (test.err == "") != (err == nil) || err != nil && message != test.err {
			t.Errorf("%s = %v, %v", test.source, got, err)
		}
	}
}

// TestOtherTypes evaluates over what callers decode in other ways: settings,
// bodies of answers.
func TestOtherTypes(t *testing.T) {
	t.Parallel()
	type level int
	env := map[string]any{"status": 403, "wide": int64(7), "decoded": 200.0, "raw": json.Number("12345678901234567890"), "names": []string{"a", "b"}, "headers": map[string]string{"X": "1"}, "level": level(3), "body": map[string]any{"error": map[string]any{"code": "AF20024"}}}
	for source, want := range map[string]any{
		`status == 403 && body.error.code == "AF20024"`: true,
		`status in [400, 403]`:                          true,
		`wide == 7`:                                     true,
		`decoded == 200`:                                true,
		`string(decoded)`:                               "200",
		`string(raw)`:                                   "12345678901234567890",
		`"a" in names`:                                  true,
		`join(names, "+")`:                              "a+b",
		`map(names, upper(#))`:                          []any{"A", "B"},
		`headers.X`:                                     "1",
		`headers["Y"] ?? "none"`:                        "none",
		`level + 1`:                                     4,
		`body.error.missing.deeper`:                     nil,
		`names`:                                         []any{"a", "b"},
	} {
		p, err := Compile(source, Options{})
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		if got, err := p.Eval(env); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %#v, %v, want %#v", source, got, err, want)
		}
	}
}

// TestConcurrentUse compiles and runs from several goroutines, for the race
// detector.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	shared, err := Compile(`map(items, lower(.k)) == ["x", "y"] && text matches "^A" && tables.codes["0"] == "success"`, Options{Constants: constants})
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 50 {
				own, err := Compile(`lower(text) + string(n)`, Options{})
				if err != nil {
					t.Error(err)
					return
				}
				if v, err := own.Eval(environment); v != "alice@contoso.com42" || err != nil {
					t.Error(v, err)
				}
				if ok, err := shared.Bool(environment); !ok || err != nil {
					t.Error(ok, err)
				}
			}
		})
	}
	wait.Wait()
}

func TestNames(t *testing.T) {
	t.Parallel()
	p, err := Compile(`let x = event_ä; lower(x) + event_b + tables.codes[event_b] + join(map(event_c, # + event_d), "")`, Options{Constants: constants})
	if err != nil {
		t.Fatal(err)
	}
	want := []Name{{"event_ä", 8, 7, false}, {"event_b", 28, 7, false}, {"event_b", 51, 7, false}, {"event_c", 71, 7, false}, {"event_d", 84, 7, false}}
	if got := p.Names(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	p, err := Compile(`json(text)`, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]any{
		`{"a":[1,1.50,12345678901234567890]}`: map[string]any{"a": []any{1, Number("1.50"), Number("12345678901234567890")}},
		` null `:                              nil,
		`"\ud800"`:                            "\ufffd",
		`{"a":1,"a":2}`:                       map[string]any{"a": 2},
		``:                                    nil, `{`: nil, `1 2`: nil, `nope`: nil, `[1,]`: nil, `{"a"}`: nil, `[1`: nil, `{"a":1,}`: nil,
	} {
		if got, err := p.Eval(map[string]any{"text": text}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %#v, %v", text, got, err)
		}
	}
}

func TestAppendJSON(t *testing.T) {
	t.Parallel()
	m := NewUnit(Options{}).NewMachine(nil)
	for _, test := range []struct {
		v    any
		want string
	}{
		{"tab\t\"q\" \\ \x00 é \u2028 \xff", `"tab\t\"q\" \\ \u0000 é ` + "\u2028 \ufffd" + `"`}, {1e21, "1e+21"}, {1e-7, "1e-7"}, {100000.0, "100000"}, {Number("1.50"), "1.50"},
		{map[string]any{"b": nil, "a": []any{true, "x"}}, `{"a":[true,"x"],"b":null}`}, {[]string{"a"}, `["a"]`},
	} {
		if got, err := m.AppendJSON(nil, m.keep(test.v)); err != nil || string(got) != test.want {
			t.Errorf("%#v = %s, %v, want %s", test.v, got, err, test.want)
		}
	}
	if _, err := m.AppendJSON(nil, float(math.Inf(1))); err == nil {
		t.Error("an infinite number was written as JSON")
	}
}

// TestScratch states that a loop computes what does not depend on its element
// once: an escaped text is unescaped once for a record, JSON is decoded once.
func TestScratch(t *testing.T) {
	t.Parallel()
	escaped := []byte(strings.Repeat(`a\n`, 24<<10))
	list := []byte(`[{\"k\":\"` + strings.Repeat(`a\\n`, 100) + `\"}]`)
	for _, source := range []string{
		`count(1..50000, event_text contains "b")`,
		`count(1..50000, lower(event_text) contains "B")`,
		`count(1..50000, any(json(event_list), .k contains "b"))`,
	} {
		u := NewUnit(Options{})
		p, err := u.Parse(source)
		if err != nil {
			t.Fatal(err)
		}
		u.Link()
		m := u.NewMachine(nil)
		for name, raw := range map[string][]byte{"event_text": escaped, "event_list": list} {
			if i, ok := u.Slot(name); ok {
				m.SetText(i, raw, true)
			}
		}
		if v, err := p.Value(m); err != nil || m.give(v) != 0 {
			t.Errorf("%s = %v, %v", source, m.give(v), err)
		}
		if size := cap(m.arena); size > 512<<10 {
			t.Errorf("%s took %d bytes of texts", source, size)
		}
	}
}
