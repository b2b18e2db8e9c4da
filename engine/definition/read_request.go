package definition

import (
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

var (
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	methodName = regexp.MustCompile(`^(GET|POST|PUT|PATCH|DELETE)$`)
)

func (o *object) request(key string, node *yaml.Node, s scope) Request {
	q := o.object("request", o.pairs[key].key, node)
	r := Request{Method: "GET"}
	if node := q.take("method"); node != nil {
		if t := q.word("method", node); t.Value != "" {
			r.Method = t.Value
			if !methodName.MatchString(t.Value) {
				q.at(t, "unknown method %q: expected one of GET, POST, PUT, PATCH, DELETE", t.Value)
			}
		}
	}
	node = q.must("url")
	r.URL = q.template("url", node, s)
	if r.URL != nil {
		q.checkURL(node, r.URL)
	}
	r.Headers = q.headers(q.take("headers"), s)
	r.Query = q.fields("query", q.take("query"), s, nil)
	q.done()
	return r
}

// checkURL refuses what cannot become the URL of a request.
func (o *object) checkURL(node *yaml.Node, t *Template) {
	if len(t.parts) > 0 && t.parts[0].program == nil {
		if text := t.parts[0].text; !strings.HasPrefix(text, "https://") && !strings.HasPrefix(text, "http://") {
			o.node(node, "a URL begins with https:// or with a setting that holds the base, such as ${API_BASE}/…")
		}
	}
	if t.holds("# \n\r\t\x00") {
		o.node(node, "a URL may not hold #, spaces, tabs or line ends")
	}
}

func (o *object) headers(node *yaml.Node, s scope) []Field {
	return o.fields("headers", node, s, func(name *yaml.Node, value *Template) {
		switch {
		case !headerName.MatchString(name.Value):
			o.node(name, "%q is no name of an HTTP header", name.Value)
		case strings.EqualFold(name.Value, "Authorization"):
			o.node(name, "the engine sets Authorization from auth.scope: remove it here")
		case value.holds("\r\n\x00"):
			o.node(name, "the value of a header may not hold line ends")
		}
	})
}
