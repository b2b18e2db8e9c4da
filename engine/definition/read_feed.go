package definition

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/expression"
	"gopkg.in/yaml.v3"
)

// feedFile is a feed with the places that checks across files report.
type feedFile struct {
	feed    *Feed
	mapping Text
	bucket  *yaml.Node // of rate_limit, or the rate limit itself
	reader  *reader
}

var (
	definitionName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
	identifier     = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)
)

// answerNames are what an expression over an answer may name.
var answerNames = []string{"status", "error", "body", "headers"}

// thens are what an error rule may ask for.
var thens = []string{ThenRetry, ThenThrottle, ThenRefreshToken, ThenSkip, ThenGate, ThenFail, ThenResetWindow, ThenSubscribe}

// Defaults of what a feed does not say.
const (
	defaultConfirm     = 3
	defaultRecheck     = 6 * time.Hour
	defaultWait        = 15 * time.Minute
	defaultConcurrency = 4
	defaultMax         = 24 * time.Hour
	defaultRetention   = 7 * 24 * time.Hour
)

// feed reads a whole feed. base is the name of its file without the extension.
func (r *reader) feed(base string) *feedFile {
	o := r.object("feed", nil, r.root)
	f := &Feed{File: r.file}
	file := &feedFile{feed: f, reader: r}

	f.Name = o.definitionName(base).Value
	f.Description = o.word("description", o.take("description")).Value
	f.Docs = o.word("docs", o.take("docs")).Value
	f.Enabled = o.enabled(o.take("enabled"))

	settings := r.settingsScope()
	partition := settings
	if node := o.take("for_each"); node != nil {
		f.ForEach = o.forEach(node, settings)
		if f.ForEach != nil {
			partition = settings.with("the for_each value", f.ForEach.Variable)
		}
	}
	request := partition // what the request may name
	if o.has("window") || o.has("cursor") {
		request = partition.with("window", "window")
	}
	if node := o.take("auth"); node != nil {
		auth := r.object("auth", o.pairs["auth"].key, node)
		f.Scope = auth.template("scope", auth.must("scope"), partition)
		auth.done()
	}
	f.Permissions = values(o.words("permissions", o.take("permissions"), false))
	if node := o.take("licence"); node != nil {
		f.Licence = o.licence(node)
	}
	if node := o.take("subscribe"); node != nil {
		f.Subscribe = o.subscribe(node, partition)
	}
	f.Request = o.request("request", o.must("request"), request)
	if node := o.take("hosts"); node != nil {
		f.Hosts = o.hosts(node, partition)
	}
	f.Paging = Paging{Style: PagingNone}
	if node := o.take("paging"); node != nil {
		f.Paging = o.paging(node)
	}
	f.Records = o.records(o.take("records"))
	if node := o.take("expand"); node != nil {
		f.Expand = o.expand(node, request)
	}
	if node := o.take("cursor"); node != nil {
		f.Cursor = o.cursor(node)
	}
	if node := o.take("window"); node != nil {
		f.Window = o.window(node)
		if !o.has("cursor") {
			o.node(o.pairs["window"].key, `"window" needs a cursor: add cursor: {field: …}, the time field of the records`)
		}
	} else if f.Cursor != nil {
		f.Window = &Window{Max: defaultMax, Retention: defaultRetention}
	}
	f.Reconcile = o.reconcile(o.take("reconcile"), f.Window)
	f.Key = values(o.paths("key", o.must("key"), true))
	if node := o.take("rate_limit"); node != nil {
		f.RateLimit, file.bucket = o.rateLimit(node, f.Name)
	}
	if node := o.take("errors"); node != nil {
		f.Errors = o.errorRules(node, f)
	}
	file.mapping = o.word("mapping", o.must("mapping"))
	f.Mapping = file.mapping.Value
	o.done()
	return file
}

func (o *object) has(key string) bool { return has(o.pairs, key) }

func has[V any](m map[string]V, key string) bool {
	_, ok := m[key]
	return ok
}

// definitionName is the name of a feed or mapping, which is that of its file.
func (o *object) definitionName(base string) Text {
	t := o.word("name", o.must("name"))
	switch {
	case t.Value == "":
	case !definitionName.MatchString(t.Value):
		o.at(t, "the name %q may hold only a-z, 0-9, - and _", t.Value)
	case base != "" && t.Value != base:
		o.at(t, "the name %q is not the file's: write %q, or call the file %s.yaml", t.Value, base, t.Value)
	}
	return t
}

// enabled is an expression over the settings, or true or false. A feed without
// it is on.
func (o *object) enabled(node *yaml.Node) *expression.Program {
	if node == nil {
		p, _ := expression.Compile("true", expression.Options{})
		return p
	}
	p := o.program("enabled", node, o.settingsScope())
	if p == nil || o.settings == nil {
		return p
	}
	if _, err := p.Bool(o.settings); err != nil {
		o.node(node, "%q is neither true nor false: %v", "enabled", err)
	}
	return p
}

func (r *reader) settingsScope() scope {
	names := slices.Sorted(maps.Keys(r.settings))
	return scope{names: names, any: r.settings == nil, expected: "a setting: " + strings.Join(names, ", ")}
}

func (s scope) with(what string, name string) scope {
	s.names = append(slices.Clip(s.names), name)
	if what == name {
		s.expected = name + ", " + s.expected
	} else {
		s.expected = name + " (" + what + "), " + s.expected
	}
	return s
}

// answers is the scope of expressions over an answer.
func answers() scope {
	return scope{names: answerNames, expected: strings.Join(answerNames, ", ")}
}

func (o *object) licence(node *yaml.Node) *Licence {
	l := o.object("licence", o.pairs["licence"].key, node)
	out := &Licence{
		Requires: l.word("requires", l.must("requires")).Value,
		Missing:  l.question("missing", l.must("missing")),
		Confirm:  l.count("confirm", l.take("confirm"), defaultConfirm, 1),
		Recheck:  l.duration("recheck", l.take("recheck"), defaultRecheck, time.Minute),
	}
	l.done()
	return out
}

func (o *object) forEach(node *yaml.Node, s scope) *ForEach {
	o.asked["for_each"] = &shape{}
	if node.Kind != yaml.MappingNode {
		if node.Kind != yaml.AliasNode {
			o.node(node, `"for_each" is %s, but must be a mapping of one name to an expression, such as {region: REGIONS}`, describe(node))
		}
		return nil
	}
	var out *ForEach
	n := 0
	o.entries(node, func(key, value *yaml.Node) {
		n++
		switch name := key.Value; {
		case n > 1:
			o.node(key, `"for_each" holds a second name: it takes one`)
		case !identifier.MatchString(name):
			o.node(key, "%q is no name for a variable: it may hold letters, digits and _, and begins with a letter", name)
		case slices.Contains(answerNames, name) || name == "window":
			o.node(key, "%q has a meaning of its own in a feed: choose another name", name)
		case has(o.settings, name):
			o.node(key, "%q is the name of a setting: choose another name", name)
		default:
			p := o.program(name, value, s)
			if p == nil {
				return
			}
			out = &ForEach{Variable: name, Values: p}
			o.checkValues(value, p)
		}
	})
	if n == 0 {
		o.node(o.pairs["for_each"].key, `"for_each" is empty: write {name: expression}`)
	}
	return out
}

// checkValues runs the expression of for_each over the settings at hand.
func (o *object) checkValues(node *yaml.Node, p *expression.Program) {
	if o.settings == nil {
		return
	}
	value, err := p.Eval(o.settings)
	if err != nil {
		o.node(node, `"for_each": %v`, err)
		return
	}
	if _, err := Strings(value); err != nil {
		o.node(node, `"for_each" needs a list of texts: %s gives %v`, p, err)
	}
}

// Strings is the result of an expression as a list of texts. The error says
// what it is instead.
func Strings(value any) ([]string, error) {
	switch list := value.(type) {
	case []string:
		return list, nil
	case []any:
		out := make([]string, 0, len(list))
		for _, item := range list {
			s, ok := item.(string)
			if !ok {
				return nil, fmt.Errorf("a list that holds a %T", item)
			}
			out = append(out, s)
		}
		return out, nil
	case nil:
		return nil, fmt.Errorf("nothing")
	}
	return nil, fmt.Errorf("a %T", value)
}

func (o *object) subscribe(node *yaml.Node, s scope) *Subscribe {
	b := o.object("subscribe", o.pairs["subscribe"].key, node)
	out := &Subscribe{
		List: b.request("list", b.must("list"), s),
		// The members of what the service lists are not known here.
		Active: b.program("active", b.must("active"), scope{any: true}),
		Start:  b.request("start", b.must("start"), s),
	}
	if node := b.take("already"); node != nil {
		out.Already = b.question("already", node)
	}
	out.Wait = b.duration("wait", b.take("wait"), defaultWait, 0)
	b.done()
	return out
}

func (o *object) hosts(node *yaml.Node, s scope) []*Template {
	if node.Kind != yaml.SequenceNode {
		if node.Kind != yaml.AliasNode {
			o.node(node, `"hosts" is %s, but must be a list of host names: write [host.example]`, describe(node))
		}
		return nil
	}
	var list []*Template
	for _, item := range node.Content {
		if t := o.template("hosts", item, s); t != nil {
			list = append(list, t)
		}
	}
	return list
}

func (o *object) expand(node *yaml.Node, s scope) *Expand {
	e := o.object("expand", o.pairs["expand"].key, node)
	out := &Expand{
		URL:         e.path("url", e.must("url")).Value,
		Request:     Request{Method: "GET", Query: e.fields("query", e.take("query"), s, nil)},
		Gone:        1,
		Key:         e.path("key", e.must("key")).Value,
		Records:     e.records(e.take("records")),
		Concurrency: e.count("concurrency", e.take("concurrency"), defaultConcurrency, 1),
	}
	if out.Concurrency > 64 {
		e.node(e.pairs["concurrency"].value, `"concurrency" must be at most 64`)
	}
	e.done()
	return out
}

func (o *object) errorRules(node *yaml.Node, f *Feed) []ErrorRule {
	if node.Kind != yaml.SequenceNode {
		if node.Kind != yaml.AliasNode {
			o.node(node, `"errors" is %s, but must be a list of {when: …, then: …}`, describe(node))
		}
		return nil
	}
	var rules []ErrorRule
	for _, item := range node.Content {
		e := o.object("errors", nil, item)
		rule := ErrorRule{When: e.question("when", e.must("when"))}
		then := e.word("then", e.must("then"))
		rule.Then = then.Value
		e.done()
		switch {
		case rule.Then == "":
		case !slices.Contains(thens, rule.Then):
			e.at(then, "unknown then %q%s", rule.Then, choose(rule.Then, thens))
		case rule.Then == ThenSubscribe && f.Subscribe == nil:
			e.at(then, `then %q needs the key "subscribe", which says how`, rule.Then)
		case rule.Then == ThenResetWindow && !o.has("window") && !o.has("cursor"):
			e.at(then, `then %q needs the key "window"`, rule.Then)
		}
		rules = append(rules, rule)
	}
	return rules
}
