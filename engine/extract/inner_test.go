package extract

import "testing"

func TestInner(t *testing.T) {
	envelope := []string{"auditData.dynamicProperties", "auditData"}
	for name, c := range map[string]struct{ element, want string }{
		"an object":           {`{"id":"1","auditData":{"Id":"1","n":1.50}}`, `{"Id":"1","n":1.50}`},
		"a deeper one":        {`{"auditData":{"@odata.type":"#x","dynamicProperties":{"Id":"1"}}}`, `{"Id":"1"}`},
		"a text that is one":  {`{"auditData":"{\"Id\":\"1\",\"s\":\"\\u00e9\"}"}`, `{"Id":"1","s":"\u00e9"}`},
		"no JSON":             {`{"auditData":"{Id:1}"}`, `{"auditData":"{Id:1}"}`},
		"none":                {`{"Id":"1"}`, `{"Id":"1"}`},
		"null":                {`{"auditData":null}`, `{"auditData":null}`},
		"without annotations": {`{"auditData":{"@odata.type":"#x","Id":"1","l@odata.type":"#Collection(y)","l":[{"@odata.type":"y","a":"@odata."}, 2, [ ]],"o":{ "@odata.id":1 }}}`, `{"Id":"1","l":[{"a":"@odata."},2,[ ]],"o":{}}`},
		"only annotations":    {`{"auditData":{"@odata.type":"#x"}}`, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(inner([]byte(c.element), envelope)); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
		})
	}
	if got := string(inner([]byte(`{"a":{"@odata.type":1}}`), nil)); got != `{"a":{"@odata.type":1}}` {
		t.Errorf("without paths: %s", got)
	}
}
