package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transform"
	"github.com/secure60/s60-m365-connector/feeds"
	"github.com/secure60/s60-m365-connector/mappings"
)

// This file puts a connector together: settings -> definitions -> state,
// destination, client -> engine. Every subcommand that works on the same
// things takes them from here.

// connector is everything that a run holds open.
type connector struct {
	settings *settings
	log      *slog.Logger
	defs     *definitions
	store    checkpoint.Store
	dead     *load.DeadLetters
	dest     load.Destination
	client   *extract.Client
	engine   *engine.Engine

	credential *credentialWatch
	history    history // of the status page
}

// definitions are the feeds and mappings in force, compiled.
type definitions struct {
	set      *definition.Set
	mappings map[string]*transform.Mapping
}

// constants are the fields that every event carries, by the Secure60 Common
// Information Model.
func constants(environment string) []transform.Constant {
	list := []transform.Constant{
		{Name: "vendor", Value: "Microsoft"},
		{Name: "product", Value: "Microsoft 365"},
		{Name: "type", Value: "cloud"},
		{Name: "app_name", Value: "ms365"},
		{Name: "technology_group", Value: "cloud"},
		{Name: "schema_version", Value: "1.0"},
	}
	if environment != "" {
		list = append(list, transform.Constant{Name: "environment", Value: environment})
	}
	return list
}

// loadSettings reads the settings for a subcommand. offline is for those that
// talk to nobody.
func loadSettings(offline bool) (*settings, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	return readSettings(env, offline)
}

// loadDefinitions loads and compiles every feed and mapping, with those under
// dir over the shipped ones. Everything wrong is in problems, and what is only
// doubtful as well; definitions are nil where something is wrong.
func loadDefinitions(s *settings, dir string) (*definitions, []definition.Problem) {
	var overlay fs.FS
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		overlay = os.DirFS(dir)
	}
	set, problems := definition.Load(definition.Options{
		Feeds: feeds.FS, Mappings: mappings.FS, Overlay: overlay, OverlayName: dir, Settings: s.names,
	})
	compiled := map[string]*transform.Mapping{}
	if set != nil {
		for _, m := range whole(set) {
			c, found := transform.Compile(m, transform.Options{Constants: constants(s.environment)})
			problems = append(problems, found...)
			compiled[m.Name] = c
		}
		for _, m := range set.Faulty {
			if includedBy(m, set.Mappings) || includedBy(m, set.Faulty) {
				continue // it may use names of its includer
			}
			_, found := transform.Compile(m, transform.Options{Constants: constants(s.environment)})
			problems = append(problems, found...)
		}
	}
	if definition.Invalid(problems) {
		return nil, problems
	}
	return &definitions{set: set, mappings: compiled}, problems
}

// whole are the mappings that stand for themselves: those that a feed names,
// and those that no other mapping includes. What is included may use names of
// its includer, and is compiled as a part of it.
func whole(set *definition.Set) []*definition.Mapping {
	included, named := map[string]bool{}, map[string]bool{}
	for _, m := range set.Mappings {
		for _, part := range m.Include {
			included[part.Name] = true
		}
	}
	for _, f := range set.Feeds {
		named[f.Mapping] = true
	}
	var list []*definition.Mapping
	for _, m := range set.Mappings {
		if named[m.Name] || !included[m.Name] {
			list = append(list, m)
		}
	}
	return list
}

func includedBy(m *definition.Mapping, others []*definition.Mapping) bool {
	return slices.ContainsFunc(others, func(o *definition.Mapping) bool { return slices.Contains(o.Include, m) })
}

// definitionsOr loads definitions for a subcommand that needs valid ones. It
// prints what is wrong or doubtful.
func definitionsOr(s *settings, dir string, w io.Writer) (*definitions, error) {
	defs, problems := loadDefinitions(s, dir)
	definition.Sort(problems)
	// A mapping that several others include has its problems in each of them.
	problems = slices.Compact(problems)
	if err := definition.Print(w, problems); err != nil {
		return nil, err
	}
	if defs == nil {
		wrong := 0
		for _, p := range problems {
			if !p.Warning {
				wrong++
			}
		}
		return nil, exit(exitDefinitions, fmt.Errorf("%d %s in the feed and mapping files", wrong, plural(wrong, "problem")))
	}
	return defs, namedFeeds(s, defs.set)
}

// namedFeeds checks that every feed that the settings switch on exists: a
// misspelt one would otherwise be off in silence.
func namedFeeds(s *settings, set *definition.Set) error {
	var problems settingsError
	for _, name := range s.names["FEEDS"].([]any) {
		if set.Feed(name.(string)) != nil {
			continue
		}
		var known []string
		for _, f := range set.Feeds {
			known = append(known, f.Name)
		}
		problems = append(problems, fmt.Sprintf("FEEDS holds %q, and there is no such feed: write some of %s", name, strings.Join(known, ", ")))
	}
	if problems != nil {
		return problems
	}
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func newLogger(s *settings, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if s.logLevel == "DEBUG" {
		options.Level = slog.LevelDebug
	}
	if s.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func userAgent() string { return programName + "/" + version }

// open puts the connector together. The caller closes it.
func open(s *settings, std streams, onEvent func(string, []byte)) (_ *connector, err error) {
	c := &connector{settings: s, log: newLogger(s, std.err)}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, name := range s.shadowed {
		c.log.Warn("OUTPUT is set: events go there, not to Secure60", "ignored", name)
	}
	if c.defs, err = definitionsOr(s, s.configDir, std.err); err != nil {
		return nil, err
	}
	credential, err := newCredential(s)
	if err != nil {
		return nil, exit(exitUsage, err)
	}
	c.client = extract.NewClient(clientOptions(s, credential, c.log))
	c.credential = &credentialWatch{expiry: expiry{s, credential, c.client}, c: c}
	var rebuild bool
	if c.store, rebuild, err = openStore(s, c.log); err != nil {
		return nil, err
	}
	lookback := s.lookback
	if rebuild {
		lookback = math.MaxInt64 // the engine asks for no more than is kept
	}
	if c.dead, err = load.OpenDeadLetters(s.deadLetters(), load.DeadLetterLimits{}); err != nil {
		return nil, err
	}
	if c.dest, err = openDestination(s, std.out, c.log); err != nil {
		return nil, err
	}
	c.engine, err = engine.New(engine.Config{
		Name: programName, Version: version,
		Feeds: c.defs.set.Feeds, Mappings: c.defs.mappings, Settings: s.names, Constants: constants(s.environment),
		Client: c.client, Destination: c.dest, DeadLetters: c.dead, Store: c.store,
		Poll: s.poll, Lookback: lookback, Heartbeat: s.heartbeat,
		Log: c.log, Explain: inWords, OnEvent: onEvent,
		CredentialExpires: c.credential.Expires,
	})
	return c, err
}

// Close releases what the connector holds; the state is safe without it.
func (c *connector) Close() error {
	var errs []error
	if c.dest != nil {
		errs = append(errs, c.dest.Close())
	}
	if c.store != nil {
		errs = append(errs, c.store.Close())
	}
	return errors.Join(errs...)
}

// deadLetters is the folder of refused events.
func (s *settings) deadLetters() string { return filepath.Join(s.stateDir, "deadletter") }

// openStore opens the state. With rebuild, what there was could not be used,
// and all feeds must be read again.
func openStore(s *settings, log *slog.Logger) (_ checkpoint.Store, rebuild bool, err error) {
	store, err := checkpoint.Open(s.stateDir, checkpoint.Options{Logger: log})
	if err != nil {
		return nil, false, fmt.Errorf("STATE_DIR: %w", err)
	}
	report := store.SetAside()
	if report != nil {
		log.Error("the state was set aside and is rebuilt from what the services keep; events of that time may be delivered again",
			"report", report.String())
	}
	return store, report != nil, nil
}

func newCredential(s *settings) (extract.Credential, error) {
	credential, err := extract.NewCredential(credentialKind[s.credential.kind], s.credential.value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.credential.kind, err)
	}
	return credential, nil
}

func clientOptions(s *settings, credential extract.Credential, log *slog.Logger) extract.ClientOptions {
	return extract.ClientOptions{
		TokenURL:       s.loginBase + "/" + s.tenantID + "/oauth2/v2.0/token",
		ClientID:       s.clientID,
		Credential:     credential,
		UserAgent:      userAgent(),
		Log:            log,
		TemporaryCodes: temporaryCode,
	}
}

var credentialKind = map[string]string{
	"CLIENT_SECRET":           extract.ClientSecret,
	"CLIENT_SECRET_FILE":      extract.ClientSecretFile,
	"CLIENT_CERTIFICATE_FILE": extract.ClientCertificate,
	"FEDERATED_TOKEN_FILE":    extract.FederatedTokenFile,
}

func openDestination(s *settings, out io.Writer, log *slog.Logger) (load.Destination, error) {
	config := load.Config{
		Format: s.format, Gzip: s.gzip, Concurrency: s.concurrency, UserAgent: userAgent(), Logger: log,
	}
	switch {
	case s.output == "-":
		config.Kind, config.Output = load.KindStdout, terminalJSON(out)
	case s.output != "":
		config.Kind, config.Path = load.KindFile, s.output
	case s.collectorBase != "":
		config.Kind, config.URL = load.KindCollector, s.collectorBase
	default:
		config.Kind, config.URL, config.ProjectID, config.Token = load.KindIngest, s.ingestBase, s.projectID, s.ingestToken
	}
	return load.Open(config)
}

// ingestToken is the token of the ingest service; a token file is read each
// time, so that a renewed token takes effect without a restart.
func (s *settings) ingestToken() (string, error) {
	if s.tokenFile == "" {
		return s.token, nil
	}
	data, err := os.ReadFile(s.tokenFile)
	if err != nil {
		return "", fmt.Errorf("TOKEN_FILE: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return "", fmt.Errorf("TOKEN_FILE %s holds no token on a single line", s.tokenFile)
	}
	return token, nil
}

// describe tells the log what will be done, before it is done.
func (c *connector) describe(ctx context.Context, once bool) {
	status := c.engine.Status()
	var enabled, disabled []string
	for _, f := range status.Feeds {
		name := f.Feed
		if f.State == engine.Disabled {
			disabled = append(disabled, name)
		} else if len(enabled) == 0 || enabled[len(enabled)-1] != name {
			enabled = append(enabled, name)
		}
	}
	every := c.settings.poll.String()
	if once {
		every = "once"
	}
	c.log.LogAttrs(ctx, slog.LevelInfo, programName+" starts",
		slog.String("version", version), slog.String("tenant", c.settings.tenantID), slog.String("cloud", c.settings.cloud),
		slog.String("destination", c.settings.destinationText()), slog.String("poll", every),
		slog.String("new_feeds_begin", time.Now().Add(-c.settings.lookback).UTC().Format(time.RFC3339)),
		slog.String("state", c.settings.stateDir))
	c.log.Info("feeds on", "feeds", strings.Join(enabled, ","))
	if c.settings.manageBase == "" {
		c.log.Info("the Management Activity API does not exist in this cloud, and its feed is off", "cloud", c.settings.cloud)
	}
	if len(disabled) > 0 {
		c.log.Info("feeds off", "feeds", strings.Join(disabled, ","))
	}
}

func (s *settings) destinationText() string {
	switch {
	case s.output == "-":
		return "stdout"
	case s.output != "":
		return "file " + s.output
	case s.collectorBase != "":
		return "collector " + printable(s.collectorBase)
	}
	return "ingest " + s.ingestBase + " project " + s.projectID
}
