package extract

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// prepared is a request of a feed, its templates filled in.
type prepared struct {
	method string
	url    *url.URL
	header http.Header
	body   any     // sent as JSON; nil: none
	form   []param // sent URL-encoded
}

// prepare fills in a request of the feed. Where there is no URL in it, base is the URL.
func (r *Reader) prepare(d *definition.Request, env map[string]any, base *url.URL) (p prepared, err error) {
	p.url = base
	if d.URL != nil {
		text, err := d.URL.Expand(escapedEnv(env))
		if err != nil {
			return p, fmt.Errorf("url: %w", err)
		}
		if p.url, err = url.Parse(text); err != nil {
			return p, fmt.Errorf("url: what the template expands to is no URL: %w", err.(*url.Error).Err)
		}
		if err := checkURL(p.url); err != nil {
			return p, fmt.Errorf("url: %w", err)
		}
		p.url.RawQuery = escapeQuery(p.url.RawQuery)
	}
	query, err := fields("query", d.Query, env)
	if err != nil {
		return p, err
	}
	for _, q := range query {
		if base == nil || !has(p.url, q.name) { // a link that has the parameter keeps its own
			p.url = add(p.url, q)
		}
	}
	headers, err := fields("header", d.Headers, env)
	if err != nil {
		return p, err
	}
	p.header = http.Header{}
	for _, h := range headers {
		p.header.Set(h.name, h.text())
	}
	if p.form, err = fields("form", d.Form, env); err != nil {
		return p, err
	}
	if p.body, err = d.Body.Expand(env); err != nil {
		return p, fmt.Errorf("body: %w", err)
	}
	p.method = cmp.Or(d.Method, http.MethodGet)
	if d.Method == "" && (d.Body != nil || d.Form != nil) {
		p.method = http.MethodPost
	}
	return p, nil
}

func fields(what string, fields []definition.Field, env map[string]any) ([]param, error) {
	var params []param
	for _, f := range fields {
		value, err := f.Value.Expand(env)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", what, f.Name, err)
		}
		params = append(params, param{f.Name, value})
	}
	return params, nil
}

// escapedEnv is what the template of a URL sees: what comes from a service, an item or the id
// of a job, is a part of a path there, unless it is a URL itself.
func escapedEnv(env map[string]any) map[string]any {
	out := env
	for _, name := range []string{"item", "job"} {
		if v, ok := env[name]; ok {
			if len(out) == len(env) {
				out = maps.Clone(env)
			}
			out[name] = escaped(v)
		}
	}
	return out
}

func escaped(v any) any {
	switch v := v.(type) {
	case string:
		if strings.HasPrefix(v, "https://") || strings.HasPrefix(v, "http://") {
			return v
		}
		return url.PathEscape(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, inner := range v {
			out[name] = escaped(inner)
		}
		return out
	}
	return v
}

// payload is the body as it is sent, nil without one.
func (p prepared) payload() (body []byte, contentType string, err error) {
	switch {
	case p.form != nil:
		var parts []string
		for _, f := range p.form {
			parts = append(parts, url.QueryEscape(f.name)+"="+url.QueryEscape(f.text()))
		}
		return []byte(strings.Join(parts, "&")), "application/x-www-form-urlencoded", nil
	case p.body != nil:
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		err := encoder.Encode(p.body)
		return bytes.TrimRight(b.Bytes(), "\n"), "application/json", err
	}
	return nil, "", nil
}

// id tells requests apart.
func (p prepared) id() ([16]byte, error) {
	body, _, err := p.payload()
	sum := sha256.Sum256([]byte(p.method + " " + p.url.String() + "\n" + string(body)))
	return [16]byte(sum[:16]), err
}

// with gives the request with parameters set: in its query, or at their paths in its body.
func (p prepared) with(in string, params ...param) (prepared, error) {
	for _, q := range params {
		switch {
		case in != definition.InBody:
			p.url = set(p.url, q)
		case p.form != nil:
			i := slices.IndexFunc(p.form, func(f param) bool { return f.name == q.name })
			if p.form = slices.Clone(p.form); i >= 0 {
				p.form[i] = q
			} else {
				p.form = append(p.form, q)
			}
		default:
			var err error
			if p.body, err = placed(p.body, strings.Split(q.name, "."), q.value); err != nil {
				return p, fmt.Errorf("%s cannot be set in the request's body: %w", q.name, err)
			}
		}
	}
	return p, nil
}

// placed gives a body in which the value stands at a path. What leads there is copied, as the
// body without it is needed for the next page.
func placed(body any, path []string, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	switch body := body.(type) {
	case nil:
		inner, err := placed(nil, path[1:], value)
		return map[string]any{path[0]: inner}, err
	case map[string]any:
		out := maps.Clone(body)
		inner, err := placed(body[path[0]], path[1:], value)
		out[path[0]] = inner
		return out, err
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i >= len(body) {
			return nil, fmt.Errorf("there is no element %q", path[0])
		}
		out := slices.Clone(body)
		out[i], err = placed(body[i], path[1:], value)
		return out, err
	}
	return nil, errors.New("a text or number stands in the way")
}

// names are the settings and the value of for_each, the caller's own: the many readers at rest
// share the settings.
func (r *Reader) names() map[string]any {
	names := make(map[string]any, len(r.vars)+3)
	maps.Copy(names, r.vars)
	if r.feed.ForEach != nil {
		names[r.feed.ForEach.Variable] = r.partition
	}
	return names
}

// env is what templates may refer to in a window.
func (r *Reader) env(w Window) map[string]any {
	env := r.names()
	window := map[string]any{}
	if !w.From.IsZero() || !w.To.IsZero() {
		format := ""
		if r.feed.Cursor != nil {
			format = r.feed.Cursor.Format
		}
		window["from"], window["to"] = formatTime(w.From, format), formatTime(w.To, format)
	}
	env["window"] = window
	return env
}

// formatTime writes a time as a feed's cursor.format says: a number where that counts seconds, which it stays
// in a body.
func formatTime(t time.Time, format string) any {
	t = t.UTC()
	switch format {
	case "", "rfc3339":
		return t.Format(time.RFC3339)
	case "unix":
		return t.Unix()
	case "unix_ms":
		return t.UnixMilli()
	}
	return t.Format(format)
}
