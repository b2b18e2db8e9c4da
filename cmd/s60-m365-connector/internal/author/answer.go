// Package author helps to write feeds and mappings. From one answer of an endpoint it writes a first
// version of both, with a comment at each guess. It also records golden cases, in which everything
// that may identify somebody is replaced.
//
// How it works: answer.go finds in an answer where the records are, what tells them apart, their time, and how
// paging works. write.go derives fields of the Common Information Model from the names in the records, and writes
// the YAML. doubt.go says what to check after a try. record.go and shorten.go cut the exchanges of a
// feed down to a few records; anonymous.go and words.go replace what may identify somebody.
package author

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// Answer is what an answer tells of its endpoint.
type Answer struct {
	Records []json.RawMessage
	Path    string // to the records, as gjson has it

	Next  string // path of the next page's link or token, "" for none
	Token bool   // Next is a token, not a URL
	OData bool

	Key  []string // of a record
	Time string   // path of a record's time, "" for none

	// URL is that of the endpoint, without its query: with ${MS_GRAPH_BASE} for Microsoft Graph's. "" is not known.
	URL   string
	Query []Parameter

	body []byte
}

// Parameter is one of a URL's query that the feed keeps.
type Parameter struct{ Name, Value string }

// Bases are the bases of the services whose URLs a feed writes by the setting, by its name.
type Bases map[string]string

// Read finds out what an answer tells. address is where it came from, "" if that is not known.
func Read(body []byte, address string, bases Bases) (*Answer, error) {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	if !gjson.ValidBytes(body) {
		return nil, errors.New("the answer is not JSON")
	}
	a := &Answer{body: body}
	root := gjson.ParseBytes(body)
	var list gjson.Result
	if a.Path, list = findRecords(root); !list.IsArray() {
		return nil, errors.New("the answer holds no list of records: an array, or an object with an array of objects in it")
	}
	for _, r := range list.Array() {
		if r.IsObject() {
			a.Records = append(a.Records, json.RawMessage(r.Raw))
		}
	}
	if len(a.Records) == 0 {
		return nil, fmt.Errorf("the list %s of the answer holds no record: take an answer that has one, to see its fields", a.Path)
	}
	a.paging(root, address)
	a.Key = findKey(a.Records)
	a.Time = findTime(a.Records)
	a.endpoint(root, address, bases)
	return a, nil
}

// findRecords is the list of records, with its path: of several, the one with the most text.
func findRecords(root gjson.Result) (string, gjson.Result) {
	if root.IsArray() {
		return "@this", root
	}
	best, path := gjson.Result{}, ""
	walk(root, "", 3, func(_, at string, v gjson.Result) {
		if v.IsArray() && (len(v.Array()) == 0 || v.Array()[0].IsObject()) && len(v.Raw) > len(best.Raw) {
			best, path = v, at
		}
	})
	if value := root.Get("value"); value.IsArray() { // what OData calls it
		return "value", value
	}
	return path, best
}

// walk goes through the members of an object, and of the objects in it, so deep.
func walk(object gjson.Result, at string, deep int, see func(name, at string, v gjson.Result)) {
	object.ForEach(func(key, v gjson.Result) bool {
		inner := escape(key.Str)
		if at != "" {
			inner = at + "." + inner
		}
		if see(key.Str, inner, v); v.IsObject() && deep > 0 {
			walk(v, inner, deep-1, see)
		}
		return true
	})
}

var special = regexp.MustCompile(`[.*?|#@!\\]`)

// escape is a name as part of a gjson path.
func escape(name string) string { return special.ReplaceAllString(name, `\$0`) }

// nextNames are what the link to the next page, or its token, is called.
var nextNames = regexp.MustCompile(`(?i)^(@odata\.)?(next_?link|next_?page_?(url|uri|link)?|next_?url|next|next_?(page_?)?token|next_?cursor|cursor|continuation_?token|page_?token)$`)

func (a *Answer) paging(root gjson.Result, address string) {
	a.OData = root.Get(`@odata\.context`).Exists() || root.Get(`@odata\.nextLink`).Exists() || root.Get(`@odata\.count`).Exists()
	if u, err := url.Parse(address); err == nil && a.Path == "value" && (address == "" || graphHost.MatchString(u.Host)) {
		a.OData = true // as examples of Graph are, which leave the rest out
	}
	if a.OData || !root.IsObject() {
		return
	}
	walk(root, "", 2, func(name, at string, v gjson.Result) {
		if a.Next == "" && v.Type == gjson.String && v.Str != "" && nextNames.MatchString(name) {
			a.Next, a.Token = at, !strings.HasPrefix(v.Str, "http")
		}
	})
}

// keyNames are what identifies a record, the likeliest first.
var keyNames = []string{"id", "Id", "ID", "eventId", "uuid", "guid", "recordId", "requestId", "identity", "Identity", "skuId", "objectId", "messageId", "name"}

// findKey is what tells the records apart: a name that all have, with different values.
func findKey(records []json.RawMessage) []string {
	unique := func(names ...string) bool {
		seen := map[string]bool{}
		for _, r := range records {
			var values []string
			for _, name := range names {
				v := gjson.GetBytes(r, escape(name))
				if v.Type != gjson.String && v.Type != gjson.Number || v.Raw == `""` {
					return false
				}
				values = append(values, v.Raw)
			}
			key := strings.Join(values, "\n")
			if seen[key] {
				return false
			}
			seen[key] = true
		}
		return true
	}
	for _, name := range keyNames {
		if unique(name) {
			return []string{name}
		}
	}
	var ids, texts []string
	gjson.ParseBytes(records[0]).ForEach(func(key, v gjson.Result) bool {
		switch {
		case v.Type == gjson.String && strings.HasSuffix(strings.ToLower(key.Str), "id"):
			ids = append(ids, key.Str)
		case v.Type == gjson.String || v.Type == gjson.Number:
			texts = append(texts, key.Str)
		}
		return true
	})
	for _, name := range ids {
		if unique(name) {
			return []string{name}
		}
	}
	for i, name := range slices.Concat(ids, texts) {
		for _, other := range slices.Concat(ids, texts)[i+1:] {
			if unique(name, other) {
				return []string{name, other}
			}
		}
	}
	return nil
}

// timeNames are the times of records, those that say when it happened first.
var timeNames = []string{
	"createdDateTime", "activityDateTime", "eventDateTime", "detectedDateTime", "riskLastUpdatedDateTime", "firstDetectedDateTime", "startDateTime", "sentDateTime", "receivedDateTime",
	"requestedDateTime", "CreationTime", "CreationDate", "publishedDateTime", "lastModifiedDateTime", "lastUpdatedDateTime", "lastUpdateDateTime", "timestamp", "Timestamp", "time", "date", "datetime", "created_at", "createdAt", "occurred_at", "published", "at", "when",
}

// findTime is when a record happened: a name that all have, with a time in it.
func findTime(records []json.RawMessage) string {
	times := func(name string) bool {
		for _, r := range records {
			v := gjson.GetBytes(r, escape(name))
			if v.Type != gjson.String {
				return false
			}
			if t, err := time.Parse(time.RFC3339, v.Str); err != nil || t.Year() < 1990 || t.Year() > 9000 {
				if _, err := time.Parse("2006-01-02T15:04:05", v.Str); err != nil {
					return false
				}
			}
		}
		return true
	}
	for _, name := range timeNames {
		if times(name) {
			return name
		}
	}
	found := ""
	gjson.ParseBytes(records[0]).ForEach(func(key, v gjson.Result) bool {
		lower := strings.ToLower(key.Str)
		if (strings.Contains(lower, "time") || strings.Contains(lower, "date") || strings.HasSuffix(key.Str, "_at") || strings.HasSuffix(key.Str, "At")) && !strings.Contains(lower, "expir") && !strings.Contains(lower, "end") && times(key.Str) {
			found = key.Str
		}
		return found == ""
	})
	return found
}
