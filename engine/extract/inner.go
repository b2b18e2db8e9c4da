package extract

import (
	"bytes"
	"strings"

	"github.com/tidwall/gjson"
)

// inner is the record that an element of a list is the envelope of: the object at the first of the paths that
// leads to one, which may be the JSON text of one, without the annotations of OData. Where none
// does, it is the element.
func inner(raw []byte, paths []string) []byte {
	for _, path := range paths {
		found := gjson.GetBytes(raw, path)
		if found.Type == gjson.String && gjson.Valid(found.Str) {
			found = gjson.Parse(found.Str)
		}
		if found.IsObject() {
			return plain(found)
		}
	}
	return raw
}

const annotation = "@odata."

// plain is a JSON value without members that annotate others, in it and in what it holds.
func plain(value gjson.Result) []byte {
	if !strings.Contains(value.Raw, annotation) {
		return []byte(value.Raw)
	}
	var b bytes.Buffer
	write(&b, value)
	return b.Bytes()
}

func write(b *bytes.Buffer, value gjson.Result) {
	if !value.IsObject() && !value.IsArray() || !strings.Contains(value.Raw, annotation) {
		b.WriteString(value.Raw)
		return
	}
	brackets := "[]"
	if value.IsObject() {
		brackets = "{}"
	}
	b.WriteByte(brackets[0])
	empty := true
	value.ForEach(func(name, v gjson.Result) bool {
		if value.IsObject() && strings.Contains(name.Str, annotation) {
			return true
		}
		if !empty {
			b.WriteByte(',')
		}
		if empty = false; value.IsObject() {
			b.WriteString(name.Raw)
			b.WriteByte(':')
		}
		write(b, v)
		return true
	})
	b.WriteByte(brackets[1])
}
