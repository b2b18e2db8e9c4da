package author

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/cases"
	"github.com/secure60/s60-m365-connector/engine/definition"
)

// Doubts are what somebody who tries a feed should look at, though it was read: names that no record
// has or that do not tell records apart, a further page that nobody asks for, events that Secure60 does not take.
func (e *Exchanges) Doubts(feed *definition.Feed, records, events [][]byte) (list []string) {
	lacking := func(path string) bool {
		return !slices.ContainsFunc(records, func(r []byte) bool { return gjson.GetBytes(r, path).Exists() })
	}
	what, paths := "key", feed.Key
	if feed.Snapshot != nil {
		what, paths = "snapshot.id", feed.Snapshot.ID
	}
	for _, path := range paths {
		if path != "@this" && lacking(path) {
			list = append(list, fmt.Sprintf("%s: none of these records has %q", what, path))
		}
	}
	named := map[string]int{}
	for i, record := range records {
		var name string
		for _, path := range paths {
			name += gjson.GetBytes(record, path).Raw + " "
		}
		if other, again := named[name]; again && strings.TrimSpace(name) != "" && !feed.Paging.Delta && !bytes.Equal(record, records[other]) {
			list = append(list, fmt.Sprintf("%s: records %d and %d differ, and %s is %sin both: only the first would be taken; name what tells them apart", what, other+1, i+1, strings.Join(paths, ", "), name))
			break
		}
		named[name] = i
	}
	if c := feed.Cursor; c != nil && c.Field != "" && feed.Expand == nil && feed.Unwrap == nil && lacking(c.Field) {
		list = append(list, fmt.Sprintf("cursor.field: none of these records has %q; it is the time by which the service lists, as the request asks for it", c.Field))
	}
	if further := e.further(feed); further != "" {
		list = append(list, further)
	}
	for i, event := range events {
		fields, err := EventFields(event)
		if err == nil {
			err = cases.HoldToSchema(fields)
		}
		if err != nil {
			list = append(list, strings.Replace(err.Error(), "event 1 ", fmt.Sprintf("mapping: event %d ", i+1), 1))
		}
	}
	return list
}

// further says that the first answer names a next page, which a feed without paging does not read; the engine itself
// refuses what OData and the Link header name.
func (e *Exchanges) further(feed *definition.Feed) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) == 0 || feed.Paging.Style != definition.PagingNone || !json.Valid(e.list[0].body.Bytes()) {
		return ""
	}
	a := &Answer{}
	root := gjson.ParseBytes(e.list[0].body.Bytes())
	a.paging(root, "https://"+e.list[0].url.Host)
	switch {
	case a.OData && root.Get(`@odata\.nextLink`).Exists():
		return "paging: the answer names a further page in @odata.nextLink, which is not read: write paging: {style: odata}"
	case a.Next == "":
		return ""
	case a.Token:
		return fmt.Sprintf("paging: the answer has %q, which may be a further page's: paging: {style: body, path: %s, param: %s}", a.Next, a.Next, tokenParam(a.Next[strings.LastIndex(a.Next, ".")+1:]))
	}
	return fmt.Sprintf("paging: the answer has %q, which may be the further page: paging: {style: body, path: %s}", a.Next, a.Next)
}
