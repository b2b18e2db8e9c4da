package definition

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// pagingKeys are the parameters of each paging style: those it needs, and
// those it may have.
var pagingKeys = map[string]struct{ needs, takes []string }{
	PagingNone:   {},
	PagingOData:  {},
	PagingHeader: {needs: []string{"header"}},
	PagingLink:   {},
	PagingBody:   {needs: []string{"path"}, takes: []string{"param"}},
	PagingOffset: {needs: []string{"param", "size"}, takes: []string{"size_param"}},
	PagingPage:   {needs: []string{"param", "size"}, takes: []string{"size_param", "start"}},
}

var pagingStyles = []string{PagingNone, PagingOData, PagingHeader, PagingLink, PagingBody, PagingOffset, PagingPage}

func (o *object) paging(node *yaml.Node) Paging {
	g := o.object("paging", o.pairs["paging"].key, node)
	p := Paging{Style: PagingNone}
	style := g.word("style", g.must("style"))
	p.Header = g.word("header", g.take("header")).Value
	p.Path = g.path("path", g.take("path")).Value
	p.Param = g.word("param", g.take("param")).Value
	p.SizeParam = g.word("size_param", g.take("size_param")).Value
	p.Size = g.count("size", g.take("size"), 0, 1)
	p.Start = g.count("start", g.take("start"), 0, 0)
	p.Keep = values(g.words("keep", g.take("keep"), false))
	if style.Value == PagingPage && !g.has("start") {
		p.Start = 1
	}
	g.done()
	if style.Value == "" {
		return p
	}
	keys, ok := pagingKeys[style.Value]
	if !ok {
		g.at(style, "unknown paging style %q%s", style.Value, choose(style.Value, pagingStyles))
		return p
	}
	p.Style = style.Value
	for _, key := range keys.needs {
		if !g.has(key) && !slices.Contains(g.empty, key) {
			g.at(style, "paging style %q needs %q", p.Style, key)
		}
	}
	for _, key := range g.shape.keys {
		allowed := key == "style" || slices.Contains(keys.needs, key) || slices.Contains(keys.takes, key) ||
			key == "keep" && p.followsLink()
		if g.has(key) && !allowed {
			g.node(g.pairs[key].key, "paging style %q takes no %q%s", p.Style, key, pagingTakes(keys.needs, keys.takes))
		}
	}
	return p
}

// followsLink reports whether the next page is a URL out of an answer.
func (p Paging) followsLink() bool {
	return p.Style == PagingOData || p.Style == PagingHeader || p.Style == PagingLink || p.Style == PagingBody && p.Param == ""
}

func pagingTakes(needs, takes []string) string {
	all := append(slices.Clone(needs), takes...)
	if len(all) == 0 {
		return ""
	}
	return ": it takes " + strings.Join(all, ", ")
}

// path is a gjson path: mostly names joined with dots.
func (o *object) path(key string, node *yaml.Node) Text {
	t := o.word(key, node)
	// A path that begins with ".." reads a body of one JSON value a line.
	names := strings.TrimPrefix(t.Value, "..")
	switch {
	case t.Value == "":
		return t
	case strings.TrimSpace(t.Value) != t.Value || strings.HasPrefix(names, ".") || strings.HasSuffix(names, ".") && !strings.HasSuffix(names, `\.`) || strings.Contains(names, ".."):
		o.at(t, "%q is no path: write names joined with dots, such as data.items", t.Value)
	case strings.HasPrefix(t.Value, "$."):
		o.at(t, "%q is a JSONPath, but must be a path of names joined with dots: write %q", t.Value, t.Value[2:])
	}
	return t
}

func (o *object) paths(key string, node *yaml.Node, single bool) []Text {
	list := o.words(key, node, single)
	if node != nil && node.Kind == yaml.SequenceNode {
		for _, item := range node.Content {
			if item.Kind == yaml.ScalarNode && item.Tag == "!!str" && item.Value != "" {
				o.path(key, item)
			}
		}
	} else if len(list) == 1 {
		o.path(key, node)
	}
	return list
}

// records is the path to the records in a body.
func (o *object) records(node *yaml.Node) string {
	if node == nil {
		return "@this"
	}
	return o.path("records", node).Value
}
