package extract

import (
	"net/url"
	"strconv"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// pagingOffset counts the records read so far, until a page is short.
var pagingOffset = style{
	counted: true,
	query: func(p definition.Paging) []param {
		return counting(p, 0)
	},
	next: func(p definition.Paging, at page) (string, *url.URL, error) {
		if at.records < p.Size || at.records == 0 {
			return "", nil, nil
		}
		return "", set(at.first, param{p.Param, strconv.Itoa(at.before + at.records)}), nil
	},
}

// counting is the first request of a style that counts.
func counting(p definition.Paging, start int) []param {
	params := []param{{p.Param, strconv.Itoa(start)}}
	if p.SizeParam != "" {
		params = append(params, param{p.SizeParam, strconv.Itoa(p.Size)})
	}
	return params
}
