package golden_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/transform"
	"github.com/secure60/s60-m365-connector/schemas"
)

// oddValues are what a field of a record may hold instead of what is
// documented: each was seen in real records of some field.
var oddValues = []string{
	`null`, `""`, `"odd"`, `"12"`, `12`, `-1.5e3`, `true`, `[]`, `{}`, `["a", null, 3]`, `[[{"Name": "x"}]]`,
	`{"Name": "x", "Value": {"a": 1}}`, `[{"Name": "x", "Value": null, "ID": 5, "Type": "1", "UPN": {}}]`, `"[{\"a\":"`, `"\\"`,
}

// Whatever a field of a record holds, no expression fails, and the event, every
// tenth of them looked at, is as the schema says.
func TestOddValues(t *testing.T) {
	set, schema := shipped(t), schemas.Event()
	for _, name := range mapped(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mapper := compile(t, set.Mapping(name)).NewMapper(transform.Constant{Name: "source_name", Value: name})
			var event []byte
			checked := 0
			check := func(one, field, value string, record map[string]json.RawMessage) {
				data, err := json.Marshal(record)
				if err != nil {
					t.Fatal(err)
				}
				var failed []transform.FieldError
				event, failed = mapper.Append(event[:0], data)
				for _, failure := range failed {
					if untimed(failure) {
						continue
					}
					t.Errorf("%s with %s %s: %s failed: %s", one, field, value, failure.Field, failure.Cause)
				}
				if checked++; checked%10 != 0 {
					return // validation is what takes the time
				}
				if err := schema.Validate(decode(t, event)); err != nil {
					t.Errorf("%s with %s %s: %#v\n%s", one, field, value, err, event)
				}
			}
			for _, one := range cases(t, name) {
				var fields map[string]json.RawMessage
				if json.Unmarshal(record(t, name, one), &fields) != nil {
					continue
				}
				for i, field := range slices.Sorted(maps.Keys(fields)) {
					odd := maps.Clone(fields)
					delete(odd, field)
					check(one, field, "absent", odd)
					// One of the values for each field of each case: all cases
					// together try all of them.
					value := oddValues[(i+len(one))%len(oddValues)]
					odd[field] = json.RawMessage(value)
					check(one, field, value, odd)
				}
			}
		})
	}
}
