package extract

import (
	"encoding/json"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// pagingBody finds a token in the body, which goes back as a parameter of the
// first request, or without a parameter's name the whole URL.
var pagingBody = style{
	next: func(p definition.Paging, at page) (string, []param, error) {
		token := gjson.GetBytes(at.envelope, p.Path)
		found, err := textAt(token, p.Path)
		if found == "" || err != nil {
			return "", nil, err
		}
		if p.Param == "" {
			return found, nil, nil
		}
		var value any = found
		if token.Type == gjson.Number && p.In == definition.InBody {
			value = json.Number(token.Raw)
		}
		return "", []param{{p.Param, value}}, nil
	},
}
