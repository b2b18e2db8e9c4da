package author

import (
	"net/url"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// This file leaves of a recording no more than a case needs.

// fetched leaves out the documents that were not fetched as a whole, and the items that name them.
func (r *Recording) fetched(list []*recorded) []*recorded {
	documents := map[string]bool{} // URLs, without query, of documents that were fetched as a whole
	for _, k := range list {
		if !k.page && k.code < 300 && k.body != nil {
			documents[bare(k.url)] = true
		}
	}
	named := map[string]bool{}
	for _, k := range list {
		if !k.page || k.code >= 300 {
			continue
		}
		items := slices.DeleteFunc(slices.Clone(r.listed(k)), func(item any) bool {
			address := r.document(item)
			named[address] = true
			return !documents[address]
		})
		k.replace(r.Feed.Records, items)
	}
	room := r.Records
	fetched := map[string]bool{}
	list = slices.DeleteFunc(list, func(k *recorded) bool {
		address := bare(k.url)
		if k.page || !named[address] {
			return false
		}
		again := fetched[address] // what is listed twice is fetched once by the engine
		fetched[address] = again || k.code < 300
		return again || !documents[address]
	})
	for _, k := range list {
		if !named[bare(k.url)] || k.code >= 300 {
			continue
		}
		records := r.at(k, r.Feed.Expand.Records)
		n := min(len(records), room)
		room -= n
		k.replace(r.Feed.Expand.Records, records[:n])
		put(k.body, `@odata\.nextLink`, nil)
	}
	return list
}

// document is the URL, without query, of the document that an item names.
func (r *Recording) document(item any) string {
	text, err := encode(item, "")
	if err != nil {
		return ""
	}
	address := gjson.Get(text, r.Feed.Expand.URL).Str
	if t := r.Feed.Expand.Request.URL; r.Feed.Expand.URL == "" && t != nil {
		env := map[string]any{"item": gjson.Parse(text).Value()}
		for name, value := range r.Settings.Names {
			env[name] = value
		}
		if r.Feed.ForEach != nil {
			env[r.Feed.ForEach.Variable] = r.Partition
		}
		if address, err = t.Expand(env); err != nil {
			return ""
		}
	}
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return bare(u)
}

func (r *Recording) listed(k *recorded) []any { return r.at(k, r.Feed.Records) }

func (r *Recording) at(k *recorded, path string) []any {
	v := k.body
	if path != "@this" {
		for _, name := range split(path) {
			object, _ := v.(map[string]any)
			v = object[name]
		}
	}
	list, _ := v.([]any)
	return list
}

func (k *recorded) replace(path string, list []any) {
	if list == nil {
		list = []any{}
	}
	if path == "@this" {
		if _, ok := k.body.([]any); ok {
			k.body = list
		}
		return
	}
	put(k.body, path, list)
}

// cut takes the records away for which there is no room. What an item names is cut by itself.
func (r *Recording) cut(k *recorded) {
	list := r.listed(k)
	n := len(list)
	if r.Feed.Expand == nil {
		n = min(n, r.left)
		r.left -= n
	}
	k.replace(r.Feed.Records, list[:n])
}

// end makes a page the last one.
func (r *Recording) end(k *recorded) {
	k.header = k.header.Clone()
	switch r.Feed.Paging.Style {
	case definition.PagingOData:
		if object, ok := k.body.(map[string]any); ok && r.Feed.Paging.Delta && object["@odata.deltaLink"] == nil {
			object["@odata.deltaLink"] = object["@odata.nextLink"]
		}
		put(k.body, `@odata\.nextLink`, nil)
	case definition.PagingBody:
		put(k.body, r.Feed.Paging.Path, nil)
	case definition.PagingHeader:
		k.header.Del(r.Feed.Paging.Header)
	case definition.PagingLink:
		k.header.Del("Link")
	}
}
