// Package settings reads the settings: the environment, completed by a .env file. What it
// gives is valid; what is wrong is told all at once, a line a problem.
package settings

import (
	"bytes"
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

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transport"
)

// Load reads the settings for a subcommand, and gives what they were read
// from. offline is for those that talk to nobody. configDir, unless "", takes the place of CONFIG_DIR.
func Load(offline bool, configDir string) (*Settings, map[string]string, error) {
	env, found := Environment()
	if configDir != "" {
		if info, err := os.Stat(configDir); err != nil || !info.IsDir() {
			return nil, nil, append(found, fmt.Sprintf("--config %s: there is no such folder", configDir))
		}
		env["CONFIG_DIR"] = configDir
	}
	s, err := ReadAll(env, found, offline)
	return s, env, err
}

// ReadAll is [Read] of an environment in whose files problems were found: they and those of the
// settings are told together.
func ReadAll(env map[string]string, found Problems, offline bool) (*Settings, error) {
	s, err := Read(env, offline)
	if len(found) == 0 {
		return s, err
	}
	if more, ok := errors.AsType[Problems](err); ok {
		found = append(found, more...)
	}
	return nil, found
}

// DeadLetters is the folder of refused events.
func (s *Settings) DeadLetters() string { return filepath.Join(s.StateFolder(), "deadletter") }

// StateFolder is the folder of what is kept of the tenant beside the state.
func (s *Settings) StateFolder() string {
	if s.Tenant != "" {
		return filepath.Join(s.StateDir, "tenants", s.Tenant)
	}
	return s.StateDir
}

// IngestToken is the token of the ingest service; a token file is read each
// time, so that a renewed token takes effect without a restart.
func (s *Settings) IngestToken() (string, error) {
	if s.TokenFile == "" {
		return s.Token, nil
	}
	data, err := os.ReadFile(s.TokenFile)
	if err != nil {
		return "", fmt.Errorf("TOKEN_FILE: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return "", fmt.Errorf("TOKEN_FILE %s holds no token on a single line", s.TokenFile)
	}
	return token, nil
}

func (s *Settings) DestinationText() string {
	switch {
	case s.Stream != nil:
		return s.Stream.String()
	case s.Output == "-":
		return "stdout"
	case s.Output != "":
		return "file " + s.Output
	case s.CollectorBase != "":
		return "collector " + printable(s.CollectorBase)
	}
	return "ingest " + s.IngestBase + " project " + s.ProjectID
}

func (s *Settings) GraphScope() string { return s.GraphBase + "/.default" }

// This file reads the settings. The rules are: every problem is reported, not
// the first; each problem is one line that names the setting and says what to
// write; a blank value counts as not set (env files hold many), except for
// LISTEN_ADDR, where blank turns the listener off; unknown names are ignored.

// Settings are the connector's settings, validated: of its only tenant, of one of
// several, or of the process that runs several.
type Settings struct {
	TenantsDir string // of the process; the settings of each tenant stand in a file there
	Workers    int
	AppRate    RateLimit // of the application, over all tenants

	TenantRate RateLimit

	Tenant             string          // the name of one of several, "" of the only one
	Switched           map[string]bool // feeds on or off, whatever they say themselves
	TenantID, ClientID string
	Credential         credential
	Identity           Identity // of the kind MANAGED_IDENTITY

	ProjectID     string
	Token         string
	TokenFile     string
	CollectorBase string
	IngestBase    string
	Output        string        // a path, or - for stdout
	Stream        *load.Address // of OUTPUT, if it is one of a stream platform
	StreamFile    string        // with the credentials for it
	Shadowed      []string      // destination settings that OUTPUT overrides

	LoginBase, ManageBase, GraphBase, DefenderBase string
	Cloud                                          string

	Poll, Lookback, Heartbeat time.Duration

	LogLevel, LogFormat string
	StateDir, ConfigDir string
	Shared              sharedState
	Listen              string
	ListenHosts         []string // names by which the listener is known, beside its own
	ShowEvents          bool     // pages may show what records hold

	Format      string
	Concurrency int
	Gzip        bool
	Timeout     time.Duration // of a request to the destination

	Environment string

	PseudonymKey []byte // of redacted fields, nil for none

	// Warnings are what somebody should know, though nothing is wrong: a line each.
	Warnings []string

	// names are the settings as the expressions of feeds see them. No secret
	// is among them: an expression could put it into a URL.
	Names map[string]any
}

// Identity is a managed identity, and where its tokens are asked for: see extract.ManagedIdentity.
type Identity struct{ ClientID, Endpoint, Header, Metadata string }

// credential is the one way in which the connector proves who it is.
type credential struct {
	Kind  string // the name of the setting that gave it
	Value string // the secret itself, or the path of the file
}

// The content types of the Management Activity API:
// https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference
var contentTypes = []string{"Audit.AzureActiveDirectory", "Audit.Exchange", "Audit.SharePoint", "Audit.General", "DLP.All"}

// CloudBases are a cloud's login, Management API, Graph and Defender for Endpoint bases:
// https://learn.microsoft.com/graph/deployments, https://learn.microsoft.com/defender-endpoint/gov
type CloudBases struct{ Login, Manage, Graph, Defender string }

var Clouds = map[string]CloudBases{
	"commercial": {"https://login.microsoftonline.com", "https://manage.office.com", "https://graph.microsoft.com", "https://api.securitycenter.microsoft.com"},
	"gcc":        {"https://login.microsoftonline.com", "https://manage-gcc.office.com", "https://graph.microsoft.com", "https://api-gcc.securitycenter.microsoft.us"},
	"gcchigh":    {"https://login.microsoftonline.us", "https://manage.office365.us", "https://graph.microsoft.us", "https://api-gov.securitycenter.microsoft.us"},
	"dod":        {"https://login.microsoftonline.us", "https://manage.protection.apps.mil", "https://dod-graph.microsoft.us", "https://api-gov.securitycenter.microsoft.us"},
	// Microsoft documents no Management API host for 21Vianet, and none of Defender for Endpoint.
	"china": {"https://login.partner.microsoftonline.cn", "", "https://microsoftgraph.chinacloudapi.cn", ""},
}

var CloudNames = []string{"commercial", "gcc", "gcchigh", "dod", "china"}

// Problems is every problem of the settings, a line each.
type Problems []string

func (e Problems) Error() string { return strings.Join(e, "\n") }

// environment takes settings out of an environment and collects what is wrong.
type environment struct {
	env      map[string]string
	problems Problems
}

func (r *environment) fail(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

func (r *environment) text(name string) string { return strings.TrimSpace(r.env[name]) }

func (r *environment) textOr(name, otherwise string) string {
	if v := r.text(name); v != "" {
		return v
	}
	return otherwise
}

func (r *environment) boolean(name string, otherwise bool) bool {
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

func (r *environment) oneOf(name, otherwise string, values ...string) string {
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
func (r *environment) minutes(name string, otherwise float64, least time.Duration) time.Duration {
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

func (r *environment) count(name string, otherwise, most int) int {
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

// The least and the most that a timeout may be: an answer takes a moment on any network, and one that has not
// come within an hour never will.
const (
	shortestTimeout = time.Second
	longestTimeout  = time.Hour
)

// timeout reads a span of time: a number of seconds, or a duration.
func (r *environment) timeout(name string, otherwise time.Duration) time.Duration {
	v := r.text(name)
	if v == "" {
		return otherwise
	}
	d, ok := definition.ParseDuration(v)
	if seconds, err := strconv.ParseFloat(v, 64); err == nil && seconds >= 0 && seconds <= longestTimeout.Seconds() {
		d, ok = time.Duration(seconds*float64(time.Second)), true
	}
	if !ok || d < shortestTimeout || d > longestTimeout {
		r.fail("%s is %q: write a number of seconds or a duration from 1s to 1h, such as %d or 2m", name, v, int(otherwise.Seconds()))
		return otherwise
	}
	return d
}

// automatic reads a number that the program finds by itself unless it is given: 0.
func (r *environment) automatic(name string, most int) int {
	if strings.EqualFold(r.text(name), "auto") {
		return 0
	}
	return r.count(name, 0, most)
}

// RateLimit is so many requests in any span of that length; 0 of them: no limit.
type RateLimit struct {
	Requests int
	Per      time.Duration
}

func (l RateLimit) String() string { return fmt.Sprintf("%d/%s", l.Requests, l.Per) }

// defaultAppRate is what Microsoft Graph allows an application over all tenants, the only
// limit of that kind that is documented: https://learn.microsoft.com/graph/throttling-limits
var defaultAppRate = RateLimit{130_000, 10 * time.Second}

func (r *environment) rate(name string, otherwise RateLimit) RateLimit {
	v := r.text(name)
	if v == "" {
		return otherwise
	}
	count, span, _ := strings.Cut(v, "/")
	n, err := strconv.Atoi(strings.TrimSpace(count))
	per, ok := definition.ParseDuration(strings.TrimSpace(span))
	if err != nil || n < 1 || !ok || per <= 0 {
		r.fail("%s is %q: write a number of requests and a span of time, such as 8000/10s", name, v)
		return RateLimit{}
	}
	return RateLimit{n, per}
}

// base reads the URL of a service. Plain http would show tokens to the
// network, so it is for loopback only.
func (r *environment) base(name, otherwise string) string {
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
	case u.Scheme == "http" && !transport.Loopback(u.Hostname()):
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

// defaultWorkers are enough to keep a machine busy, and few enough for its memory.
const defaultWorkers = 64

// Read validates an environment. The error is a settingsError with
// every problem. offline leaves out what only talking to the services needs.
func Read(env map[string]string, offline bool) (*Settings, error) {
	r := &environment{env: env}
	s := &Settings{
		TenantID:    r.text("TENANT_ID"),
		ClientID:    r.text("CLIENT_ID"),
		Cloud:       r.oneOf("MS_CLOUD", "commercial", CloudNames...),
		Poll:        r.minutes("POLLING_INTERVAL_MINUTES", 5, briefest),
		Lookback:    r.minutes("INITIAL_LOOKBACK_MINUTES", 1440, 0),
		Heartbeat:   r.minutes("HEARTBEAT_INTERVAL_MINUTES", 15, briefest),
		LogLevel:    r.oneOf("LOG_LEVEL", "INFO", "INFO", "DEBUG"),
		LogFormat:   r.oneOf("LOG_FORMAT", "text", "text", "json"),
		StateDir:    r.textOr("STATE_DIR", "/state"),
		ConfigDir:   r.textOr("CONFIG_DIR", defaultConfigDir),
		Listen:      "127.0.0.1:8080",
		Format:      r.oneOf("DELIVERY_FORMAT", "object", "object", "array", "ndjson"),
		Concurrency: r.automatic("DELIVERY_CONCURRENCY", load.MaxConcurrency),
		Gzip:        r.boolean("DELIVERY_GZIP", false),
		Timeout:     r.timeout("DELIVERY_TIMEOUT", load.DefaultTimeout),
		Environment: r.text("ENVIRONMENT"),
		Output:      r.text("OUTPUT"),
		TenantsDir:  r.text("TENANTS_DIR"),
		Workers:     r.count("WORKERS", defaultWorkers, 10_000),
		AppRate:     r.rate("APP_RATE_LIMIT", defaultAppRate),
		TenantRate:  r.rate("TENANT_RATE_LIMIT", RateLimit{}),
		ShowEvents:  r.boolean("SHOW_EVENTS", false),
	}
	if s.TenantsDir != "" {
		offline = true // each tenant's file completes what is here
		r.folder("TENANTS_DIR", s.TenantsDir)
	}
	if listen, ok := env["LISTEN_ADDR"]; ok {
		s.Listen = strings.TrimSpace(listen)
		if s.Listen != "" {
			if _, _, err := net.SplitHostPort(s.Listen); err != nil {
				r.fail("LISTEN_ADDR is %q: write host:port, such as 127.0.0.1:8080, or leave it empty to turn the listener off", s.Listen)
			}
		}
	}
	for _, host := range r.list("LISTEN_HOSTS") {
		s.ListenHosts = append(s.ListenHosts, host.(string))
	}
	bases := Clouds[s.Cloud]
	s.LoginBase = r.base("MS_LOGIN_BASE", bases.Login)
	s.ManageBase = r.base("MS_MANAGE_BASE", bases.Manage)
	s.GraphBase = r.base("MS_GRAPH_BASE", bases.Graph)
	s.DefenderBase = r.base("MS_DEFENDER_BASE", bases.Defender)
	// A cloud without this API has the feed off, unless somebody asks for it.
	management := r.boolean("ENABLE_MGMT_ACTIVITY", s.ManageBase != "")
	graph := r.boolean("ENABLE_GRAPH", true)
	if management && s.ManageBase == "" {
		r.fail("ENABLE_MGMT_ACTIVITY is on, but MS_CLOUD %s has no Management Activity API: leave ENABLE_MGMT_ACTIVITY out, or set MS_MANAGE_BASE", s.Cloud)
	}
	s.warnings(env)
	misspelt := slices.Clone(s.Warnings)
	r.configDir(s)
	r.pseudonymKey(s)
	r.tenant(s, offline)
	r.sharedState(s)
	if !offline {
		r.credential(s)
		r.destination(s)
	}

	s.Names = map[string]any{
		"TENANT_ID": s.TenantID, "CLIENT_ID": s.ClientID,
		"MS_CLOUD": s.Cloud, "MS_LOGIN_BASE": s.LoginBase, "MS_MANAGE_BASE": s.ManageBase, "MS_GRAPH_BASE": s.GraphBase, "MS_DEFENDER_BASE": s.DefenderBase,
		"ENABLE_MGMT_ACTIVITY": management, "ENABLE_GRAPH": graph,
		"MGMT_CONTENT_TYPES": r.contentTypes(),
		"FEEDS":              r.list("FEEDS"),
		"PUBLISHER_ID":       r.textOr("PUBLISHER_ID", s.TenantID),
		"ENVIRONMENT":        s.Environment,
		"PSEUDONYM_KEY_FILE": r.text("PSEUDONYM_KEY_FILE"),
	}
	if r.problems != nil {
		r.namedFeeds(s)
		return nil, append(r.problems, misspelt...) // often the cause of what is missing
	}
	return s, nil
}

func (r *environment) list(name string) []any {
	list := []any{}
	for v := range strings.SplitSeq(r.text(name), ",") {
		if v = strings.TrimSpace(v); v != "" && !slices.Contains(list, any(v)) {
			list = append(list, v)
		}
	}
	return list
}

func (r *environment) contentTypes() []any {
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

func (r *environment) tenant(s *Settings, offline bool) {
	if s.TenantID == "" && !offline {
		r.fail("TENANT_ID is missing: write the Directory (tenant) ID of the app registration")
	}
	for _, name := range []string{"TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "PROJECT_ID", "TOKEN"} {
		if v := r.text(name); !offline && v != "" && placeholder(v) {
			r.fail("%s still holds a placeholder: write the value of your own", name)
		}
	}
	if s.TenantID != "" && !tenantForm.MatchString(s.TenantID) {
		r.fail("TENANT_ID is %q: write the Directory (tenant) ID, such as 11111111-2222-3333-4444-555555555555", s.TenantID)
	}
	if s.ClientID == "" && !offline {
		r.fail("CLIENT_ID is missing: write the Application (client) ID of the app registration")
	}
}

var credentialKinds = []string{"CLIENT_SECRET", "CLIENT_SECRET_FILE", "CLIENT_CERTIFICATE_FILE", "FEDERATED_TOKEN_FILE", "MANAGED_IDENTITY"}

var identityForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// managedIdentity reads which identity of the host is meant, and what a container service says in the
// environment of where to ask for its tokens. (AZURE_POD_IDENTITY_AUTHORITY_HOST is where the platform's own
// libraries look for instance metadata instead of its link-local address.)
func (r *environment) managedIdentity(s *Settings) {
	if v := s.Credential.Value; !strings.EqualFold(v, "true") {
		if !identityForm.MatchString(v) {
			r.fail("MANAGED_IDENTITY is %q: write true for the host's own identity, or the client id of one that was assigned to it", v)
		}
		s.Identity.ClientID = v
	}
	s.Identity.Endpoint, s.Identity.Header = r.text("IDENTITY_ENDPOINT"), r.text("IDENTITY_HEADER")
	s.Identity.Metadata = r.text("AZURE_POD_IDENTITY_AUTHORITY_HOST")
	if (s.Identity.Endpoint == "") != (s.Identity.Header == "") {
		r.fail("IDENTITY_ENDPOINT and IDENTITY_HEADER belong together: the platform sets both, or neither")
	}
}

func (r *environment) credential(s *Settings) {
	var given []string
	for _, kind := range credentialKinds {
		if v := r.text(kind); v != "" && !(kind == "MANAGED_IDENTITY" && strings.EqualFold(v, "false")) {
			given = append(given, kind)
			s.Credential = credential{Kind: kind, Value: v}
		}
	}
	switch {
	case len(given) == 0:
		r.fail("CLIENT_SECRET is missing: write the client secret's value, or set one of %s instead", strings.Join(credentialKinds[1:], ", "))
	case len(given) > 1:
		r.fail("%s are set together: keep one of them", strings.Join(given, " and "))
	case strings.HasSuffix(s.Credential.Kind, "_FILE"):
		r.readable(s.Credential.Kind, s.Credential.Value)
	case s.Credential.Kind == "MANAGED_IDENTITY":
		r.managedIdentity(s)
	}
}

// projectForm is that of the number of a project.
var projectForm = regexp.MustCompile(`^[0-9]{1,19}$`)

// placeholders are what examples have in the place of a value.
var placeholders = regexp.MustCompile(`(?i)^(0{8}-0{4}-0{4}-0{4}-0{12}|x{3,}|x{8}(-x{4}){3}-x{12}|<.*>|\[.*\]|\{.*\}|\$\{?[a-z_]+\}?|your[-_ ].*|.*[-_]your[-_].*|changeme|change[-_ ]me|replace[-_ ]?me|todo|\.{3}|…|secret|token|contoso(\..*)?|example)$`)

func placeholder(v string) bool { return placeholders.MatchString(v) }

const defaultConfigDir = "/config"

// configDir sees whether the folder of the user's definitions is one. The default need
// not exist.
func (r *environment) configDir(s *Settings) {
	given := s.ConfigDir != defaultConfigDir
	switch info, err := os.Stat(s.ConfigDir); {
	case err == nil && !info.IsDir():
		r.fail("CONFIG_DIR is %q: that is a file; write the folder that holds feeds/ and mappings/", s.ConfigDir)
	case errors.Is(err, fs.ErrNotExist) && given:
		s.Warnings = append(s.Warnings, fmt.Sprintf("CONFIG_DIR is %q: there is no such folder, and the shipped definitions alone are in force", s.ConfigDir))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		r.fail("CONFIG_DIR is %q: %v; write a folder that the connector may read", s.ConfigDir, errors.Unwrap(err))
	}
}

// pseudonymKey reads the key of redacted fields.
func (r *environment) pseudonymKey(s *Settings) {
	const name = "PSEUDONYM_KEY_FILE"
	path := r.text(name)
	if path == "" || !r.readable(name, path) {
		return
	}
	key, err := os.ReadFile(path)
	if err != nil {
		r.fail("%s is %q: %v; write the path of a file that the connector may read", name, path, errors.Unwrap(err))
		return
	}
	if s.PseudonymKey = bytes.TrimSpace(key); len(s.PseudonymKey) < shortestKey {
		r.fail("%s is %q: the file holds less than %d characters; write a long random text into it", name, path, shortestKey)
	}
}

// shortestKey is the least that a pseudonym's key may hold: who can guess it can find
// out who is behind a pseudonym.
const shortestKey = 16

// readable reports a file that cannot be read, while a person is looking.
func (r *environment) readable(name, path string) bool {
	f, err := os.Open(path)
	if err != nil {
		r.fail("%s is %q: %v; write the path of a file that the connector may read", name, path, errors.Unwrap(err))
		return false
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		r.fail("%s is %q: that is a folder; write the path of a file", name, path)
		return false
	}
	return true
}

func (r *environment) folder(name, path string) {
	if _, err := os.ReadDir(path); err != nil {
		r.fail("%s is %q: %v; write the path of a folder that the connector may read", name, path, errors.Unwrap(err))
	}
}

func (r *environment) destination(s *Settings) {
	s.ProjectID, s.Token, s.TokenFile = r.text("PROJECT_ID"), r.text("TOKEN"), r.text("TOKEN_FILE")
	s.CollectorBase = r.base("S60_COLLECTOR_BASE", "")
	s.IngestBase = r.base("S60_INGEST_BASE", "https://ingest.secure60.io")
	r.stream(s)
	ingest := s.ProjectID != "" || s.Token != "" || s.TokenFile != ""
	if s.Output != "" || s.Stream != nil {
		for _, name := range []string{"PROJECT_ID", "TOKEN", "TOKEN_FILE", "S60_COLLECTOR_BASE"} {
			if r.text(name) != "" {
				s.Shadowed = append(s.Shadowed, name)
			}
		}
		return
	}
	switch {
	case ingest && s.CollectorBase != "":
		r.fail("PROJECT_ID and TOKEN (ingest mode) and S60_COLLECTOR_BASE (collector mode) are set together: keep one of the two")
	case !ingest && s.CollectorBase == "":
		r.fail("no destination is set: write PROJECT_ID and TOKEN (ingest mode), or S60_COLLECTOR_BASE (collector mode)")
	case ingest:
		if s.ProjectID == "" {
			r.fail("PROJECT_ID is missing: write the number of your Secure60 project")
		} else if !projectForm.MatchString(s.ProjectID) && !placeholder(s.ProjectID) {
			r.fail("PROJECT_ID is %q: write the number of your Secure60 project, such as 301", s.ProjectID)
		}
		switch {
		case s.Token == "" && s.TokenFile == "":
			r.fail("TOKEN is missing: write the ingest token of your Secure60 project, or set TOKEN_FILE instead")
		case s.Token != "" && s.TokenFile != "":
			r.fail("TOKEN and TOKEN_FILE are set together: keep one of them")
		case s.TokenFile != "":
			r.readable("TOKEN_FILE", s.TokenFile)
		case strings.ContainsAny(s.Token, "\r\n"):
			r.fail("TOKEN holds a line break: write the token on one line")
		}
	}
}

// nearlyAddress is a text that was hardly meant for the path of a file.
var nearlyAddress = regexp.MustCompile(`(?i)^[^./][^/]*(://|@|:?//)|^(nats|kafka|tls)[^/]*:|://`)

// stream reads the address of a stream platform, if OUTPUT is one.
func (r *environment) stream(s *Settings) {
	s.StreamFile = r.text("OUTPUT_CREDENTIALS_FILE")
	if !load.IsAddress(s.Output) && nearlyAddress.MatchString(s.Output) {
		// It may hold a password.
		r.fail("OUTPUT looks like an address, and is none: write nats://host:4222/subject, tls://…, kafka://host:9092/topic or kafka+tls://…, or a path that begins with ./ or /")
		s.Output = ""
		return
	}
	if !load.IsAddress(s.Output) {
		if s.StreamFile != "" {
			r.fail("OUTPUT_CREDENTIALS_FILE is set, and OUTPUT is no address of NATS or Kafka: remove it, or write an address such as nats://host:4222/subject into OUTPUT")
		}
		return
	}
	address, err := load.ParseAddress(s.Output)
	s.Output, s.Stream = "", &address
	switch {
	case err != nil:
		r.fail("OUTPUT %v", err)
	case s.StreamFile != "" && address.User != "":
		r.fail("OUTPUT holds a user and OUTPUT_CREDENTIALS_FILE is set: keep one of the two")
	case s.StreamFile != "":
		r.readable("OUTPUT_CREDENTIALS_FILE", s.StreamFile)
	}
}
