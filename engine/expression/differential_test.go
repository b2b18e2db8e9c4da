package expression_test

import (
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// generator makes expressions out of random bytes.
type generator struct {
	data  []byte
	depth int
	vars  int
	loops int
}

func (g *generator) next(n int) int {
	if len(g.data) == 0 {
		return 0
	}
	b := g.data[0]
	g.data = g.data[1:]
	return int(b) % n
}

func (g *generator) pick(of ...string) string { return of[g.next(len(of))] }

func (g *generator) leaf() string {
	switch g.next(8) {
	case 0, 1, 2:
		return g.pick("event_s", "event_n", "event_t", "event_missing", "event_esc", "event_big", "event_f", "event_list", "event_json", "event_mail", "event_ip", "event_time", "event_digits", "event_float", "event_neg", "event_empty", "event_o_k", "event_uni")
	case 3:
		return g.pick("other", "third")
	case 4, 5:
		return g.pick(`"a"`, `""`, `"@"`, `"A"`, `"7"`, `"x y"`, `"0"`, `"\"q\\"`, `"é"`, `","`, `"true"`, `"a@b.c"`, `"1.2.3.4"`)
	case 6:
		return g.pick("0", "1", "7", "-1", "2.5", "300", "12345678901", "42.0")
	}
	if g.loops > 0 {
		return g.pick("#", ".k", ".v", ".n.z", "#.a")
	}
	if g.vars > 0 {
		return "v" + strconv.Itoa(g.next(g.vars))
	}
	return g.pick("nil", "true", "false", `["a", 7, nil, true, "A"]`, `{"a": 1, "7": "seven"}`, "tables.t", "[]")
}

func (g *generator) expression() string {
	if g.depth > 5 || len(g.data) == 0 {
		return g.leaf()
	}
	g.depth++
	defer func() { g.depth-- }()
	e := g.expression
	switch g.next(28) {
	case 0:
		return g.leaf()
	case 1:
		return g.pick("lower", "upper", "trim", "string", "int", "float", "len", "time", "ip", "port", "kebab", "domain", "json", "first", "last", "type", "toJSON", "abs", "keys") + "(" + e() + ")"
	case 2:
		return g.pick("trimPrefix", "trimSuffix", "hasPrefix", "hasSuffix", "split", "indexOf", "trim", "get", "join", "concat", "max", "repeat") + "(" + e() + ", " + e() + ")"
	case 3:
		return "words(" + e() + ", " + e() + ", " + e() + ")"
	case 4:
		return "words(" + strings.Repeat(e()+", ", 1+g.next(12)) + e() + ")"
	case 5:
		return "(" + e() + g.pick(" == ", " != ", " < ", " <= ", " > ", " >= ") + e() + ")"
	case 6:
		return "(" + e() + g.pick(" contains ", " startsWith ", " endsWith ", " in ", " not in ") + e() + ")"
	case 7:
		return "(" + e() + ` in ["a", "A", "7", "x y", "", "é", "q", "z", "zz"])`
	case 8:
		return "(" + e() + ` in [7, 300, "a", 2.5])`
	case 9:
		return "(" + e() + ` in [7, 0])`
	case 10:
		return "(" + e() + " matches " + g.pick(`"^a"`, `"(?i)A"`, `"[0-9]+"`, e()) + ")"
	case 11:
		return "(" + e() + g.pick(" and ", " or ", " && ", " || ") + e() + ")"
	case 12:
		return "(" + g.pick("not ", "!", "-", "+") + "(" + e() + "))"
	case 13:
		return "(" + e() + " ? " + e() + " : " + e() + ")"
	case 14:
		return "((" + e() + ") ?? (" + e() + "))"
	case 15:
		return "(" + e() + g.pick(" + ", " + ", " + ", " - ", " * ", " / ", " % ") + e() + ")"
	case 16:
		return "(" + e() + " + " + g.pick(`"a"`, e()) + " + " + e() + " + " + e() + ")"
	case 17:
		return "tables." + g.pick("t", "t", "n") + "[" + e() + "]"
	case 18:
		return "split(" + e() + ", " + g.pick(`"@"`, `","`, `"a"`, `"aa"`, e()) + ")[" + g.pick("0", "1", "-1", "-2", "5", e()) + "]"
	case 19:
		return "(" + e() + ")" + g.pick("[0]", "[-1]", ".a", `["a"]`, "[1:2]", "[:1]", "[-2:]", "?.a?.b", "[0:"+e()+"]")
	case 20:
		value := e()
		name := "v" + strconv.Itoa(g.vars)
		g.vars++
		body := e()
		g.vars--
		return "(let " + name + " = " + value + "; " + body + ")"
	}
	body := func() string {
		g.loops++
		defer func() { g.loops-- }()
		return g.expression()
	}
	list := func() string {
		return g.pick("json(event_items)", "json(event_list)", "json(event_json).a", "json(event_o_k)", "["+e()+", "+e()+"]", "json(event_spaced)", "#", ".n.z", e())
	}
	switch g.next(8) {
	case 0:
		return g.pick("map", "filter", "find", "any", "all", "none", "count", "one", "findIndex", "sum", "groupBy", "sortBy") + "(" + list() + ", " + body() + ")"
	case 1:
		return "map(" + list() + ", " + body() + ")"
	case 2:
		return "find(" + list() + ", " + g.pick(`.k == "a"`, `.v == 1`, `string(.v) == "1"`, body()) + ")" + g.pick("", ".v", ".n", ".n.z[0]", ".k")
	case 3:
		return "join(" + list() + ", " + g.pick(`", "`, e()) + ")"
	case 4:
		return g.pick("flatten", "uniq", "len", "first", "last", "string", "reverse", "join") + "(" + list() + ")"
	case 5:
		return list() + g.pick("[0]", "[1].k", "[-1]", "[5]", ".k", `["k"]`, "[0].n.z[1]", "[0].n")
	case 6:
		return "join(map(filter(" + list() + ", " + body() + "), " + body() + `), "; ")`
	}
	return g.pick("replace("+e()+", "+g.pick(`"a"`, e())+", "+e()+")", "["+e()+", "+e()+"]", "map("+e()+", # == "+e()+")", "filter(["+e()+", 1], # != nil)", "count(["+e()+"], # contains \"a\")")
}

var differentialRecords = []string{
	`{"items":[{"k":"a","v":1,"n":{"z":[1,"two",[3]]}},{"k":"b\u0022","v":"1","k2":null,"k":"dup"},{"v":null},7,"x",null,[1,2]],"spaced":[ 1 , { "k" : "a" , "v" : [ ] } ],"list":[[1,[2,"a"]],"a","a",1.0,1],"s":"Aa","n":2}`,
	`{"items":"[{\"k\":\"a\",\"v\":1,\"n\":{\"z\":[]}}]","spaced":" [1 , 2] ","list":"[1,","json":"{\"a\":[{\"k\":\"x\"}]}","o":{"k":"[\"p\",\"q\"]"}}`,
	`{"s":"aXb a","n":7,"t":true,"esc":"q\"u\\o\u00e9","big":12345678901234567890123,"f":2.5,"list":["a",1, {"b":null}],"json":"{\"a\":[1,{\"b\":2}]}","mail":"Bob@Example.COM","ip":"[2001:DB8::1]:443","time":"2026-03-01 10:00:00","digits":"300","float":42.0,"neg":-0,"empty":"","o":{"k":"FileAccessed"},"uni":"ÄÖ üa@é"}`,
	`{"s":"a","n":300.50,"t":false,"esc":"\ud800a","big":-9223372036854775808,"f":1e3,"list":[],"json":"x","mail":"@","ip":"::ffff:1.2.3.4","time":1772359200,"digits":"0007","float":1E400,"neg":-1,"o":{"k":null},"uni":"İıſK"}`,
	`{"n":"7","s":7,"t":"true","missing2":1,"list":"a,b@c","mail":["a@b"],"uni":"aaaa@aa,","digits":9007199254740993}`,
	`{}`,
}

// environments are the names and values of these records.
var environments = sync.OnceValue(func() (list []map[string]any) {
	for _, record := range differentialRecords {
		decoded, _ := DecodeJSON(record)
		env := map[string]any{"other": "a", "third": 3}
		flat(env, "event", decoded)
		list = append(list, env)
	}
	return list
})

// TestDifferential and FuzzDifferential hold the closures to expr's machine: on
// every expression and record, both give the same value of the same type, or
// both fail.
func TestDifferential(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	compiled := 0
	for range 6000 {
		data := make([]byte, 4+r.IntN(60))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		if differ(t, data) {
			compiled++
		}
	}
	if compiled < 4000 {
		t.Errorf("only %d of the expressions compiled: the test says little", compiled)
	}
}

func FuzzDifferential(f *testing.F) {
	for i := range byte(22) {
		f.Add([]byte{i, 1, 2, 3, i, 4, 5, 6, 7, 8, 9, i, i, 1})
	}
	f.Fuzz(func(t *testing.T, data []byte) { differ(t, data) })
}

// flat are the names of a record as a mapping would give them.
func flat(env map[string]any, name string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			flat(env, name+"_"+key, member)
		}
	case []any:
		text, _ := JSON(v)
		env[name] = text
	case nil:
	default:
		env[name] = v
	}
}

// differ compares on one expression; it reports whether that compiled.
func differ(t *testing.T, data []byte) bool {
	g := generator{data: data}
	source := g.expression()
	constants := map[string]any{"tables": map[string]any{"t": map[string]any{"a": "A", "7": 7, "x y": true, "true": 2.5, "0": ""}, "n": map[string]any{"1": 1}}}
	var p *expression.Program
	unit := expression.NewUnit(expression.Options{Constants: constants, Let: func(name string) (*expression.Program, error) {
		if name == "named" {
			return p, nil
		}
		return nil, nil
	}})
	p, err := unit.ParseLet("named", source)
	if err != nil {
		return false
	}
	again, _ := unit.Parse(source)
	byName, err := unit.Parse("[named, event_a][0]")
	if err != nil {
		t.Fatal(err)
	}
	unit.Link()
	r, err := newReference(source, p.Names(), constants)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	m := unit.NewMachine(nil)
	differSpecially(t, source, unit, p, len(data)%5)
	differSpecially(t, "named: "+source, unit, byName, len(data)%5)
	for i, record := range differentialRecords {
		env := environments()[i]
		m.Begin()
		expression.SetAll(m, unit, plain(env).(map[string]any))
		want, wantErr := r.eval(env)
		for _, p := range []*expression.Program{p, again, byName} {
			v, err := p.Value(m)
			got := expression.Give(m, v)
			if (err == nil) != (wantErr == nil) { // which of several failures comes first may differ
				t.Fatalf("%s\nof %s\nclosures:  %#v, %v\nreference: %#v, %v", source, record, got, err, want, wantErr)
			}
			if err == nil && !reflect.DeepEqual(got, plain(want)) {
				t.Fatalf("%s\nof %s\nclosures:  %#v\nreference: %#v", source, record, got, plain(want))
			}
		}
	}
	return true
}

// differSpecially compares what a program gives with what one of it for the kind of each record gives,
// on all records of that kind. Which of the names are known depends on chosen.
func differSpecially(t *testing.T, source string, unit *expression.Unit, p *expression.Program, chosen int) {
	m, other := unit.NewMachine(nil), unit.NewMachine(nil)
	load := func(m *expression.Machine, record int) {
		m.Begin()
		expression.SetAll(m, unit, plain(environments()[record]).(map[string]any))
	}
	known := func(m *expression.Machine, slot int) (expression.Value, bool) {
		if chosen == 0 || (slot+chosen)%(2+chosen%2) != 0 {
			return expression.Value{}, false
		}
		return m.Field(slot).Kept()
	}
	for i := range differentialRecords {
		load(m, i)
		facts := m.NewFacts(func(slot int) (expression.Value, bool) { return known(m, slot) })
		special := p.Special(facts)
		for j, record := range differentialRecords {
			load(other, j)
			same := facts.Asked.Same(m.Present(), other.Present())
			for _, name := range p.Names() {
				slot, _ := unit.Slot(name.Name)
				a, ok := known(m, slot)
				b, _ := known(other, slot)
				same = same && (!ok || reflect.DeepEqual(a, b))
			}
			if !same {
				continue
			}
			want, wantErr := p.Value(other)
			got, err := special.Value(other)
			if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(expression.Give(other, got), expression.Give(other, want)) {
				t.Fatalf("%s\nof %s\nspecially: %#v, %v\notherwise: %#v, %v", source, record, expression.Give(other, got), err, expression.Give(other, want), wantErr)
			}
			holds, wantErr := p.Holds(other)
			if got, err := special.Holds(other); got != holds || (err == nil) != (wantErr == nil) {
				t.Fatalf("%s\nof %s\nholds specially: %v, %v\notherwise: %v, %v", source, record, got, err, holds, wantErr)
			}
		}
	}
}

// plain turns the numbers of the reference's own type into the package's.
func plain(v any) any {
	switch v := v.(type) {
	case Number:
		return expression.Number(v)
	case []any:
		out := []any{}
		for _, element := range v {
			out = append(out, plain(normal(element)))
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for name, member := range v {
			out[name] = plain(normal(member))
		}
		return out
	}
	return v
}
