package extract

import (
	"net/url"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// pagingOData finds the link in the body, under the name that OData 4 gives
// it or the one of version 3.
var pagingOData = style{
	next: func(_ definition.Paging, at page) (string, *url.URL, error) {
		for _, path := range []string{`\@odata\.nextLink`, `odata\.nextLink`} {
			link, err := textAt(gjson.GetBytes(at.envelope, path), "@odata.nextLink")
			if link != "" || err != nil {
				return link, nil, err
			}
		}
		return "", nil, nil
	},
}
