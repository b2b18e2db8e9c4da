// Package settings reads the settings from the environment and the .env file. What it returns is valid.
// It reports all problems at once, one line each, without any secret.
//
// How it works: dotenv.go gives the environment, environment.go reads single values, [Read] puts them
// together (with credential.go, destination.go, shared.go). table.go describes each setting for people; a test compares
// it with what is read. nearly.go finds misspelt names.
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/load"
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

func (s *Settings) GraphScope() string { return s.GraphBase + "/.default" }

// A problem is one line that names the setting and says what to write. A blank value counts as
// not set (env files hold many), except for LISTEN_ADDR, which it turns off. Unknown names are ignored.

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

// defaultAppRate is what Microsoft Graph allows an application over all tenants, the only
// limit of that kind that is documented: https://learn.microsoft.com/graph/throttling-limits
var defaultAppRate = RateLimit{130_000, 10 * time.Second}

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
