package cases

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"github.com/secure60/s60-m365-connector/schemas"
)

// HoldToSchema holds events to the schema of events. The error says of each event that breaks
// it, counted from 1, the innermost violation.
func HoldToSchema(events ...map[string]any) error {
	var problems []error
	for i, event := range events {
		raw, err := json.Marshal(event)
		if err != nil {
			return err
		}
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber() // as the schema's validator wants it
		var fields any
		if err := d.Decode(&fields); err != nil {
			return err
		}
		err = schemas.Event().Validate(fields)
		if violation, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
			for len(violation.Causes) > 0 {
				violation = violation.Causes[0]
			}
			name := strings.TrimPrefix(violation.InstanceLocation, "/")
			says := name + " " + violation.Message
			property, _ := schemas.Event().Root["properties"].(map[string]any)[name].(map[string]any)
			if must, ok := property["description"].(string); ok {
				says = fmt.Sprintf("%s is %q, but must be: %s", name, fmt.Sprint(event[name]), must)
			}
			err = fmt.Errorf("event %d is not one that Secure60 takes: %s", i+1, says)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}
