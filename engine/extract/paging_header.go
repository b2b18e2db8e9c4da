package extract

import (
	"strings"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// pagingHeader finds the URL in a response header, whose case does not matter.
var pagingHeader = style{
	next: func(p definition.Paging, at page) (string, []param, error) {
		for name, values := range at.header { // Get misses a name that is not canonical on the wire
			if strings.EqualFold(name, p.Header) {
				return strings.TrimSpace(values[0]), nil, nil
			}
		}
		return "", nil, nil
	},
}
