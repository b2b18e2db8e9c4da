package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/shared"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// Connector is everything that a run holds open for one tenant.
type Connector struct {
	*Process
	Settings *settings.Settings
	Log      *slog.Logger
	Defs     *definitions.Compiled
	Store    checkpoint.Store
	Dead     *load.DeadLetters
	dest     load.Destination
	client   *extract.Client
	Engine   *engine.Engine

	credential *credentialWatch
	config     engine.Config // of the engine
	replaying  sync.Mutex
	backfills  sync.Map // of feeds, under way
	History    History  // of the status page
	Recent     Recent   // of the pages of feeds
}

// Connect puts the connector of a tenant together, from settings to engine. It makes no
// request. The caller closes it.
func (p *Process) Connect(s *settings.Settings) (_ *Connector, err error) {
	c := &Connector{Process: p, Settings: s, Log: p.Log, Defs: p.Defs.With(s.Switched).With(p.only), Store: p.store}
	if s.Tenant != "" {
		c.Log, c.Store = p.Log.With("tenant", s.Tenant), checkpoint.OfTenant(p.store, s.Tenant)
		c.History.every, c.Recent.together = sampleSeldom, &p.shown
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, name := range s.Shadowed {
		c.Log.Warn("OUTPUT is set: events go there, not to Secure60", "ignored", name)
	}
	credential, err := NewCredential(s)
	if err != nil {
		return nil, program.Exit(program.Usage, err)
	}
	options := ClientOptions(s, credential, c.Log)
	options.Explain = p.explain
	options.Transport, options.Budget, options.Tenant = p.requests, p.appBudget, budget(s.TenantRate)
	if options.Tenant != nil {
		options.Tenant.Keep(filepath.Join(s.StateFolder(), requestsDir), "tenant", c.Log)
	}
	options.UsageDir = filepath.Join(p.Settings.StateDir, requestsDir)
	if s.Tenant != "" {
		id := strings.ToLower(s.TenantID)
		options.UsageDir = filepath.Join(options.UsageDir, id)
		buckets, _ := p.buckets.LoadOrStore(id, &extract.Buckets{})
		options.Buckets = buckets.(*extract.Buckets)
	}
	options.OnAsked = c.Recent.SawAsked
	if p.replica != nil {
		options.May = p.replica.MayWork
	}
	c.client = extract.NewClient(options)
	c.credential = &credentialWatch{Expiry: Expiry{s, credential, c.client}, c: c}
	lookback := s.Lookback
	if p.rebuild {
		lookback = math.MaxInt64 // the engine asks for no more than is kept
	}
	if c.Dead, err = load.OpenDeadLetters(s.DeadLetters()); err != nil {
		return nil, err
	}
	if c.dest, err = OpenDestination(s, p.out, p.delivers, c.Log); err != nil {
		return nil, err
	}
	config := engine.Config{
		Name: program.Name, Version: program.Version,
		Feeds: c.Defs.Set.Feeds, Mappings: c.Defs.Mappings, Settings: s.Names, Constants: definitions.Constants(s.Environment),
		Client: c.client, Destination: c.dest, DeadLetters: c.Dead, Store: c.Store,
		Tenant: s.Tenant, Workers: p.Workers, InFlight: p.inFlight,
		Poll: s.Poll, Lookback: lookback, Heartbeat: s.Heartbeat,
		Log: c.Log, Explain: p.explain, OnEvent: p.onEvent, OnFailure: c.Recent.SawFailure,
		CredentialExpires: c.credential.Expires,
	}
	if p.Settings.ShowEvents {
		config.OnEvent = func(feed string, event []byte) {
			c.Recent.SawEvent(feed, time.Now(), event)
			if p.onEvent != nil {
				p.onEvent(feed, event)
			}
		}
	}
	if p.replica != nil {
		config.Leases = p.replica
	}
	if time.Since(p.opened) < tellLost { // not to tenants that come later
		config.Restored = p.restored
		if store, ok := p.store.(*shared.Store); ok {
			config.New = store.New()
		}
	}
	c.config = config
	c.Engine, err = engine.New(config)
	return c, err
}

// Reader reads a partition of a feed, with this connector's credential and within its budgets, for
// somebody who only wants to look.
func (c *Connector) Reader(feed *definition.Feed, partition string) (*extract.Reader, error) {
	return extract.NewReader(c.client, feed, partition, c.Settings.Names)
}

// InWords is the cause and the remedy of an error for a person.
func (c *Connector) InWords(err error) string {
	if c.explain == nil {
		return err.Error()
	}
	return c.explain(err)
}

// tellLost is how long after the start a tenant that is connected learns that the state was lost, or is new.
const tellLost = 10 * time.Minute

// Backfill reads a period of a feed again, as [engine.Engine.Backfill] does. beside says that
// the connector runs meanwhile.
func (c *Connector) Backfill(ctx context.Context, feed string, from, to time.Time, again, beside bool, hear func(Progress)) error {
	known := c.Defs.Set.Feed(feed)
	if known == nil {
		return program.Exit(program.Usage, errors.New(noFeed(feed, c.Defs.Set)))
	}
	if on, err := known.Enabled.Bool(c.Settings.Names); err == nil && !on {
		if of := c.Defs.Set.ArchiveOf(feed); of != nil {
			return program.Exit(program.Usage, fmt.Errorf("feed %s is the archive of %s: backfill that feed, and what lies further back is read from here", feed, of.Name))
		}
		return program.Exit(program.Usage, fmt.Errorf("feed %s is off: switch it on by what its file says, enabled: %s", feed, known.Enabled))
	}
	if _, busy := c.backfills.LoadOrStore(feed, true); busy {
		return fmt.Errorf("a backfill of %s is under way already: wait until it has ended", feed)
	}
	defer c.backfills.Delete(feed)
	config := c.config
	config.Beside = beside
	e, err := engine.New(config)
	if err != nil {
		return err
	}
	return e.Backfill(ctx, feed, from, to, again, func(done float64, events int64) {
		now := Progress{Done: done, Events: events}
		for _, f := range e.Status().Feeds {
			if f.Feed == feed { // of all partitions
				now.Repeated += f.Duplicate()
			}
		}
		hear(now)
	})
}

// Replay sends dead letters again while the connector runs; see [Replay].
func (c *Connector) Replay(ctx context.Context, file string, hear func(Progress)) (Replayed, error) {
	if !c.replaying.TryLock() {
		return Replayed{}, errors.New("a replay is under way already: wait until it has ended")
	}
	defer c.replaying.Unlock()
	return Replay(ctx, c.Settings, c.dest, c.Dead, file, hear)
}

// run collects until ctx ends. Any error is that of [engine.Engine.Run].
func (c *Connector) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	beside.Go(func() { c.credential.run(ctx) })
	c.History.weights = c.Engine
	beside.Go(func() {
		if err := c.History.run(ctx, historyFile(c.Settings), c.Engine.Status); err != nil {
			c.Log.Warn("the history of the status page cannot be read or kept: it begins anew with each start", "error", err)
		}
	})
	return c.Engine.Run(ctx)
}

// Close releases what the connector holds; the state is safe without it.
func (c *Connector) Close() error {
	c.Recent.forget()
	if c.client != nil {
		c.client.Close()
	}
	if c.dest == nil {
		return nil
	}
	return c.dest.Close()
}

// NewCredential is the credential that the settings name.
func NewCredential(s *settings.Settings) (extract.Credential, error) {
	if s.Credential.Kind == "MANAGED_IDENTITY" {
		return extract.NewManagedIdentity(extract.ManagedIdentity(s.Identity)), nil
	}
	credential, err := extract.NewCredential(credentialKind[s.Credential.Kind], s.Credential.Value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Credential.Kind, err)
	}
	return credential, nil
}

// ClientOptions are what all clients of a tenant have in common.
func ClientOptions(s *settings.Settings, credential extract.Credential, log *slog.Logger) extract.ClientOptions {
	return extract.ClientOptions{
		TokenURL:       s.LoginBase + "/" + s.TenantID + "/oauth2/v2.0/token",
		ClientID:       s.ClientID,
		Credential:     credential,
		UserAgent:      program.UserAgent(),
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

// OpenDestination opens where events go. delivers is nil for one of its own.
func OpenDestination(s *settings.Settings, out io.Writer, delivers http.RoundTripper, log *slog.Logger) (load.Destination, error) {
	config := load.Config{
		Format: s.Format, Gzip: s.Gzip, Concurrency: s.Concurrency, Timeout: s.Timeout, UserAgent: program.UserAgent(), Logger: log,
	}
	if delivers != nil { // an interface that holds a nil is not nil
		config.Transport = delivers
	}
	switch {
	case s.Stream != nil:
		config.Kind, config.Address, config.CredentialsFile, config.Source = s.Stream.Kind, *s.Stream, s.StreamFile, s.TenantID
	case s.Output == "-":
		config.Kind, config.Output = load.KindStdout, out
	case s.Output != "":
		config.Kind, config.Path = load.KindFile, s.Output
	case s.CollectorBase != "":
		config.Kind, config.URL = load.KindCollector, s.CollectorBase
	default:
		config.Kind, config.URL, config.ProjectID, config.Token = load.KindIngest, s.IngestBase, s.ProjectID, s.IngestToken
	}
	return load.Open(config)
}

func (c *Connector) describe(ctx context.Context, once bool) {
	var enabled, disabled []string
	for _, f := range c.Engine.Status().Feeds {
		name := f.Feed
		if f.State == engine.Disabled {
			disabled = append(disabled, name)
		} else if len(enabled) == 0 || enabled[len(enabled)-1] != name {
			enabled = append(enabled, name)
		}
	}
	every := c.Settings.Poll.String()
	if once {
		every = "once"
	}
	starts, id, details := program.Name+" starts", "tenant", slog.LevelInfo
	if c.Settings.Tenant != "" { // its name is in every line, and there may be a thousand
		starts, id, details = "tenant starts", "tenant_id", slog.LevelDebug
	}
	c.Log.LogAttrs(ctx, slog.LevelInfo, starts,
		slog.String("version", program.Version), slog.String(id, c.Settings.TenantID), slog.String("cloud", c.Settings.Cloud),
		slog.String("destination", c.Settings.DestinationText()), slog.String("poll", every),
		slog.String("new_feeds_begin", time.Now().Add(-c.Settings.Lookback).UTC().Format(time.RFC3339)),
		slog.String("state", c.Settings.StateDir))
	c.Log.Log(ctx, details, "feeds on", "feeds", strings.Join(enabled, ","))
	if c.Settings.ManageBase == "" {
		c.Log.Log(ctx, details, "the Management Activity API does not exist in this cloud, and its feed is off", "cloud", c.Settings.Cloud)
	}
	if len(disabled) > 0 {
		c.Log.Log(ctx, details, "feeds off", "feeds", strings.Join(disabled, ","))
	}
}
