package schemas_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/schemas"
)

// sample is a good event of a log-on.
func sample() map[string]any {
	return map[string]any{
		"vendor": "Microsoft", "product": "Microsoft 365", "type": "cloud", "app_name": "ms365", "technology_group": "cloud",
		"schema_version": "1.0", "timestamp": "2026-03-01T10:02:11.1208187Z", "operation": "user-logon", "outcome": "failure",
		"source_name": "entra-signins", "source_type": "entra-signin", "message_text": "alex@tenant.example failed to log on",
		"user_name": "alex@tenant.example", "auth_username": "alex@tenant.example", "ip_src_address": "2001:db8::10",
		"error_code": "50126", "event_status_errorCode": json.Number("50126"), "event_isInteractive": true,
		"event_ModifiedProperties_Group_ID_2": "x", "event_": "", "event_location_geoCoordinates_latitude": json.Number("-36.85"),
	}
}

func TestEvent(t *testing.T) {
	schema := schemas.Event()
	if err := schema.Validate(sample()); err != nil {
		t.Fatalf("a good event is refused: %#v", err)
	}
	for _, name := range strings.Fields("vendor product type app_name technology_group schema_version timestamp operation outcome source_name source_type message_text") {
		event := sample()
		delete(event, name)
		if schema.Validate(event) == nil {
			t.Errorf("an event without %s passes", name)
		}
	}
	for _, bad := range []struct {
		name  string
		value any
	}{
		{"vendor", "microsoft"},
		{"product", "Office"},
		{"type", "Cloud"},
		{"app_name", "m365"},
		{"technology_group", "endpoint"},
		{"schema_version", json.Number("1.0")},
		{"timestamp", "2026-03-01T10:02:11"},
		{"timestamp", "2026-03-01T10:02:11+01:00"},
		{"timestamp", "2026-02-30T10:02:11Z"},
		{"timestamp", "2026-03-01 10:02:11Z"},
		{"operation", "UserLoggedIn"},
		{"operation", "user_logon"},
		{"operation", "-user"},
		{"operation", ""},
		{"outcome", "Succeeded"},
		{"source_name", ""},
		{"source_type", nil},
		{"message_text", ""},
		{"message_text", "two\nlines"},
		{"ip_src_address", "203.0.113.17:443"},
		{"ip_src_address", "[2001:db8::10]"},
		{"ip_src_address", "unknown"},
		{"user_name", ""},
		{"user_name", json.Number("7")},
		{"_id", "x"},
		{"UserName", "x"},
		{"user-name", "x"},
		{"9lives", "x"},
		{"event_a.b", "x"},
		{"event_list", []any{"x"}},
		{"event_object", map[string]any{}},
		{"event_null", nil},
		{"anything", []any{}},
	} {
		event := maps.Clone(sample())
		event[bad.name] = bad.value
		if schema.Validate(event) == nil {
			t.Errorf("an event with %s %#v passes", bad.name, bad.value)
		}
	}
}

func TestHeartbeatIsAnEvent(t *testing.T) {
	event := map[string]any{
		"vendor": "Microsoft", "product": "Microsoft 365", "type": "cloud", "app_name": "ms365", "technology_group": "cloud",
		"schema_version": "1.0", "timestamp": "2026-03-01T10:02:11Z", "operation": "connector-heartbeat", "outcome": "success",
		"source_name": "connector", "source_type": "connector", "message_text": "4 feeds ok, 0 failing, 1 gated",
		"agent_name": "s60-m365-connector", "agent_version": "dev",
		"event_feed_entra_signins_state": "ok", "event_feed_entra_signins_lag_seconds": 12, "event_credential_days": 200,
	}
	if err := schemas.Event().Validate(event); err != nil {
		t.Errorf("%#v", err)
	}
}
