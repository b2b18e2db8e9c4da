package author

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// Feed is the feed of the answer, as YAML.
func (a *Answer) Feed(name string, bases Bases) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	address := a.address(name)
	line("# yaml-language-server: $schema=../schemas/feed.schema.json")
	line("#")
	line("# Written from one answer of the endpoint. What is marked with a question mark is a guess: look at it,")
	line("# then try the feed with \"try %s\".", name)
	line("name: %s", name)
	line("description: %s", quoted("Records of "+strings.TrimPrefix(strings.TrimPrefix(address, "${MS_GRAPH_BASE}"), "${MS_MANAGE_BASE}")))
	line("auth: {scope: %q}", Scope(address, bases))
	line("# permissions: [AuditLog.Read.All]   # ? what the app needs for it: check then tells whether it has that")
	line("request:")
	if a.URL != "" {
		line("  url: %s", quoted(address))
	} else {
		line("  url: %s   # ? the answer does not tell where it came from", quoted(address))
	}
	present := a.present()
	window := a.Time != "" && !present && a.bounded()
	a.query(line, window)
	switch {
	case a.OData:
		line("paging: {style: odata}")
	case a.Next != "" && a.Token:
		last := a.Next[strings.LastIndex(a.Next, ".")+1:]
		line("paging: {style: body, path: %s, param: %s}   # ? param: what the token of the next page is sent back as", quoted(a.Next), quoted(tokenParam(last)))
	case a.Next != "":
		line("paging: {style: body, path: %s}", quoted(a.Next))
	default:
		line("# paging: {style: page, param: page, size: 100}   # ? the answer shows no next page")
	}
	line("records: %s", quoted(a.Path))
	switch {
	case window:
		line("cursor: {field: %s}", quoted(a.Time))
		line("window: {max: 1d, overlap: 1h, retention: 7d}   # ? retention: how long the service keeps records")
	case present:
		line("# It shows what there is now: each round is compared with the last, and what is new, changed or gone")
		line("# becomes an event. ? ignore: names of fields whose change is none, such as [lastSeenDateTime]")
		line("snapshot: {id: %s}", quoted(escape(a.Key[0])))
		line("interval: 1h")
		line("mapping: %s", name)
		return b.String()
	default:
		line("# Every poll reads the whole list: what was delivered once is not delivered again.")
		if a.Time != "" {
			line("# Where the service takes times, it need not: ? what does it call them?")
			line("# request: {query: {since: \"${window.from}\", until: \"${window.to}\"}}")
			line("# cursor: {field: %s}", quoted(a.Time))
		}
		line("interval: 1h")
	}
	switch len(a.Key) {
	case 0:
		line("key: \"@this\"                         # ? no field tells the records apart: the whole record does")
	case 1:
		line("key: %s", quoted(escape(a.Key[0])))
	default:
		keys := make([]string, len(a.Key))
		for i, k := range a.Key {
			keys[i] = quoted(escape(k))
		}
		line("key: [%s]                # ? together they tell the records apart", strings.Join(keys, ", "))
	}
	line("mapping: %s", name)
	return b.String()
}

// query writes the parameters of the request: those of the URL, and the window.
func (a *Answer) query(line func(string, ...any), window bool) {
	filter, byTime := a.filter()
	if window && a.OData {
		span := a.Time + " ge ${window.from} and " + a.Time + " lt ${window.to}"
		if filter != "" {
			span = "(" + filter + ") and " + span
		}
		line("  query:")
		line("    # ? not every endpoint filters by every property: an HTTP 400 says so; then take this out")
		if byTime != "" {
			line("    # ? the URL had %s, in whose place this is", byTime)
		}
		line("    $filter: %s", quoted(span))
	} else if len(a.Query) > 0 {
		line("  query:")
	}
	for _, p := range a.Query {
		if p.Name != "$filter" || !(window && a.OData) {
			line("    %s: %s", quoted(p.Name), quoted(p.Value))
		}
	}
}

// bounded reports whether the request says which time it is about.
func (a *Answer) bounded() bool {
	return a.OData || slices.ContainsFunc(a.Query, func(p Parameter) bool { return p.Value == "${window.from}" })
}

// present reports whether the endpoint shows what there is now, and not what happened.
func (a *Answer) present() bool {
	return len(a.Key) == 1 && (a.Time == "" || slices.Contains(changeTimes, a.Time) || presentState.MatchString(a.URL))
}

// changeTimes say when a row was last changed: what has no other time is no record of something that happened.
var changeTimes = []string{"lastModifiedDateTime", "lastUpdatedDateTime", "lastUpdateDateTime", "modifiedDateTime", "lastSeenDateTime"}

// presentState are endpoints that show what there is now, whose times say when it was
// made: a window over them would miss what changes.
var presentState = regexp.MustCompile(`(?i)/(users|groups|devices|managedDevices|applications|servicePrincipals|directoryRoles|domains|subscribedSkus|organization|conditionalAccess/policies|namedLocations|administrativeUnits|sites|teams|secureScoreControlProfiles)$`)

var tokenWords = regexp.MustCompile(`(?i)^next_?(page_?)?(token|cursor)?$`)

// tokenParam is what a token is probably sent back as.
func tokenParam(name string) string {
	lower := strings.ToLower(name)
	switch {
	case strings.Contains(lower, "cursor"), lower == "next":
		return "cursor"
	case strings.Contains(lower, "continuation"):
		return name
	case tokenWords.MatchString(name) && strings.Contains(lower, "page"):
		return "pageToken"
	case tokenWords.MatchString(name):
		return "token"
	}
	return name
}

var plain = regexp.MustCompile(`^[A-Za-z$][A-Za-z0-9_.$-]*$`)

// quoted is a text as a YAML scalar.
func quoted(s string) string {
	if plain.MatchString(s) && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(s)) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// rule is a field of the event, and the fields of records that give it, by the ends of their names.
type rule struct {
	field string
	ends  []string // the likeliest first; of one end, the shortest name
	wrap  string   // the expression, with %s for the field
	value *regexp.Regexp
}

var (
	anAddress = regexp.MustCompile(`^\[?[0-9A-Fa-f:.]+\]?(:\d+)?$`)
	anything  = regexp.MustCompile(`.`)
	aURL      = regexp.MustCompile(`^https?://`)
)

var rules = []rule{
	{"user_name", []string{"initiatedBy_user_userPrincipalName", "actor_userPrincipalName", "userPrincipalName", "user_userPrincipalName", "createdBy_user_userPrincipalName", "createdBy_user_email", "lastModifiedBy_user_userPrincipalName", "lastModifiedBy_user_email", "from_emailAddress_address", "sender_emailAddress_address", "organizer_emailAddress_address", "upn", "UserId", "userId", "userEmail", "userDisplayName", "user_displayName", "userName", "mail", "emailAddress", "email"}, "lower(%s)", anything},
	{"user_id", []string{"initiatedBy_user_id", "userId", "user_id", "actor_userId"}, "%s", anything},
	{"ip_src_address", []string{"ipAddress", "clientIp", "ClientIP", "clientIPAddress", "initiatedBy_user_ipAddress", "actor_ipAddress", "sourceIp", "sourceAddress", "remoteIpAddress", "lastExternalIpAddress", "ip"}, "ip(%s)", anAddress},
	{"host_name", []string{"deviceDetail_displayName", "deviceName", "deviceDisplayName", "managedDeviceName", "computerDnsName", "deviceDnsName", "hostName"}, "%s", anything},
	{"file_name", []string{"fileName", "fileDetails_fileName"}, "%s", anything},
	{"email_subject", []string{"subject"}, "%s", anything},
	{"http_url", []string{"webUrl", "alertWebUrl", "incidentWebUrl"}, "%s", aURL},
	{"http_user_agent", []string{"userAgent", "UserAgent"}, "%s", anything},
	{"error_message", []string{"status_failureReason", "resultReason", "failureReason", "errorMessage"}, "%s", anything},
	{"alert_name", []string{"alertDisplayName", "title"}, "%s", anything},
	{"source_severity", []string{"severity", "riskLevel", "Severity"}, "kebab(%s)", anything},
}

// operations are fields that say what was done, the most telling first.
var operations = []string{"activityDisplayName", "Operation", "operation", "activity", "activityType", "riskEventType", "operationName", "displayName_operation", "eventType", "action", "category"}

// Mapping is the mapping of the answer, as YAML.
func (a *Answer) Mapping(name string) string {
	names, pairs := a.fields()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	field := func(name, expression, note string) {
		b.WriteString("  " + name + ": '" + strings.ReplaceAll(expression, "'", "''") + "'")
		if note != "" {
			b.WriteString("   # ? " + note)
		}
		b.WriteByte('\n')
	}
	line("# yaml-language-server: $schema=../schemas/mapping.schema.json")
	line("#")
	line("# Written from one answer of the endpoint, by the names of its records' fields. Each of them is in the event")
	line("# anyhow, as event_…; here stands what it means. Look at it with \"map --mapping %s --explain\".", name)
	line("name: %s", name)
	line("description: Records of %s", name)
	if len(pairs) > 0 {
		line("flatten:")
		line("  pairs: [%s]", strings.Join(pairs, ", "))
	}
	line("fields:")
	if a.Time != "" && !a.present() { // a change of state has the time at which it was seen
		field("timestamp", "time(event_"+flattened(a.Time)+")", "")
	}
	operation := fmt.Sprintf("%q", name)
	if a.present() {
		operation = fmt.Sprintf("%q + (event_change ?? \"seen\")", name+"-")
	} else if did := pick(names, operations, anything); did != "" {
		operation = fmt.Sprintf("kebab(%s) ?? %q", did, name)
	}
	field("operation", operation, "what was done: the entity first, then the act")
	field("outcome", outcome(names), "success or failure")
	taken := map[string]bool{}
	subject := ""
	for _, r := range rules {
		found := pick(names, r.ends, r.value)
		if found == "" || taken[found] {
			continue
		}
		taken[found] = true
		field(r.field, fmt.Sprintf(r.wrap, found), "")
		if r.field == "user_name" {
			subject = found
		}
	}
	text := []string{fmt.Sprintf("%q", strings.ReplaceAll(name, "-", " "))}
	for _, end := range []string{"title", "displayName", "activityDisplayName", "description", "subject", "name", "Operation"} {
		if title := pick(names, []string{end}, anything); title != "" && title != subject && (!taken[title] || end == "title" || end == "subject") {
			text = append(text, title)
			break
		}
	}
	if subject != "" {
		text = append(text, subject)
	}
	field("message_text", "words("+strings.Join(text, ", ")+")", "one readable line")
	return b.String()
}

// fields are the names that the records' fields get in events, with a value of each, and
// the arrays of names and values among them.
func (a *Answer) fields() (names map[string]gjson.Result, pairs []string) {
	names = map[string]gjson.Result{}
	listed := map[string]bool{}
	var add func(value gjson.Result, prefix string)
	add = func(value gjson.Result, prefix string) {
		value.ForEach(func(key, v gjson.Result) bool {
			name := prefix + "_" + flattened(key.Str)
			switch {
			case v.IsObject():
				add(v, name)
			case v.IsArray() && isPairs(v):
				listed[strings.TrimPrefix(name, "event_")] = true
			case v.Type != gjson.Null && !v.IsArray() && v.String() != "":
				if _, known := names[name]; !known {
					names[name] = v
				}
			}
			return true
		})
	}
	for _, r := range a.Records {
		add(gjson.ParseBytes(r), "event")
	}
	return names, slices.Sorted(maps.Keys(listed))
}

func isPairs(list gjson.Result) bool {
	found := false
	for _, v := range list.Array() {
		named := v.Get("key").Type == gjson.String || v.Get("Key").Type == gjson.String || v.Get("name").Type == gjson.String || v.Get("Name").Type == gjson.String
		if !named || !v.Get("value").Exists() && !v.Get("Value").Exists() {
			return false
		}
		found = true
	}
	return found
}

// outcome is success, unless the record has a field that says otherwise.
func outcome(names map[string]gjson.Result) string {
	if field := pick(names, []string{"status_errorCode", "errorCode"}, anything); field != "" {
		return field + ` in [nil, 0, "0"] ? "success" : "failure"`
	}
	if field := pick(names, []string{"result", "activityResult", "ResultStatus", "outcome"}, anything); field != "" {
		return "lower(string(" + field + `)) in ["failure", "failed", "error", "denied", "timeout"] ? "failure" : "success"`
	}
	if field := pick(names, []string{"succeeded", "success", "isSuccess"}, anything); field != "" {
		return field + ` == false ? "failure" : "success"`
	}
	return `"success"`
}

// flattened is the name that a path of a record gets in an event, without event_.
func flattened(path string) string { return notName.ReplaceAllString(path, "_") }

var notName = regexp.MustCompile(`[^A-Za-z0-9_]`)

// pick is the field whose name ends so, "" if there is none with such a value.
func pick(names map[string]gjson.Result, ends []string, value *regexp.Regexp) string {
	for _, end := range ends {
		best := ""
		for name, v := range names {
			short := strings.TrimPrefix(name, "event_")
			if (strings.EqualFold(short, end) || strings.HasSuffix(strings.ToLower(short), "_"+strings.ToLower(end))) &&
				!v.IsArray() && !v.IsObject() && !strings.HasPrefix(v.Str, "[") && value.MatchString(v.String()) &&
				(best == "" || len(name) < len(best) || len(name) == len(best) && name < best) {
				best = name
			}
		}
		if best != "" {
			return best
		}
	}
	return ""
}

// Write writes feed and mapping into a folder of definitions, and returns what it wrote. It overwrites nothing.
func (a *Answer) Write(dir, name string, bases Bases) (written []string, err error) {
	files := [][2]string{
		{filepath.Join(dir, "feeds", name+".yaml"), a.Feed(name, bases)},
		{filepath.Join(dir, "mappings", name+".yaml"), a.Mapping(name)},
	}
	for _, f := range files {
		if _, err := os.Stat(f[0]); err == nil {
			return nil, fmt.Errorf("%s is there already: remove it, or choose another name", f[0])
		}
	}
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f[0]), 0o755); err != nil {
			return written, err
		}
		if err := os.WriteFile(f[0], []byte(f[1]), 0o644); err != nil {
			return written, err
		}
		written = append(written, f[0])
	}
	return written, nil
}
