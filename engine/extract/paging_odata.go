package extract

import (
	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// deltaLink is the position at the end of a feed with delta links, "" if the page does not tell it.
func deltaLink(envelope []byte) string {
	link, _ := textAt(gjson.GetBytes(envelope, `\@odata\.deltaLink`), "@odata.deltaLink")
	return link
}

// pagingOData finds the link in the body, under the name that OData 4 gives
// it or the one of version 3.
var pagingOData = style{
	next: func(_ definition.Paging, at page) (string, []param, error) {
		for _, path := range []string{`\@odata\.nextLink`, `odata\.nextLink`} {
			link, err := textAt(gjson.GetBytes(at.envelope, path), "@odata.nextLink")
			if link != "" || err != nil {
				return link, nil, err
			}
		}
		return "", nil, nil
	},
}
