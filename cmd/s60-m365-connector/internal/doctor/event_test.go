package doctor

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
)

func TestOwnEventsSatisfyTheSchema(t *testing.T) {
	s, err := settings.Read(testkit.Settings(nil), false)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.Compile(filepath.Join(testkit.Root(t), "schemas", "event.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	event := checkEvent(s, time.Now())
	text, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	var read any
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(read); err != nil {
		t.Errorf("%#v", err)
	}
}
