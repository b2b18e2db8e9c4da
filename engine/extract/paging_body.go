package extract

import (
	"net/url"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// pagingBody finds a token in the body, which goes back as a parameter of the
// first request, or without a parameter's name the whole URL.
var pagingBody = style{
	next: func(p definition.Paging, at page) (string, *url.URL, error) {
		found, err := textAt(gjson.GetBytes(at.envelope, p.Path), p.Path)
		if found == "" || err != nil {
			return "", nil, err
		}
		if p.Param == "" {
			return found, nil, nil
		}
		return "", set(at.first, param{p.Param, found}), nil
	},
}
