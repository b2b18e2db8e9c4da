package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/lease"
	"github.com/secure60/s60-m365-connector/engine/load"
	"github.com/secure60/s60-m365-connector/engine/transport"
)

// This file puts a connector together: settings -> definitions -> state,
// destination, client -> engine. Every subcommand that works on the same
// things takes them from here.

// process is what the tenants of one process share.
type process struct {
	settings *settings // of the process, and its only tenant's where there is one
	out      io.Writer // for events
	log      *slog.Logger
	defs     *definitions
	store    checkpoint.Store
	rebuild  bool           // all feeds must be read again: the state could not be used
	replica  *lease.Replica // nil: it works alone

	// Of several tenants; nil where there is one.
	workers   *engine.Workers
	requests  http.RoundTripper    // to Microsoft
	delivers  *transport.Transport // to destinations
	appBudget *extract.Budget      // nil: no limit, of one tenant too
}

// connector is everything that a run holds open for one tenant.
type connector struct {
	*process
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

// loadSettings reads the settings for a subcommand, and gives what they were read
// from. offline is for those that talk to nobody.
func loadSettings(offline bool) (*settings, map[string]string, error) {
	env, err := environment()
	if err != nil {
		return nil, nil, err
	}
	s, err := readSettings(env, offline)
	return s, env, err
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

// connections is how many idle ones to a host are kept for each worker: what a window
// uses at a time, mostly.
const connections = 4

// openProcess opens what tenants share. The caller closes it, after them.
func openProcess(ctx context.Context, s *settings, std streams) (_ *process, err error) {
	p := &process{settings: s, out: terminalJSON(std.out), log: newLogger(s, std.err), appBudget: s.appRate.budget()}
	if p.defs, err = definitionsOr(s, s.configDir, std.err); err != nil {
		return nil, err
	}
	if p.store, p.replica, p.rebuild, err = openStore(ctx, s, p.log); err != nil {
		return nil, err
	}
	if s.tenantsDir != "" {
		p.out = &inTurn{out: p.out}
		p.workers = engine.NewWorkers(s.workers)
		p.requests, p.delivers = extract.NewTransport(0, connections*s.workers), load.NewTransport(connections*s.workers)
	}
	return p, nil
}

// Close releases what the tenants shared.
func (p *process) Close() error {
	if p.replica != nil {
		p.replica.Leave()
	}
	return p.store.Close()
}

// connect puts the connector of a tenant together. It makes no request. The
// caller closes it.
func (p *process) connect(s *settings, onEvent func(string, []byte)) (_ *connector, err error) {
	c := &connector{process: p, settings: s, log: p.log, defs: p.defs.with(s.switched), store: p.store}
	if s.tenant != "" {
		c.log, c.store = p.log.With("tenant", s.tenant), checkpoint.Scope(p.store, s.tenant)
		c.history.every = sampleSeldom
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, name := range s.shadowed {
		c.log.Warn("OUTPUT is set: events go there, not to Secure60", "ignored", name)
	}
	credential, err := newCredential(s)
	if err != nil {
		return nil, exit(exitUsage, err)
	}
	options := clientOptions(s, credential, c.log)
	options.Transport, options.Budget, options.Tenant = p.requests, p.appBudget, s.tenantRate.budget()
	c.client = extract.NewClient(options)
	c.credential = &credentialWatch{expiry: expiry{s, credential, c.client}, c: c}
	lookback := s.lookback
	if p.rebuild {
		lookback = math.MaxInt64 // the engine asks for no more than is kept
	}
	if c.dead, err = load.OpenDeadLetters(s.deadLetters(), load.DeadLetterLimits{}); err != nil {
		return nil, err
	}
	if c.dest, err = openDestination(s, p.out, p.delivers, c.log); err != nil {
		return nil, err
	}
	config := engine.Config{
		Name: programName, Version: version,
		Feeds: c.defs.set.Feeds, Mappings: c.defs.mappings, Settings: s.names, Constants: constants(s.environment),
		Client: c.client, Destination: c.dest, DeadLetters: c.dead, Store: c.store,
		Tenant: s.tenant, Workers: p.workers,
		Poll: s.poll, Lookback: lookback, Heartbeat: s.heartbeat,
		Log: c.log, Explain: inWords, OnEvent: onEvent,
		CredentialExpires: c.credential.Expires,
	}
	if p.replica != nil {
		config.Leases = p.replica
	}
	c.engine, err = engine.New(config)
	return c, err
}

// run collects until ctx ends. Any error is that of [engine.Engine.Run].
func (c *connector) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	beside.Go(func() { c.credential.run(ctx) })
	beside.Go(func() { c.history.run(ctx, c.engine.Status) })
	return c.engine.Run(ctx)
}

// Close releases what the connector holds; the state is safe without it.
func (c *connector) Close() error {
	if c.dest == nil {
		return nil
	}
	return c.dest.Close()
}

// inTurn lets the tenants of a process write to one output, a call after the other.
type inTurn struct {
	mu  sync.Mutex
	out io.Writer
}

// Write takes whole lines.
func (t *inTurn) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.out.Write(p)
}

// deadLetters is the folder of refused events.
func (s *settings) deadLetters() string {
	if s.tenant != "" {
		return filepath.Join(s.stateDir, "tenants", s.tenant, "deadletter")
	}
	return filepath.Join(s.stateDir, "deadletter")
}

// openStore opens the state; with STATE_URL, one that replicas share, and joins
// them. With rebuild, what there was could not be used, and all feeds must be read
// again.
func openStore(ctx context.Context, s *settings, log *slog.Logger) (_ checkpoint.Store, replica *lease.Replica, rebuild bool, err error) {
	if s.shared.url != "" {
		store, replica, err := openShared(ctx, s, log)
		if err != nil {
			return nil, nil, false, err // not a store that holds a nil
		}
		return store, replica, false, nil
	}
	store, err := checkpoint.Open(s.stateDir, checkpoint.Options{Logger: log})
	if err != nil {
		return nil, nil, false, fmt.Errorf("STATE_DIR: %w", err)
	}
	report := store.SetAside()
	if report != nil {
		log.Error("the state was set aside and is rebuilt from what the services keep; events of that time may be delivered again",
			"report", report.String())
	}
	return store, nil, report != nil, nil
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

// openDestination opens where events go. delivers is nil for one of its own.
func openDestination(s *settings, out io.Writer, delivers *transport.Transport, log *slog.Logger) (load.Destination, error) {
	config := load.Config{
		Format: s.format, Gzip: s.gzip, Concurrency: s.concurrency, UserAgent: userAgent(), Transport: delivers, Logger: log,
	}
	switch {
	case s.stream != nil:
		config.Kind, config.Address, config.CredentialsFile, config.Source = s.stream.Kind, *s.stream, s.streamFile, s.tenantID
	case s.output == "-":
		config.Kind, config.Output = load.KindStdout, out
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
	var enabled, disabled []string
	for _, f := range c.engine.Status().Feeds {
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
	starts, id, details := programName+" starts", "tenant", slog.LevelInfo
	if c.settings.tenant != "" { // its name is in every line, and there may be a thousand
		starts, id, details = "tenant starts", "tenant_id", slog.LevelDebug
	}
	c.log.LogAttrs(ctx, slog.LevelInfo, starts,
		slog.String("version", version), slog.String(id, c.settings.tenantID), slog.String("cloud", c.settings.cloud),
		slog.String("destination", c.settings.destinationText()), slog.String("poll", every),
		slog.String("new_feeds_begin", time.Now().Add(-c.settings.lookback).UTC().Format(time.RFC3339)),
		slog.String("state", c.settings.stateDir))
	c.log.Log(ctx, details, "feeds on", "feeds", strings.Join(enabled, ","))
	if c.settings.manageBase == "" {
		c.log.Log(ctx, details, "the Management Activity API does not exist in this cloud, and its feed is off", "cloud", c.settings.cloud)
	}
	if len(disabled) > 0 {
		c.log.Log(ctx, details, "feeds off", "feeds", strings.Join(disabled, ","))
	}
}

func (s *settings) destinationText() string {
	switch {
	case s.stream != nil:
		return s.stream.String()
	case s.output == "-":
		return "stdout"
	case s.output != "":
		return "file " + s.output
	case s.collectorBase != "":
		return "collector " + printable(s.collectorBase)
	}
	return "ingest " + s.ingestBase + " project " + s.projectID
}
