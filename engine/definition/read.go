package definition

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/expression"
	"github.com/secure60/s60-m365-connector/schemas"
	"gopkg.in/yaml.v3"
)

// answerNames are what an expression over an answer may name.
var answerNames = []string{"status", "error", "body", "headers"}

// feed reads a feed out of its tree: it decodes, and checks what the schema
// cannot say. base is the name of its file without the extension, "" where that is no matter.
func (t *tree) feed(base string, settings map[string]any) *Feed {
	d := &decoder{tree: t, schema: schemas.Feed(), namespaces: namespacesOf(t, settings)}
	f := &Feed{File: t.doc.file}
	d.decode(f)
	f.finish(d)
	t.checkName(base)
	(&feedCheck{tree: t, feed: f, settings: settings}).all()
	return f
}

// namespacesOf are what the expressions of a feed may name, by what they are over.
func namespacesOf(t *tree, settings map[string]any) map[string]namespace {
	names := slices.Sorted(maps.Keys(settings))
	s := map[string]namespace{
		"settings": {names: names, any: settings == nil, expected: "a setting: " + strings.Join(names, ", ")},
		"answer":   {names: answerNames, expected: strings.Join(answerNames, ", ")},
		"listed":   {any: true}, // the members of what a service lists are not known here
	}
	s["partition"] = s["settings"]
	if _, forEach := t.get("for_each"); forEach != nil && len(forEach.Content) > 0 {
		s["partition"] = s["settings"].with("the for_each value", forEach.Content[0].Value)
	}
	s["window"] = s["partition"]
	if t.has("window") || t.has("cursor") {
		s["window"] = s["partition"].with("window", "window", "from", "to")
	}
	s["request"] = s["window"]
	if t.has("job") {
		s["poll"] = s["window"].with("job", "job", "id")
		s["request"] = s["poll"]
		if t.has("job.result") {
			s["request"] = s["window"].with("job", "job", "id", "result")
		}
	}
	s["item"] = s["request"].with("the listed item", "item")
	return s
}

// day is the depth and the interval of a second look that a feed does not speak of.
const day = 24 * time.Hour

// finish fills in what follows from what the file gives.
func (f *Feed) finish(d *decoder) {
	if f.Enabled == nil {
		f.Enabled, _ = expression.Compile("true", expression.Options{})
	}
	f.Records, f.RecordsOptional = strings.CutSuffix(f.Records, "?")
	if f.Cursor != nil && f.Window == nil {
		f.Window = &Window{}
		d.object(reflect.ValueOf(f.Window).Elem(), nil, property(d.schema.Root, "window"), "")
	}
	if f.Window != nil {
		if f.Reconcile == nil {
			f.Reconcile = &Reconcile{Every: day, Depth: day}
		}
		f.Reconcile.Depth = min(f.Reconcile.Depth, f.Window.Retention)
	}
	if f.Reconcile != nil && f.Reconcile.Every == 0 {
		f.Reconcile = nil
	}
	if f.RateLimit != nil && f.RateLimit.Bucket == "" {
		f.RateLimit.Bucket = f.Name // a budget of its own
	}
	f.Paging.Unsaid = !d.has("paging")
	if f.Paging.Style != PagingPage {
		f.Paging.Start = 0
	}
	if f.Fallback != nil {
		d.fallback("request", "request", &f.Fallback.Request)
		if f.Job != nil {
			f.Fallback.Job = f.Job
			if d.has("fallback.job") {
				f.Fallback.Job = &Job{}
				d.fallback("job", "window", f.Fallback.Job)
			}
		}
	}
	if e := f.Expand; e != nil {
		e.Records, e.RecordsOptional = strings.CutSuffix(e.Records, "?")
		e.Paging.Unsaid = !d.has("expand.paging")
		if e.Paging.Style != PagingPage {
			e.Paging.Start = 0
		}
		if e.Request.URL != nil && !e.Request.URL.dynamic() {
			e.URL, e.Request.URL = e.Request.URL.source, nil
		}
	}
	for _, r := range f.Requests() {
		if r.Request.Method == "" {
			r.Request.Method = "GET"
			if r.Request.Body != nil || r.Request.Form != nil {
				r.Request.Method = "POST"
			}
		}
	}
}

// fallback fills in a part of the feed with the keys of its fallback over it.
func (d *decoder) fallback(part, over string, into any) {
	_, own := d.get("fallback." + part)
	_, base := d.get(part)
	if own == nil || base == nil {
		return
	}
	of := property(d.schema.Root, part)
	said := len(d.problems)
	d.object(reflect.ValueOf(into).Elem(), d.merge(base, own, d.schema, of), d.schema.Follow(of), over)
	d.problems = append(d.problems[:said], slices.DeleteFunc(slices.Clone(d.problems[said:]), func(p Problem) bool {
		return slices.ContainsFunc(d.problems[:said], func(q Problem) bool { return q.Pos == p.Pos }) // it is of the feed's own
	})...)
}

// Placed is a request with the path of its key.
type Placed struct {
	Path    string
	Request *Request
}

// Requests are all requests of a feed.
func (f *Feed) Requests() []Placed {
	list := []Placed{{"request", &f.Request}}
	if f.Subscribe != nil {
		list = append(list, Placed{"subscribe.list", &f.Subscribe.List}, Placed{"subscribe.start", &f.Subscribe.Start})
	}
	jobs := func(path string, j *Job) {
		if j != nil {
			list = append(list, Placed{path + ".create", &j.Create}, Placed{path + ".poll", &j.Poll})
		}
	}
	jobs("job", f.Job)
	if f.Fallback != nil {
		list = append(list, Placed{"fallback.request", &f.Fallback.Request})
		jobs("fallback.job", f.Fallback.Job)
	}
	if f.Expand != nil {
		list = append(list, Placed{"expand", &f.Expand.Request})
	}
	return list
}

// mappingFile is a mapping with what checks across files report.
type mappingFile struct {
	*mappingText
	tree   *tree
	own    bool             // the user's
	shared map[string]*Text // where its tables, and values of let, are named
}

// mappingText is a mapping as it is written.
type mappingText struct {
	Mapping `key:"."`
	Include []Text `key:"include"`
}

// mapping reads a mapping out of its tree, as feed does.
func (t *tree) mapping(base string, settings map[string]any) *mappingFile {
	d := &decoder{tree: t, schema: schemas.Mapping()}
	m := &mappingFile{mappingText: &mappingText{}, tree: t, shared: map[string]*Text{}}
	m.File = t.doc.file
	d.decode(m.mappingText)
	m.SourceType = m.Name
	for i := range m.Cases {
		if m.Cases[i].When.Value == "" {
			m.Cases[i].When.Value = "true" // the rest of the case is checked all the same
		}
	}
	for key, what := range map[string]string{"tables": "table", "let": "value"} {
		if _, node := t.get(key); node != nil {
			d.members(node, func(name, _ *yaml.Node) {
				place := t.text(name)
				m.shared[fmt.Sprintf("%s %q", what, name.Value)] = &place
			})
		}
	}
	t.checkName(base)
	m.check(settings)
	return m
}

// checkName checks that a definition has the name of its file.
func (t *tree) checkName(base string) {
	_, node := t.get("name")
	if base != "" && node != nil && node.Value != base && !t.faulty(node) {
		t.report(node, "the name %q is not the file's: write %q, or call the file %s.yaml", node.Value, base, node.Value)
	}
}

// short writes a duration without its zero units.
func short(d time.Duration) string {
	if d > 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
