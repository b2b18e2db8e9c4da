package extract

import (
	"strings"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// pagingHeader finds a token in a response header, whose case does not matter. It goes back as a parameter of the
// first request; without a parameter's name it is the whole URL.
var pagingHeader = style{
	next: func(p definition.Paging, at page) (string, []param, error) {
		for name, values := range at.header { // Get misses a name that is not canonical on the wire
			if strings.EqualFold(name, p.Header) {
				found := strings.TrimSpace(values[0])
				if found == "" || p.Param == "" {
					return found, nil, nil
				}
				return "", []param{{p.Param, found}}, nil
			}
		}
		return "", nil, nil
	},
}
