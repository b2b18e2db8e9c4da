package extract

import (
	"github.com/secure60/s60-m365-connector/engine/definition"
)

// pagingPage counts pages, until one is short.
var pagingPage = style{
	counted: true,
	first: func(p definition.Paging) []param {
		return counting(p, p.Start)
	},
	next: func(p definition.Paging, at page) (string, []param, error) {
		if at.records < p.Size || at.records == 0 {
			return "", nil, nil
		}
		return "", []param{{p.Param, p.Start + at.number}}, nil
	},
}
