package extract

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// page is what a paging style sees of a page that was read.
type page struct {
	number   int // from 1
	header   http.Header
	envelope []byte // the body without the records
	records  int    // on this page
	before   int    // on the pages before it
}

// style is one way of paging. Each is one file and one entry in the table.
type style struct {
	// first is what the first request says beyond what the feed gives; nil: nothing.
	first func(p definition.Paging) []param
	// next finds the next page: a link, as it was found, or what to set in the first
	// request, or neither at the end.
	next func(p definition.Paging, at page) (link string, set []param, err error)
	// counted says that the style counts, and would go on for ever with a
	// service that does not know the parameter and gives the same page each time.
	counted bool
}

var styles = map[string]style{
	definition.PagingNone:   {next: func(definition.Paging, page) (string, []param, error) { return "", nil, nil }},
	definition.PagingOData:  pagingOData,
	definition.PagingHeader: pagingHeader,
	definition.PagingLink:   pagingLink,
	definition.PagingBody:   pagingBody,
	definition.PagingOffset: pagingOffset,
	definition.PagingPage:   pagingPage,
}

// textAt is the text at a place in the envelope, where a next link or a token
// is looked for; what is absent, null, false or empty is no text.
func textAt(found gjson.Result, where string) (string, error) {
	switch found.Type {
	case gjson.Null, gjson.False:
		return "", nil
	case gjson.String, gjson.Number:
		return strings.TrimSpace(found.String()), nil
	}
	return "", fmt.Errorf("the next page's link at %s is not a text", where)
}
