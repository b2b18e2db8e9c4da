package extract

import (
	"github.com/secure60/s60-m365-connector/engine/definition"
)

// pagingOffset counts the records read so far, until a page is short.
var pagingOffset = style{
	counted: true,
	first: func(p definition.Paging) []param {
		return counting(p, 0)
	},
	next: func(p definition.Paging, at page) (string, []param, error) {
		if at.records < p.Size || at.records == 0 {
			return "", nil, nil
		}
		return "", []param{{p.Param, at.before + at.records}}, nil
	},
}

// counting is the first request of a style that counts.
func counting(p definition.Paging, start int) []param {
	params := []param{{p.Param, start}}
	if p.SizeParam != "" {
		params = append(params, param{p.SizeParam, p.Size})
	}
	return params
}
