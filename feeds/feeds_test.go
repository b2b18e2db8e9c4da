package feeds_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/feeds"
	"github.com/secure60/s60-m365-connector/mappings"
)

func load(t *testing.T, named ...any) (*definition.Set, map[string]any) {
	t.Helper()
	settings := map[string]any{
		"TENANT_ID": "11111111-2222-4333-8444-555555555555", "PUBLISHER_ID": "99999999-2222-4333-8444-555555555555",
		"MS_MANAGE_BASE": "https://manage.office.com", "MS_GRAPH_BASE": "https://graph.microsoft.com", "MS_DEFENDER_BASE": "https://api.securitycenter.microsoft.com",
		"ENABLE_MGMT_ACTIVITY": true, "ENABLE_GRAPH": true, "MGMT_CONTENT_TYPES": []any{"Audit.Exchange"}, "FEEDS": named,
	}
	set, problems := definition.Load(definition.Options{Feeds: feeds.FS, Mappings: mappings.FS, Settings: settings})
	for _, p := range problems {
		t.Error(p)
	}
	if t.Failed() {
		t.FailNow()
	}
	return set, settings
}

// TestAnswers gives the feeds the answers that the services are known to give,
// and checks what they are taken for.
func TestAnswers(t *testing.T) {
	set, _ := load(t)
	const none, licence = "", "licence"
	for _, c := range []struct {
		feed   string
		status int
		body   string
		want   string
	}{
		{"o365-management-activity", 400, `{"error": {"code": "AF20022", "message": "No subscription found for the specified content type."}}`, "subscribe"},
		{"o365-management-activity", 400, `{"error": {"code": "AF20023", "message": "The subscription was disabled."}}`, "subscribe"},
		{"o365-management-activity", 400, `{"error": {"code": "AF20031", "message": "Invalid nextPage Input: x."}}`, "reset_window"},
		{"o365-management-activity", 400, `{"error": {"code": "AF20051", "message": "Content requested with the key x has already expired."}}`, "skip"},
		{"o365-management-activity", 404, ``, "skip"},
		{"o365-management-activity", 404, `"<html>"`, "skip"},
		{"o365-management-activity", 403, `{"error": {"code": "AF429", "message": "Too many requests. Method=GetBlob, PublisherId=x"}}`, "throttle"},
		{"o365-management-activity", 403, `"{'error':{'code':'AF429','message':'Too many requests.'"`, "throttle"},
		{"o365-management-activity", 401, `{"error": {"code": "AF10001", "message": "The permission set () sent in the request does not include the expected permission."}}`, "fail"},
		{"o365-management-activity", 401, `{"Message": "Authorization has been denied for this request."}`, none},
		{"o365-management-activity", 500, `{"error": {"code": "AF50000", "message": "An internal error occurred. Retry the request."}}`, "retry"},
		{"o365-management-activity", 400, `{"error": {"code": "AF20055", "message": "Start time and end time must both be specified"}}`, "too_early"},
		{"o365-management-activity", 400, `{"error": {"code": "AF20030", "message": "Start time must be within 7 days"}}`, "too_early"},
		{"entra-directory-audits", 400, `{"error": {"code": "BadRequest", "message": "Minimum allowed time for activityDateTime is 2026-02-22T10:00:00Z."}}`, "too_early"},
		{"o365-management-activity", 503, `"<html>AF429</html>"`, none},

		{"entra-signins", 403, `{"error": {"code": "Authentication_RequestFromNonPremiumTenantOrB2CTenant", "message": "Neither tenant is B2C or tenant doesn't have premium license"}}`, licence},
		{"entra-signins", 403, `{"error": {"code": "Authentication_MSGraphPermissionMissing", "message": "The principal does not have required Microsoft Graph permission(s): AuditLog.Read.All"}}`, none},
		{"entra-signins", 400, `{"error": {"code": "UnknownError", "message": "Invalid Skip Token, skip token is null"}}`, "reset_window"},
		{"entra-signins", 400, `{"error": {"code": "Request_BadRequest", "message": "Token not found: token is either invalid or expired"}}`, "reset_window"},
		{"entra-signins", 400, `{"error": {"code": "BadRequest", "message": "Could not find a property named 'signInEventTypes' on type 'microsoft.graph.signIn'."}}`, "gate"},
		{"entra-risk-detections", 403, `{"error": {"code": "Authentication_RequestFromNonPremiumTenantOrB2CTenant", "message": "Neither tenant is B2C or tenant doesn't have premium license"}}`, licence},
		{"entra-signins", 403, `{"error": {"code": "Forbidden", "message": "Your tenant is not licensed for this feature."}}`, licence},
		{"intune-audit-events", 400, `{"error": {"code": "BadRequest", "message": "{\"Message\": \"Request not applicable to target tenant.\"}"}}`, licence},
		{"hunting-email-events", 400, `{"error": {"code": "BadRequest", "message": "Failed to resolve table or column expression named 'EmailEvents'"}}`, "gate"},
		{"hunting-email-events", 400, `{"error": {"code": "BadRequest", "message": "Query execution has exceeded the allowed limits"}}`, "narrow"},
		{"hunting-email-events", 200, `{"schema": [], "results": [{}]}`, none},
		{"hunting-email-events", 403, `{"error": {"code": "Forbidden", "message": "Your tenant is not licensed for this feature."}}`, licence},
		{"security-alerts", 403, `{"error": {"code": "Forbidden", "message": "Your tenant is not licensed for this feature."}}`, licence},
		{"entra-signins", 429, `{"error": {"code": "UnknownError", "message": "This request is throttled."}}`, none},
		{"entra-directory-audits", 400, `{"error": {"code": "BadRequest", "message": "Resource not found for the segment 'auditLogs'."}}`, "gate"},
		{"entra-risk-detections", 403, `{"error": {"code": "Forbidden", "message": "Your tenant is not licensed for this feature."}}`, licence},
		{"entra-risk-detections", 403, `{"error": {"code": "Forbidden", "message": "You cannot perform the requested operation, required scopes are missing in the token."}}`, none},
		{"entra-risky-users", 404, `{"error": {"code": "UnknownError", "message": ""}}`, "gate"},
		{"intune-audit-events", 500, `{"error": {"code": "InternalServerError", "message": "Rate limit reached because of too many requests to query broker. Please retry after sometime."}}`, "throttle"},
		{"intune-audit-events", 500, `{"error": {"code": "InternalServerError", "message": ""}}`, none},
	} {
		feed := set.Feed(c.feed)
		if feed == nil {
			t.Fatalf("no feed %s", c.feed)
		}
		if got := meaning(t, feed, c.status, c.body); got != c.want {
			t.Errorf("%s: %d %s is taken for %q, not %q", c.feed, c.status, c.body, got, c.want)
		}
	}
	for body, want := range map[string]bool{
		`{"error": {"code": "AF20024", "message": "The subscription is already enabled. No property change."}}`:     true,
		`{"error": {"code": "StartSubscription [CorrelationId=x]", "message": "failed. Tenant x does not exist."}}`: false,
	} {
		got, err := set.Feed("o365-management-activity").Subscribe.Already.Bool(answer(t, 400, body))
		if got != want || err != nil {
			t.Errorf("already: %s: %v %v", body, got, err)
		}
	}
}

// TestTooEarly: the time from which a log is kept, out of the message.
func TestTooEarly(t *testing.T) {
	set, _ := load(t)
	for _, rule := range set.Feed("entra-directory-audits").Errors {
		if rule.At == nil {
			continue
		}
		for message, want := range map[string]any{
			"Minimum allowed time for activityDateTime is 2026-02-22T10:00:00Z.": "2026-02-22T10:00:00Z",
			"Minimum allowed time was exceeded":                                  nil,
		} {
			got, err := rule.At.Eval(answer(t, 400, `{"error": {"code": "BadRequest", "message": "`+message+`"}}`))
			if got != want || err != nil {
				t.Errorf("%s: %v %v", message, got, err)
			}
		}
		return
	}
	t.Error("no rule says from when")
}

// TestFallback: where beta is not to be had the same sign-ins are asked for in v1.0, and what names them is
// there, too: nothing is sent twice at the change.
func TestFallback(t *testing.T) {
	set, settings := load(t)
	f := set.Feed("entra-signins")
	for body, want := range map[string]bool{
		`{"error": {"code": "BadRequest", "message": "Resource not found for the segment 'auditLogs'."}}`:                       true,
		`{"error": {"code": "BadRequest", "message": "Could not find a property named 'x' on type 'microsoft.graph.signIn'."}}`: true,
		`{"error": {"code": "UnknownError", "message": "Invalid Skip Token, skip token is null"}}`:                              false,
		`{"error": {"code": "BadRequest", "message": "Minimum allowed time for createdDateTime is 2026-02-22T10:00:00Z."}}`:     false,
	} {
		if got, err := f.Fallback.When.Bool(answer(t, 400, body)); got != want || err != nil {
			t.Errorf("%s: %v %v", body, got, err)
		}
	}
	url, err := f.Fallback.Request.URL.Expand(settings)
	if err != nil || url != "https://graph.microsoft.com/v1.0/auditLogs/signIns" {
		t.Errorf("%s %v", url, err)
	}
	if len(f.Fallback.Request.Query) != len(f.Request.Query) || len(f.Fallback.Request.Headers) != len(f.Request.Headers) {
		t.Error("the fallback asks for something else")
	}
	v1 := sections(t, "testdata/graph-properties.txt")[f.Name]
	for _, part := range append(slices.Clone(f.Key), f.Cursor.Field) {
		if !slices.Contains(v1, part) { // those of beta alone have it before their name
			t.Errorf("v1.0 has no %s", part)
		}
	}
}

func answer(t *testing.T, status int, body string) map[string]any {
	t.Helper()
	env := map[string]any{"status": status, "error": map[string]any{}, "body": nil, "headers": map[string]any{}}
	if body == "" {
		return env
	}
	var decoded any
	if err := json.Unmarshal([]byte(body), &decoded); err != nil {
		t.Fatal(err)
	}
	env["body"] = decoded
	if object, ok := decoded.(map[string]any); ok {
		if fault, ok := object["error"].(map[string]any); ok {
			env["error"] = fault
		}
	}
	return env
}

// meaning is "licence", what the first rule that holds says, or "".
func meaning(t *testing.T, feed *definition.Feed, status int, body string) string {
	t.Helper()
	env := answer(t, status, body)
	if feed.Licence != nil {
		missing, err := feed.Licence.Missing.Bool(env)
		if err != nil {
			t.Fatal(err)
		}
		if missing {
			return "licence"
		}
	}
	for _, rule := range feed.Errors {
		holds, err := rule.When.Bool(env)
		if err != nil {
			t.Fatal(err)
		}
		if holds {
			return rule.Then
		}
	}
	return ""
}

// TestSubscriptionList checks the service's own sample of a list, in which an
// element has no status.
func TestSubscriptionList(t *testing.T) {
	set, settings := load(t)
	active := set.Feed("o365-management-activity").Subscribe.Active
	for record, want := range map[string]bool{
		`{"contentType": "Audit.Exchange", "status": "enabled", "webhook": null}`:  true,
		`{"contentType": "Audit.Exchange", "status": "disabled", "webhook": null}`: false,
		`{"contentType": "Audit.Exchange", "webhook": null}`:                       false,
		`{"contentType": "DLP.All", "status": "enabled"}`:                          false,
	} {
		env := map[string]any{"content_type": "Audit.Exchange"}
		for name, value := range settings {
			env[name] = value
		}
		if err := json.Unmarshal([]byte(record), &env); err != nil {
			t.Fatal(err)
		}
		if got, err := active.Bool(env); got != want || err != nil {
			t.Errorf("%s: %v %v", record, got, err)
		}
	}
}

// TestRequests expands the requests that the services are most particular
// about.
func TestRequests(t *testing.T) {
	set, settings := load(t)
	env := map[string]any{"content_type": "Audit.Exchange", "window": map[string]any{"from": "F", "to": "T"}}
	for name, value := range settings {
		env[name] = value
	}
	for feed, want := range map[string]string{
		"o365-management-activity":       "https://manage.office.com/api/v1.0/11111111-2222-4333-8444-555555555555/activity/feed/subscriptions/content contentType=Audit.Exchange startTime=F endTime=T PublisherIdentifier=99999999-2222-4333-8444-555555555555",
		"entra-signins":                  "https://graph.microsoft.com/beta/auditLogs/signIns $filter=createdDateTime ge F and createdDateTime lt T $orderby=createdDateTime $top=1000",
		"entra-signins-noninteractive":   "https://graph.microsoft.com/beta/auditLogs/signIns $filter=signInEventTypes/any(t: t eq 'nonInteractiveUser') and createdDateTime ge F and createdDateTime lt T $orderby=createdDateTime $top=1000",
		"entra-signins-serviceprincipal": "https://graph.microsoft.com/beta/auditLogs/signIns $filter=signInEventTypes/any(t: t eq 'servicePrincipal') and createdDateTime ge F and createdDateTime lt T $orderby=createdDateTime $top=1000",
		"entra-signins-managedidentity":  "https://graph.microsoft.com/beta/auditLogs/signIns $filter=signInEventTypes/any(t: t eq 'managedIdentity') and createdDateTime ge F and createdDateTime lt T $orderby=createdDateTime $top=1000",
		"message-trace":                  "https://graph.microsoft.com/v1.0/admin/exchange/tracing/messageTraces $filter=receivedDateTime ge F and receivedDateTime le T $top=5000",
		"entra-risky-users":              "https://graph.microsoft.com/v1.0/identityProtection/riskyUsers $filter=riskLastUpdatedDateTime ge F and riskLastUpdatedDateTime lt T $orderby=riskLastUpdatedDateTime $top=500",
	} {
		f := set.Feed(feed)
		got, err := f.Request.URL.Expand(env)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range f.Request.Query {
			value, err := q.Value.Expand(env)
			if err != nil {
				t.Fatal(err)
			}
			got += " " + q.Name + "=" + value
		}
		if got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", feed, got, want)
		}
	}
}

// TestHunting expands the queries of advanced hunting: of one table each, for the window alone, and naming the table.
func TestHunting(t *testing.T) {
	set, settings := load(t, "defender")
	env := map[string]any{"window": map[string]any{"from": "F", "to": "T"}}
	for name, value := range settings {
		env[name] = value
	}
	for _, f := range set.Feeds {
		if !strings.HasPrefix(f.Name, "hunting-") {
			continue
		}
		body, err := f.Request.Body.Expand(env)
		if err != nil {
			t.Fatal(err)
		}
		query, _ := body.(map[string]any)["Query"].(string)
		table, _, _ := strings.Cut(query, " ")
		if !strings.HasPrefix(query, table+" | where Timestamp >= datetime(F) and Timestamp < datetime(T) ") || !strings.HasSuffix(query, ` | extend TableName = "`+table+`"`) || strings.Contains(query, "$") {
			t.Errorf("%s asks %q", f.Name, query)
		}
		if f.Request.Method != "POST" || f.Records != "results" || f.Cursor.Field != "Timestamp" {
			t.Errorf("%s: %s, records %v, cursor %v", f.Name, f.Request.Method, f.Records, f.Cursor)
		}
	}
}

// optional are the feeds that run only where FEEDS names them, or a pack that they are in.
var optional = slices.Concat(append(slices.Collect(maps.Values(packs)),
	[]string{"intune-audit-events", "message-trace-details", "purview-audit-search"})...)

func TestEnabled(t *testing.T) {
	set, settings := load(t)
	_, all := load(t, "security-alerts", "entra-provisioning")
	for _, f := range set.Feeds {
		on, err := f.Enabled.Bool(settings)
		if err != nil || on == slices.Contains(optional, f.Name) {
			t.Errorf("%s: by default %v %v", f.Name, on, err)
		}
		on, err = f.Enabled.Bool(all)
		if want := !slices.Contains(optional, f.Name) || f.Name == "security-alerts" || f.Name == "entra-provisioning"; err != nil || on != want {
			t.Errorf("%s: with FEEDS %v %v", f.Name, on, err)
		}
	}
	settings["ENABLE_GRAPH"] = false
	for _, f := range set.Feeds {
		if on, err := f.Enabled.Bool(settings); err != nil || on != (f.Name == "o365-management-activity") {
			t.Errorf("%s: with ENABLE_GRAPH off %v %v", f.Name, on, err)
		}
	}
}

// packs are the names in FEEDS that stand for several feeds.
var packs = map[string][]string{
	"defender": {
		"defender-machine-actions", "security-alerts", "security-incidents",
		"hunting-alert-evidence", "hunting-cloud-app-events", "hunting-device-logons", "hunting-email-attachments", "hunting-email-events", "hunting-email-urls", "hunting-identity-logons", "hunting-url-clicks",
	},
	"email": {"message-trace"},
	"identity": {
		"entra-agent-risk-detections", "entra-custom-attribute-audits", "entra-provisioning", "entra-risky-agents", "entra-risky-serviceprincipals",
		"entra-risky-user-history", "entra-serviceprincipal-risk-detections", "entra-signups",
	},
	"posture": {
		"posture-admin-consent", "posture-app-credentials", "posture-authentication-methods", "posture-conditional-access", "posture-cross-tenant-default",
		"posture-cross-tenant-partners", "posture-domains", "posture-federation", "posture-named-locations", "posture-permission-grants",
		"posture-role-assignments", "posture-role-eligibility", "posture-secure-score", "posture-serviceprincipal-credentials",
	},
}

func TestPacks(t *testing.T) {
	for pack, names := range packs {
		set, settings := load(t, pack)
		for _, f := range set.Feeds {
			on, err := f.Enabled.Bool(settings)
			if want := !slices.Contains(optional, f.Name) || slices.Contains(names, f.Name); err != nil || on != want {
				t.Errorf("FEEDS=%s: %s: %v %v", pack, f.Name, on, err)
			}
		}
	}
}

// TestPromise holds every feed to what the delivery promise needs.
func TestPromise(t *testing.T) {
	set, _ := load(t)
	for _, f := range set.Feeds {
		if f.Job != nil {
			continue // an archive, which backfill alone reads
		}
		if f.RateLimit == nil || f.Docs == "" || f.Description == "" || len(f.Permissions) == 0 {
			t.Errorf("%s lacks a rate limit, docs, description or permissions", f.Name)
		}
		if f.Snapshot != nil {
			if f.Snapshot.First != definition.FirstBaseline || f.Interval < time.Hour {
				t.Errorf("%s: a first inventory is no alarm, and each listing costs: %+v, every %v", f.Name, f.Snapshot, f.Interval)
			}
			continue
		}
		if f.Window == nil || f.Window.Overlap < 2*time.Hour {
			t.Errorf("%s: a record that is visible 90 minutes late would be missed: %+v", f.Name, f.Window)
		}
		// Where the cursor is the time of the last change, the same id comes again
		// with other content.
		if strings.Contains(strings.ToLower(f.Cursor.Field), "update") && !slices.Contains(f.Key, f.Cursor.Field) {
			t.Errorf("%s: the key %v takes a change of a row for a repetition", f.Name, f.Key)
		}
	}
}
