package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/joho/godotenv"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// This file reads the settings. The rules are: every problem is reported, not
// the first; each problem is one line that names the setting and says what to
// write; a blank value counts as not set (env files hold many), except for
// LISTEN_ADDR, where blank turns the listener off; unknown names are ignored.

// settings are the connector's settings, validated: of its only tenant, of one of
// several, or of the process that runs several.
type settings struct {
	tenantsDir string // of the process; the settings of each tenant stand in a file there
	workers    int
	appRate    rateLimit // of the application, over all tenants

	tenantRate rateLimit

	tenant             string          // the name of one of several, "" of the only one
	switched           map[string]bool // feeds on or off, whatever they say themselves
	tenantID, clientID string
	credential         credential

	projectID     string
	token         string
	tokenFile     string
	collectorBase string
	ingestBase    string
	output        string        // a path, or - for stdout
	stream        *load.Address // of OUTPUT, if it is one of a stream platform
	streamFile    string        // with the credentials for it
	shadowed      []string      // destination settings that OUTPUT overrides

	loginBase, manageBase, graphBase string
	cloud                            string

	poll, lookback, heartbeat time.Duration

	logLevel, logFormat string
	stateDir, configDir string
	shared              sharedState
	listen              string

	format      string
	concurrency int
	gzip        bool

	environment string

	// names are the settings as the expressions of feeds see them. No secret
	// is among them: an expression could put it into a URL.
	names map[string]any
}

// credential is the one way in which the connector proves who it is.
type credential struct {
	kind  string // the name of the setting that gave it
	value string // the secret itself, or the path of the file
}

// The content types of the Management Activity API:
// https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference
var contentTypes = []string{"Audit.AzureActiveDirectory", "Audit.Exchange", "Audit.SharePoint", "Audit.General", "DLP.All"}

// A cloud's login, Management API and Graph bases:
// https://learn.microsoft.com/graph/deployments
type cloudBases struct{ login, manage, graph string }

var clouds = map[string]cloudBases{
	"commercial": {"https://login.microsoftonline.com", "https://manage.office.com", "https://graph.microsoft.com"},
	"gcc":        {"https://login.microsoftonline.com", "https://manage-gcc.office.com", "https://graph.microsoft.com"},
	"gcchigh":    {"https://login.microsoftonline.us", "https://manage.office365.us", "https://graph.microsoft.us"},
	"dod":        {"https://login.microsoftonline.us", "https://manage.protection.apps.mil", "https://dod-graph.microsoft.us"},
	// Microsoft documents no Management API host for 21Vianet.
	"china": {"https://login.partner.microsoftonline.cn", "", "https://microsoftgraph.chinacloudapi.cn"},
}

var cloudNames = []string{"commercial", "gcc", "gcchigh", "dod", "china"}

// settingsError is every problem of the settings, a line each.
type settingsError []string

func (e settingsError) Error() string { return strings.Join(e, "\n") }

// environment is the process's environment, completed by a .env file in the
// working directory or beside the program; the environment wins.
func environment() (map[string]string, error) {
	env := map[string]string{}
	dirs := []string{"."}
	if exe, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(exe))
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, ".env")
		file, err := godotenv.Read(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && dir != ".":
			continue
		case err != nil:
			// The error of the parser may quote the line, and so a secret.
			if _, isPath := errors.AsType[*fs.PathError](err); isPath {
				return nil, settingsError{fmt.Sprintf("%s cannot be read: %v", path, err)}
			}
			return nil, settingsError{fmt.Sprintf("%s cannot be read: a line in it is not of the form NAME=value", path)}
		}
		for name, value := range file {
			if _, ok := env[name]; !ok {
				env[name] = value
			}
		}
	}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	return env, nil
}

// reader takes settings out of an environment and collects what is wrong.
type reader struct {
	env      map[string]string
	problems settingsError
}

func (r *reader) fail(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

func (r *reader) text(name string) string { return strings.TrimSpace(r.env[name]) }

func (r *reader) textOr(name, otherwise string) string {
	if v := r.text(name); v != "" {
		return v
	}
	return otherwise
}

func (r *reader) boolean(name string, otherwise bool) bool {
	switch v := strings.ToLower(r.text(name)); v {
	case "":
		return otherwise
	case "true", "1", "yes", "on":
		return true
	case "false", "0", "no", "off":
		return false
	default:
		r.fail("%s is %q: write true or false", name, v)
		return otherwise
	}
}

func (r *reader) oneOf(name, otherwise string, values ...string) string {
	v := r.textOr(name, otherwise)
	for _, known := range values {
		if strings.EqualFold(v, known) {
			return known
		}
	}
	r.fail("%s is %q: write one of %s", name, v, strings.Join(values, ", "))
	return otherwise
}

// briefest is the least an interval may be: enough for a test, and no busy loop.
const briefest = 100 * time.Millisecond

// minutes reads a number of minutes, decimals allowed. A zero is allowed only
// where least is 0.
func (r *reader) minutes(name string, otherwise float64, least time.Duration) time.Duration {
	v := r.text(name)
	n := otherwise
	if v != "" {
		var err error
		// A year is far beyond what any of these settings can mean.
		if n, err = strconv.ParseFloat(v, 64); err != nil || !(n >= 0 && n <= 525600) {
			r.fail("%s is %q: write a number of minutes, such as %v", name, v, otherwise)
			n = otherwise
		}
	}
	d := time.Duration(n * float64(time.Minute))
	if d < least {
		r.fail("%s is %q: write a number of minutes above 0, decimals allowed, such as %v", name, v, otherwise)
	}
	return d
}

func (r *reader) count(name string, otherwise, most int) int {
	v := r.text(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		r.fail("%s is %q: write a whole number from 1 to %d", name, v, most)
		return otherwise
	}
	return n
}

// rateLimit is so many requests in any span of that length; 0 of them: no limit.
type rateLimit struct {
	requests int
	per      time.Duration
}

func (l rateLimit) budget() *extract.Budget {
	if l.requests == 0 {
		return nil
	}
	return extract.NewBudget(l.requests, l.per)
}

func (l rateLimit) String() string { return fmt.Sprintf("%d/%s", l.requests, l.per) }

// defaultAppRate is what Microsoft Graph allows an application over all tenants, the only
// limit of that kind that is documented: https://learn.microsoft.com/graph/throttling-limits
var defaultAppRate = rateLimit{130_000, 10 * time.Second}

func (r *reader) rate(name string, otherwise rateLimit) rateLimit {
	v := r.text(name)
	if v == "" {
		return otherwise
	}
	count, span, _ := strings.Cut(v, "/")
	n, err := strconv.Atoi(strings.TrimSpace(count))
	per, ok := definition.ParseDuration(strings.TrimSpace(span))
	if err != nil || n < 1 || !ok || per <= 0 {
		r.fail("%s is %q: write a number of requests and a span of time, such as 8000/10s", name, v)
		return rateLimit{}
	}
	return rateLimit{n, per}
}

// base reads the URL of a service. Plain http would show tokens to the
// network, so it is for loopback only.
func (r *reader) base(name, otherwise string) string {
	v := r.textOr(name, otherwise)
	if v == "" {
		return ""
	}
	u, err := url.Parse(v)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		r.fail("%s is %q: write a URL such as https://host.example", name, printable(v))
	case u.User != nil:
		r.fail("%s holds a user name or password: write the URL without it", name)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		r.fail("%s is %q: write https://; plain http is allowed for loopback addresses only", name, printable(v))
	case name != "S60_COLLECTOR_BASE" && (u.RawQuery != "" || u.Fragment != ""):
		r.fail("%s is %q: write the URL without a query or fragment", name, printable(v))
	}
	if name == "S60_COLLECTOR_BASE" { // used exactly as given
		return v
	}
	return strings.TrimRight(v, "/")
}

func printable(v string) string {
	if u, err := url.Parse(v); err == nil {
		return u.Redacted()
	}
	return "a text that is not a URL"
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// defaultWorkers are enough to keep a machine busy, and few enough for its memory.
const defaultWorkers = 64

// readSettings validates an environment. The error is a settingsError with
// every problem. offline leaves out what only talking to the services needs.
func readSettings(env map[string]string, offline bool) (*settings, error) {
	r := &reader{env: env}
	s := &settings{
		tenantID:    r.text("TENANT_ID"),
		clientID:    r.text("CLIENT_ID"),
		cloud:       r.oneOf("MS_CLOUD", "commercial", cloudNames...),
		poll:        r.minutes("POLLING_INTERVAL_MINUTES", 5, briefest),
		lookback:    r.minutes("INITIAL_LOOKBACK_MINUTES", 1440, 0),
		heartbeat:   r.minutes("HEARTBEAT_INTERVAL_MINUTES", 15, briefest),
		logLevel:    r.oneOf("LOG_LEVEL", "INFO", "INFO", "DEBUG"),
		logFormat:   r.oneOf("LOG_FORMAT", "text", "text", "json"),
		stateDir:    r.textOr("STATE_DIR", "/state"),
		configDir:   r.textOr("CONFIG_DIR", "/config"),
		listen:      "127.0.0.1:8080",
		format:      r.oneOf("DELIVERY_FORMAT", "object", "object", "array", "ndjson"),
		concurrency: r.count("DELIVERY_CONCURRENCY", 16, 1024),
		gzip:        r.boolean("DELIVERY_GZIP", false),
		environment: r.text("ENVIRONMENT"),
		output:      r.text("OUTPUT"),
		tenantsDir:  r.text("TENANTS_DIR"),
		workers:     r.count("WORKERS", defaultWorkers, 10_000),
		appRate:     r.rate("APP_RATE_LIMIT", defaultAppRate),
		tenantRate:  r.rate("TENANT_RATE_LIMIT", rateLimit{}),
	}
	if s.tenantsDir != "" {
		offline = true // each tenant's file completes what is here
		r.folder("TENANTS_DIR", s.tenantsDir)
	}
	if listen, ok := env["LISTEN_ADDR"]; ok {
		s.listen = strings.TrimSpace(listen)
		if s.listen != "" {
			if _, _, err := net.SplitHostPort(s.listen); err != nil {
				r.fail("LISTEN_ADDR is %q: write host:port, such as 127.0.0.1:8080, or leave it empty to turn the listener off", s.listen)
			}
		}
	}
	bases := clouds[s.cloud]
	s.loginBase = r.base("MS_LOGIN_BASE", bases.login)
	s.manageBase = r.base("MS_MANAGE_BASE", bases.manage)
	s.graphBase = r.base("MS_GRAPH_BASE", bases.graph)
	// A cloud without this API has the feed off, unless somebody asks for it.
	management := r.boolean("ENABLE_MGMT_ACTIVITY", s.manageBase != "")
	graph := r.boolean("ENABLE_GRAPH", true)
	if management && s.manageBase == "" {
		r.fail("ENABLE_MGMT_ACTIVITY is on, but MS_CLOUD %s has no Management Activity API: leave ENABLE_MGMT_ACTIVITY out, or set MS_MANAGE_BASE", s.cloud)
	}
	r.tenant(s, offline)
	r.sharedState(s)
	if !offline {
		r.credential(s)
		r.destination(s)
	}

	s.names = map[string]any{
		"TENANT_ID": s.tenantID, "CLIENT_ID": s.clientID,
		"MS_CLOUD": s.cloud, "MS_LOGIN_BASE": s.loginBase, "MS_MANAGE_BASE": s.manageBase, "MS_GRAPH_BASE": s.graphBase,
		"ENABLE_MGMT_ACTIVITY": management, "ENABLE_GRAPH": graph,
		"MGMT_CONTENT_TYPES": r.contentTypes(),
		"FEEDS":              r.list("FEEDS"),
		"PUBLISHER_ID":       r.textOr("PUBLISHER_ID", s.tenantID),
		"ENVIRONMENT":        s.environment,
	}
	if r.problems != nil {
		return nil, r.problems
	}
	return s, nil
}

func (r *reader) list(name string) []any {
	list := []any{}
	for v := range strings.SplitSeq(r.text(name), ",") {
		if v = strings.TrimSpace(v); v != "" && !slices.Contains(list, any(v)) {
			list = append(list, v)
		}
	}
	return list
}

func (r *reader) contentTypes() []any {
	given := r.list("MGMT_CONTENT_TYPES")
	if len(given) == 0 {
		for _, t := range contentTypes {
			given = append(given, t)
		}
		return given
	}
	for _, t := range given {
		if !slices.Contains(contentTypes, t.(string)) {
			r.fail("MGMT_CONTENT_TYPES holds %q: write some of %s", t, strings.Join(contentTypes, ","))
		}
	}
	return given
}

var tenantForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)

func (r *reader) tenant(s *settings, offline bool) {
	if s.tenantID == "" && !offline {
		r.fail("TENANT_ID is missing: write the Directory (tenant) ID of the app registration")
	}
	if s.tenantID != "" && !tenantForm.MatchString(s.tenantID) {
		r.fail("TENANT_ID is %q: write the Directory (tenant) ID, such as 11111111-2222-3333-4444-555555555555", s.tenantID)
	}
	if s.clientID == "" && !offline {
		r.fail("CLIENT_ID is missing: write the Application (client) ID of the app registration")
	}
}

var credentialKinds = []string{"CLIENT_SECRET", "CLIENT_SECRET_FILE", "CLIENT_CERTIFICATE_FILE", "FEDERATED_TOKEN_FILE"}

func (r *reader) credential(s *settings) {
	var given []string
	for _, kind := range credentialKinds {
		if v := r.text(kind); v != "" {
			given = append(given, kind)
			s.credential = credential{kind: kind, value: v}
		}
	}
	switch {
	case len(given) == 0:
		r.fail("CLIENT_SECRET is missing: write the client secret's value, or set one of %s instead", strings.Join(credentialKinds[1:], ", "))
	case len(given) > 1:
		r.fail("%s are set together: keep one of them", strings.Join(given, " and "))
	case strings.HasSuffix(s.credential.kind, "_FILE"):
		r.readable(s.credential.kind, s.credential.value)
	}
}

// readable reports a file that cannot be read, while a person is looking.
func (r *reader) readable(name, path string) {
	f, err := os.Open(path)
	if err != nil {
		r.fail("%s is %q: %v; write the path of a file that the connector may read", name, path, errors.Unwrap(err))
		return
	}
	f.Close()
}

func (r *reader) folder(name, path string) {
	if _, err := os.ReadDir(path); err != nil {
		r.fail("%s is %q: %v; write the path of a folder that the connector may read", name, path, errors.Unwrap(err))
	}
}

func (r *reader) destination(s *settings) {
	s.projectID, s.token, s.tokenFile = r.text("PROJECT_ID"), r.text("TOKEN"), r.text("TOKEN_FILE")
	s.collectorBase = r.base("S60_COLLECTOR_BASE", "")
	s.ingestBase = r.base("S60_INGEST_BASE", "https://ingest.secure60.io")
	r.stream(s)
	ingest := s.projectID != "" || s.token != "" || s.tokenFile != ""
	if s.output != "" || s.stream != nil {
		for _, name := range []string{"PROJECT_ID", "TOKEN", "TOKEN_FILE", "S60_COLLECTOR_BASE"} {
			if r.text(name) != "" {
				s.shadowed = append(s.shadowed, name)
			}
		}
		return
	}
	switch {
	case ingest && s.collectorBase != "":
		r.fail("PROJECT_ID and TOKEN (ingest mode) and S60_COLLECTOR_BASE (collector mode) are set together: keep one of the two")
	case !ingest && s.collectorBase == "":
		r.fail("no destination is set: write PROJECT_ID and TOKEN (ingest mode), or S60_COLLECTOR_BASE (collector mode)")
	case ingest:
		if s.projectID == "" {
			r.fail("PROJECT_ID is missing: write the number of your Secure60 project")
		} else if strings.ContainsAny(s.projectID, "/?#% \t") {
			r.fail("PROJECT_ID is %q: write the number of your Secure60 project, such as 301", s.projectID)
		}
		switch {
		case s.token == "" && s.tokenFile == "":
			r.fail("TOKEN is missing: write the ingest token of your Secure60 project, or set TOKEN_FILE instead")
		case s.token != "" && s.tokenFile != "":
			r.fail("TOKEN and TOKEN_FILE are set together: keep one of them")
		case s.tokenFile != "":
			r.readable("TOKEN_FILE", s.tokenFile)
		case strings.ContainsAny(s.token, "\r\n"):
			r.fail("TOKEN holds a line break: write the token on one line")
		}
	}
}

// stream reads the address of a stream platform, if OUTPUT is one.
func (r *reader) stream(s *settings) {
	s.streamFile = r.text("OUTPUT_CREDENTIALS_FILE")
	if !load.IsAddress(s.output) {
		if s.streamFile != "" {
			r.fail("OUTPUT_CREDENTIALS_FILE is set, and OUTPUT is no address of NATS or Kafka: remove it, or write an address such as nats://host:4222/subject into OUTPUT")
		}
		return
	}
	address, err := load.ParseAddress(s.output)
	s.output, s.stream = "", &address
	switch {
	case err != nil:
		r.fail("OUTPUT %v", err)
	case s.streamFile != "" && address.User != "":
		r.fail("OUTPUT holds a user and OUTPUT_CREDENTIALS_FILE is set: keep one of the two")
	case s.streamFile != "":
		r.readable("OUTPUT_CREDENTIALS_FILE", s.streamFile)
	}
}
