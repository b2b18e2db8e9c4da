package extract

import (
	"net/url"
	"strconv"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// pagingPage counts pages, until one is short.
var pagingPage = style{
	counted: true,
	query: func(p definition.Paging) []param {
		return counting(p, p.Start)
	},
	next: func(p definition.Paging, at page) (string, *url.URL, error) {
		if at.records < p.Size || at.records == 0 {
			return "", nil, nil
		}
		return "", set(at.first, param{p.Param, strconv.Itoa(p.Start + at.number)}), nil
	},
}
