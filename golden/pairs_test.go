package golden_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/transform"
)

// sameInBoth are the fields that an act has, whichever API tells it, where both
// records hold what they say.
var sameInBoth = []string{
	"operation", "outcome", "error_code", "error_message", "correlation_id", "source_severity", "data_object",
	"user_name", "user_id", "user_type", "user_target_name", "user_target_id", "user_role_name", "user_role_id", "user_group_name", "user_group_id",
	"app_actor_name", "app_client_name", "app_resource_name", "app_target_name", "app_permissions", "app_consent_type", "app_consent_admin",
	"data_changed_properties", "data_setting_old", "data_setting_new", "message_text",
	"auth_username", "auth_result", "auth_type", "auth_protocol", "auth_legacy", "auth_session_id", "request_id",
	"alert_id", "alert_name", "alert_severity", "alert_status",
}

// Cases named pair-… are one act as each API tells it. A rule must not have to
// know which: what they mean is the same.
func TestBothAPIsTellTheSame(t *testing.T) {
	set := shipped(t)
	management := compile(t, set.Mapping("o365-management")).NewMapper()
	event := func(mapper *transform.Mapper, record []byte) map[string]any {
		t.Helper()
		out, _ := mapper.Append(nil, record)
		var fields map[string]any
		if err := json.Unmarshal(out, &fields); err != nil {
			t.Fatal(err)
		}
		return fields
	}
	seen := 0
	for _, name := range mapped(t) {
		if name == "o365-management" {
			continue
		}
		graph := compile(t, set.Mapping(name)).NewMapper()
		for _, one := range cases(t, name) {
			if !strings.HasPrefix(one, "pair-") {
				continue
			}
			seen++
			t.Run(name+"/"+one, func(t *testing.T) {
				ours, theirs := event(graph, record(t, name, one)), event(management, record(t, "o365-management", one))
				for _, field := range sameInBoth {
					if field == "request_id" && name == "entra-directory-audit" {
						continue // of which Graph tells none
					}
					if field == "message_text" && name != "entra-directory-audit" {
						continue // Graph adds the place of the address
					}
					if ours[field] != theirs[field] {
						t.Errorf("%s is %q in Graph and %q in the Management API", field, ours[field], theirs[field])
					}
				}
			})
		}
	}
	of := cases(t, "o365-management")
	if n := len(slices.DeleteFunc(of, func(one string) bool { return !strings.HasPrefix(one, "pair-") })); n != seen || n == 0 {
		t.Errorf("%d cases of the Management API are named pair-…, and %d of Graph's mappings", n, seen)
	}
}
