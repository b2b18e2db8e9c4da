package expression

import (
	"reflect"
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
