package transform

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/engine/definition"
)

// corpus makes records of three kinds as an audit service writes them: file
// operations, log-ons with arrays of named values, and sign-ins with nested
// objects; 45, 35 and 20 in a hundred. They vary in identities, in the fields
// that they have and in the order of a few of them.
func corpus(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([][]byte, n)
	for i := range out {
		switch p := r.IntN(100); {
		case p < 45:
			out[i] = []byte(fileRecord(r))
		case p < 80:
			out[i] = []byte(logonRecord(r))
		default:
			out[i] = []byte(signinRecord(r))
		}
	}
	return out
}

func guid(r *rand.Rand) string {
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.Uint32()&0xffff, r.Uint32()&0xfff, r.Uint32()&0xfff, r.Uint64()&0xffffffffffff)
}

func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

func person(r *rand.Rand) (mail, name string) {
	first := pick(r, "Alice", "Bob", "Zoë", "Mehmet", "Ingrid", "Łukasz", "Maria", "Tom")
	last := pick(r, "Nguyen", "Smith", "Ångström", "García", "Okafor", "Müller", "Rossi")
	ascii := strings.NewReplacer("ë", "e", "Ł", "L", "Å", "A", "ö", "o", "í", "i", "ü", "u")
	return ascii.Replace(first + "." + last + fmt.Sprint(r.IntN(500)) + "@Example.com"), first + " " + last
}

func address(r *rand.Rand) string {
	if r.IntN(5) == 0 {
		return fmt.Sprintf("2001:db8:%x:%x::%x", r.IntN(65536), r.IntN(65536), r.IntN(65536))
	}
	return fmt.Sprintf("203.0.%d.%d", r.IntN(256), r.IntN(256))
}

func instant(r *rand.Rand) string {
	return fmt.Sprintf("2026-03-%02dT%02d:%02d:%02d", 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60))
}

// maybe gives the text most of the time.
func maybe(r *rand.Rand, text string) string {
	if r.IntN(8) == 0 {
		return ""
	}
	return text
}

func fileRecord(r *rand.Rand) string {
	mail, _ := person(r)
	folder := pick(r, "Shared Documents/Finance", "Shared Documents/Projects/2026/März", "Documents", "Shared Documents/General")
	file := fmt.Sprintf("%s %d.%s", pick(r, "Budget", "Angebot", "Report", "Minutes", "Résumé"), r.IntN(1000), pick(r, "xlsx", "docx", "pdf", "pptx"))
	site := "https://example.files.test/sites/" + pick(r, "finance", "projects", "hr") + "/"
	record := `{"AppAccessContext":{"AADSessionId":"` + guid(r) + `","CorrelationId":"` + guid(r) + `","UniqueTokenId":"k9QhT0uVhkqk` + fmt.Sprint(r.IntN(1e6)) + `AA"},` +
		`"CreationTime":"` + instant(r) + `","Id":"` + guid(r) + `","Operation":"` + pick(r, "FileAccessed", "FileModified", "FileDownloaded", "FileAccessedExtended", "FileDeleted", "FolderCreated") + `",` +
		`"OrganizationId":"` + guid(r) + `","RecordType":6,"UserKey":"i:0h.f|membership|1003200` + fmt.Sprint(r.IntN(1e9)) + `@live.test","UserType":0,"Version":1,"Workload":"Files",` +
		`"ClientIP":"` + address(r) + `","UserId":"` + mail + `","ApplicationId":"` + guid(r) + `",` +
		maybe(r, `"AuthenticationType":"OAuth","BrowserName":"Chrome","BrowserVersion":"131.0.0.0",`) +
		`"CorrelationId":"` + guid(r) + `","EventSource":"Files","IsManagedDevice":false,"ItemType":"File","ListId":"` + guid(r) + `","ListItemUniqueId":"` + guid(r) + `",` +
		maybe(r, `"Platform":"WinDesktop",`) + `"Site":"` + guid(r) + `","UserAgent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36","WebId":"` + guid(r) + `",` +
		maybe(r, `"DeviceDisplayName":"`+address(r)+`","EventSignature":"`+guid(r)+`",`) +
		`"FileSizeBytes":` + fmt.Sprint(r.IntN(1<<30)) + `,"HighPriorityMediaProcessing":false,"ListBaseType":1,"ListServerTemplate":101,"SiteUrl":"` + site + `","SourceRelativeUrl":"` + folder + `","SourceFileName":"` + file + `","SourceFileExtension":"` + file[strings.LastIndexByte(file, '.')+1:] + `",` +
		maybe(r, `"SensitivityLabelId":"`+guid(r)+`","SensitivityLabelOwnerEmail":"`+mail+`",`) +
		`"ApplicationDisplayName":"` + pick(r, "Web", "Notes", "Sync", "Browser") + `","ObjectId":"` + site + folder + "/" + file + `"}`
	return record
}

func logonRecord(r *rand.Rand) string {
	mail, _ := person(r)
	operation, status, code := "UserLoggedIn", "Success", "0"
	if r.IntN(4) == 0 {
		operation, status, code = "UserLoginFailed", "Failed", pick(r, "50126", "50053", "50140", "700016")
	}
	extended := []string{
		`{"Name":"ResultStatusDetail","Value":"` + pick(r, "Success", "Redirect", "UserError") + `"}`,
		`{"Name":"UserAgent","Value":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15"}`,
		`{"Name":"RequestType","Value":"` + pick(r, "OAuth2:Authorize", "Login:login", "SAS:EndAuth", "OAuth2:Token") + `"}`,
	}
	devices := []string{
		`{"Name":"Id","Value":"` + guid(r) + `"}`, `{"Name":"DisplayName","Value":"LAPTOP-` + fmt.Sprint(r.IntN(1e5)) + `"}`,
		`{"Name":"OS","Value":"` + pick(r, "Windows10", "MacOs", "Ios") + `"}`, `{"Name":"BrowserType","Value":"` + pick(r, "Chrome", "Edge", "Safari") + `"}`,
		`{"Name":"IsCompliantAndManaged","Value":"` + pick(r, "True", "False") + `"}`, `{"Name":"SessionId","Value":"` + guid(r) + `"}`,
	}
	if r.IntN(3) == 0 {
		r.Shuffle(len(extended), func(i, j int) { extended[i], extended[j] = extended[j], extended[i] })
	}
	devices = devices[r.IntN(3):]
	who, client := guid(r), address(r)
	if strings.Contains(client, ":") {
		client = "[" + client + "]"
	}
	return `{"CreationTime":"` + instant(r) + `","Id":"` + guid(r) + `","Operation":"` + operation + `","OrganizationId":"` + guid(r) + `","RecordType":15,"ResultStatus":"` + status + `","UserKey":"` + who + `","UserType":0,"Version":1,"Workload":"Directory",` +
		`"ClientIP":"` + client + `:` + fmt.Sprint(1024+r.IntN(60000)) + `","ObjectId":"` + guid(r) + `","UserId":"` + mail + `","DirectoryEventType":1,` +
		`"ExtendedProperties":[` + strings.Join(extended, ",") + `],"ModifiedProperties":[],` +
		`"Actor":[{"ID":"` + who + `","Type":0},{"ID":"` + mail + `","Type":5}],"ActorContextId":"` + guid(r) + `","ActorIpAddress":"` + address(r) + `","InterSystemsId":"` + guid(r) + `","IntraSystemId":"` + guid(r) + `","SupportTicketId":"",` +
		`"Target":[{"ID":"` + guid(r) + `","Type":0}],"TargetContextId":"` + guid(r) + `","ApplicationId":"` + pick(r, "00000002-0000-0ff1-ce00-000000000000", guid(r)) + `",` +
		`"DeviceProperties":[` + strings.Join(devices, ",") + `],"ErrorNumber":"` + code + `"` + maybe(r, `,"LogonError":"`+pick(r, "InvalidUserNameOrPassword", "IdsLocked")+`"`) + `}`
}

func signinRecord(r *rand.Rand) string {
	mail, name := person(r)
	code := "0"
	if r.IntN(5) == 0 {
		code = pick(r, "50126", "50076", "53003")
	}
	var policies []string
	for range r.IntN(4) {
		policies = append(policies, `{"id":"`+guid(r)+`","displayName":"Require multifactor authentication for \"all\" users","enforcedGrantControls":["Mfa"],"enforcedSessionControls":[],"result":"`+pick(r, "success", "notApplied", "notEnabled")+`","conditionsSatisfied":"application,users","conditionsNotSatisfied":"none"}`)
	}
	return `{"id":"` + guid(r) + `","createdDateTime":"` + instant(r) + `Z","userDisplayName":"` + name + `","userPrincipalName":"` + strings.ToLower(mail) + `","userId":"` + guid(r) + `","appId":"` + guid(r) + `","appDisplayName":"` + pick(r, "Mail", "Portal", "Command Line", "Chat") + `",` +
		`"ipAddress":"` + address(r) + `","clientAppUsed":"` + pick(r, "Browser", "Mobile Apps and Desktop clients", "IMAP4") + `","userAgent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0","correlationId":"` + guid(r) + `","conditionalAccessStatus":"` + pick(r, "success", "notApplied", "failure") + `",` +
		`"originalRequestId":"` + guid(r) + `","isInteractive":true,"tokenIssuerName":"","tokenIssuerType":"Directory","processingTimeInMilliseconds":` + fmt.Sprint(r.IntN(900)) + `,"riskDetail":"none","riskLevelAggregated":"none","riskLevelDuringSignIn":"` + pick(r, "none", "low", "high") + `","riskState":"none","riskEventTypes":[],"riskEventTypes_v2":[],` +
		`"resourceDisplayName":"Directory API","resourceId":"00000003-0000-0000-c000-000000000000","resourceTenantId":"` + guid(r) + `","homeTenantId":"` + guid(r) + `","authenticationMethodsUsed":[],"authenticationRequirement":"` + pick(r, "multiFactorAuthentication", "singleFactorAuthentication") + `","alternateSignInName":null,"servicePrincipalName":null,"signInEventTypes":["interactiveUser"],"servicePrincipalId":"",` +
		`"userType":"member","flaggedForReview":false,"isTenantRestricted":false,"autonomousSystemNumber":` + fmt.Sprint(r.IntN(65000)) + `,"crossTenantAccessType":"none","uniqueTokenIdentifier":"` + guid(r) + `","incomingTokenType":"none","authenticationProtocol":"none","mfaDetail":null,` +
		`"authenticationProcessingDetails":[{"key":"Login Hint Present","value":"True"},{"key":"Oauth Scope Info","value":"[\"User.Read\",\"Mail.Read\"]"}],` +
		`"status":{"errorCode":` + code + `,"failureReason":"Other.","additionalDetails":"MFA requirement satisfied by claim in the token"},` +
		`"deviceDetail":{"deviceId":"` + guid(r) + `","displayName":"DESKTOP-` + fmt.Sprint(r.IntN(1e5)) + `","operatingSystem":"Windows10","browser":"Edge 131.0.0","isCompliant":true,"isManaged":true,"trustType":"Hybrid joined"},` +
		`"location":{"city":"` + pick(r, "Zürich", "Sydney", "São Paulo", "Austin") + `","state":"` + pick(r, "ZH", "NSW", "SP", "TX") + `","countryOrRegion":"` + pick(r, "CH", "AU", "BR", "US") + `","geoCoordinates":{"altitude":null,"latitude":` + fmt.Sprintf("%.4f", r.Float64()*90) + `,"longitude":` + fmt.Sprintf("%.5f", r.Float64()*180) + `}},` +
		`"appliedConditionalAccessPolicies":[` + strings.Join(policies, ",") + `],"authenticationDetails":[{"authenticationStepDateTime":"` + instant(r) + `Z","authenticationMethod":"Password","authenticationMethodDetail":"Password in the cloud","succeeded":true,"authenticationStepResultDetail":"Correct password","authenticationStepRequirement":"Primary authentication","StatusSequence":0,"RequestSequence":1}]}`
}

// benchMapping is a mapping of 25 computed fields with tables and cases, for
// all three kinds of record.
func benchMapping() *definition.Mapping {
	apps := map[string]any{}
	for i := range 100 {
		apps[fmt.Sprintf("%08d-0000-0ff1-ce00-000000000000", i)] = fmt.Sprintf("Application %d", i)
	}
	return &definition.Mapping{
		Name:  "bench",
		Pairs: []definition.Text{{Value: "ExtendedProperties"}, {Value: "ModifiedProperties"}, {Value: "DeviceProperties"}, {Value: "authenticationProcessingDetails"}},
		Tables: map[string]map[string]any{
			"outcomes":   {"success": "success", "succeeded": "success", "true": "success", "failed": "failure", "false": "failure", "0": "success"},
			"operations": {"FileAccessed": "file-access", "FileModified": "file-modify", "FileDownloaded": "file-download", "UserLoggedIn": "user-logon", "UserLoginFailed": "user-logon"},
			"errors":     {"50126": "wrong user name or password", "50053": "account locked", "50076": "second factor required", "53003": "blocked by policy"},
			"interrupts": {"50140": true, "50076": true},
			"user_types": {"0": "regular", "2": "admin", "3": "system"},
			"apps":       apps,
		},
		Fields: fields(
			"timestamp", `time(event_CreationTime ?? event_createdDateTime)`,
			"operation", `tables.operations[event_Operation] ?? kebab(event_Operation)`,
			"outcome", `tables.outcomes[lower(event_ResultStatus)] ?? "success"`,
			"user_name", `lower(event_UserId ?? event_userPrincipalName)`,
			"user_domain", `user_name contains "@" ? split(user_name, "@")[1] : nil`,
			"user_id", `event_UserKey ?? event_userId`,
			"user_type", `tables.user_types[event_UserType] ?? event_userType`,
			"ip_src_address", `ip(event_ClientIP) ?? ip(event_ipAddress) ?? ip(event_ActorIpAddress)`,
			"ip_src_port", `port(event_ClientIP)`,
			"http_user_agent", `event_UserAgent ?? event_ExtendedProperties_UserAgent ?? event_userAgent`,
			"app_client_id", `event_ApplicationId ?? event_appId`,
			"app_client_name", `event_appDisplayName ?? tables.apps[app_client_id]`,
			"source_type", `"audit"`,
			"source_record_type", `event_RecordType`,
			"organization_id", `event_OrganizationId ?? event_homeTenantId`,
			"correlation_id", `event_CorrelationId ?? event_correlationId`,
			"host_name", `lower(event_DeviceProperties_DisplayName ?? event_deviceDetail_displayName)`,
			"host_os", `event_DeviceProperties_OS ?? event_deviceDetail_operatingSystem`,
			"message_text", `words(user_name ?? "Someone", operation, data_object ?? app_client_name, "from " + ip_src_address, outcome == "failure" ? "(failed)" : nil)`,
			"data_object", `event_ObjectId in ["", "Unknown"] ? nil : event_ObjectId`,
		),
		Cases: []definition.Case{
			when(`event_RecordType in [6, 14, 36]`,
				"file_name", `event_SourceFileName`,
				"file_path", `event_SourceRelativeUrl + "/" + event_SourceFileName`,
				"file_extension", `lower(event_SourceFileExtension)`,
				"file_size", `event_FileSizeBytes`),
			when(`event_RecordType == 15`,
				"auth_username", `user_name`,
				"error_code", `event_ErrorNumber in ["0", ""] ? nil : event_ErrorNumber`,
				"error_message", `tables.errors[error_code] ?? event_LogonError`,
				"auth_request", `event_ExtendedProperties_RequestType`),
			when(`event_Operation == "UserLoginFailed" && tables.interrupts[event_ErrorNumber] != true`, "outcome", `"failure"`),
			when(`event_status_errorCode != nil`,
				"operation", `"user-logon"`,
				"auth_username", `user_name`,
				"outcome", `event_status_errorCode == 0 || tables.interrupts[event_status_errorCode] == true ? "success" : "failure"`,
				"error_code", `event_status_errorCode == 0 ? nil : event_status_errorCode`,
				"error_message", `tables.errors[error_code]`,
				"geo_city", `event_location_city`),
			when(`event_UserId startsWith "S-1-5-18" || event_UserId startsWith "NT AUTHORITY"`, "user_type", `"system"`),
			when(`event_UserId contains "#EXT#"`, "user_type", `"guest"`),
			when(`event_riskLevelDuringSignIn in ["medium", "high"]`, "source_severity", `event_riskLevelDuringSignIn`),
		},
	}
}

// constantsForBench are those that every event has.
var constantsForBench = []Constant{{"vendor", "Example"}, {"product", "Suite"}, {"type", "cloud"}, {"app_name", "suite"}, {"technology_group", "cloud"}, {"schema_version", "1.0"}, {"source_name", "audit"}}

func TestCorpusMapsCleanly(t *testing.T) {
	t.Parallel()
	m := compile(t, benchMapping(), constantsForBench...)
	mapper := m.NewMapper()
	for _, record := range corpus(500) {
		out, failed := mapper.Append(nil, record)
		if len(failed) > 0 {
			t.Fatalf("%v: %s", failed, record)
		}
		event := decode(t, string(out))
		for _, name := range []string{"timestamp", "operation", "outcome", "user_name", "ip_src_address", "message_text"} {
			if len(event[name]) == 0 {
				t.Fatalf("no %s: %s", name, out)
			}
		}
	}
}
