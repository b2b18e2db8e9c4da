package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/lease"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// This file asks for the requirements that come before the feeds, and for the
// destination and the credential's end; check_feeds.go for those of the feeds.

// doctor goes through the requirements.
type doctor struct {
	report   func(finding)
	count    map[verdict]int
	code     int // exit code
	settings *settings
	defs     *definitions
	client   *extract.Client

	credential extract.Credential
	targets    []target
	tokens     map[string]tokenState // by scope
	last       map[[2]string]string  // what each partition met last
	// lastOf gives last of a tenant, from the state or the running connector.
	lastOf func(ctx context.Context, tenant string) map[[2]string]string
}

// all asks for every requirement behind the settings, in order of dependency.
func (d *doctor) all(ctx context.Context) {
	d.checkCloud()
	d.checkState(ctx)
	d.checkDefinitions()
	d.checkTenantServices(ctx)
}

// checkTenantServices asks for what is each tenant's own: the services, and the destination.
func (d *doctor) checkTenantServices(ctx context.Context) {
	d.last = d.lastOf(ctx, d.settings.tenant)
	if d.defs != nil && d.checkFeedsOn() {
		d.askTokens(ctx)
		d.checkClock()
		d.checkTokens()
		d.checkTenant()
		d.checkPermissions()
		for _, t := range d.targets {
			d.checkFeed(ctx, t)
		}
	}
	d.checkDestination(ctx)
	d.checkExpiry(ctx)
}

// inFile is the place of a problem in the file of a tenant.
var inFile = regexp.MustCompile(`^\S+\.ya?ml(:\d+:\d+)?: `)

func (d *doctor) checkSettings(err error) bool {
	const name = "settings"
	if list, ok := errors.AsType[settingsError](err); ok {
		for _, problem := range list {
			place := ""
			if named := inFile.FindString(problem); named != "" { // of a tenant
				place, problem = named, problem[len(named):]
			}
			cause, remedy, _ := strings.Cut(problem, ": ")
			cause = place + cause
			d.note(finding{name, failed, cause, remedy}, exitUsage)
		}
		d.skip("everything else", "it depends on the settings")
		return false
	}
	if e, ok := errors.AsType[*exitError](err); ok { // of --tenant
		d.note(finding{name, failed, e.Error(), "write --tenant with the name of a tenant"}, e.code)
		return false
	}
	if err != nil {
		d.note(finding{name, failed, err.Error(), "correct it"}, exitUsage)
		return false
	}
	for _, setting := range d.settings.shadowed {
		d.warn(name, "remove OUTPUT to deliver to Secure60", "OUTPUT is set, so %s is not used and events go to %s", setting, d.settings.destinationText())
	}
	d.ok(name, "tenant %s, cloud %s, to %s", d.settings.tenantID, d.settings.cloud, d.settings.destinationText())
	return true
}

// formerLogins are login hosts that still work, and the cloud each belongs to.
var formerLogins = map[string]string{"login.chinacloudapi.cn": "china", "login.windows.net": "commercial"}

// checkCloud finds bases of different clouds, which can never work together.
func (d *doctor) checkCloud() {
	s := d.settings
	var parts, strange []string
	possible := slices.Clone(cloudNames)
	for _, base := range []struct {
		setting, url string
		of           func(cloudBases) string
		used         bool
	}{
		{"MS_LOGIN_BASE", s.loginBase, func(c cloudBases) string { return c.login }, true},
		{"MS_MANAGE_BASE", s.manageBase, func(c cloudBases) string { return c.manage }, s.names["ENABLE_MGMT_ACTIVITY"] == true},
		{"MS_GRAPH_BASE", s.graphBase, func(c cloudBases) string { return c.graph }, s.names["ENABLE_GRAPH"] == true},
	} {
		if !base.used {
			continue
		}
		var of []string
		for _, name := range cloudNames {
			if host(base.of(clouds[name])) == host(base.url) {
				of = append(of, name)
			}
		}
		if former := formerLogins[host(base.url)]; former != "" && base.setting == "MS_LOGIN_BASE" {
			of = append(of, former)
		}
		if len(of) == 0 { // a proxy, or a simulator
			strange = append(strange, base.setting+" "+base.url)
			continue
		}
		parts = append(parts, base.setting+" "+base.url+" of "+strings.Join(of, " or "))
		possible = slices.DeleteFunc(possible, func(name string) bool { return !slices.Contains(of, name) })
	}
	if len(possible) == 0 {
		d.fail("cloud", "remove MS_LOGIN_BASE, MS_MANAGE_BASE and MS_GRAPH_BASE, and set MS_CLOUD to the cloud the tenant is in", "the bases belong to different clouds: %s", strings.Join(parts, ", "))
		return
	}
	text := "the bases are of " + strings.Join(possible, " or ")
	if len(strange) > 0 {
		text = "of no known cloud, a proxy perhaps: " + strings.Join(strange, ", ")
	}
	d.ok("cloud", "%s", text)
}

func host(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	return strings.ToLower(u.Host)
}

// checkState tries to write where the state lives, and reads what the feeds met
// last.
func (d *doctor) checkState(ctx context.Context) {
	const name = "state directory"
	dir := d.settings.stateDir
	d.lastOf = func(context.Context, string) map[[2]string]string { return nil }
	exists, err := writable(dir)
	if err != nil {
		d.fail(name, fmt.Sprintf("let user %d write to %s, or set STATE_DIR to a directory that it may write to and that outlives the process (in a container: a volume)", os.Getuid(), dir), "%v", err)
		return
	}
	if !exists && d.settings.shared.url == "" {
		d.ok(name, "%s is made at the first start", dir)
		return
	}
	store, err := lookAtState(ctx, d.settings)
	switch {
	case errors.Is(err, checkpoint.ErrLocked):
		d.ok(name, "%s is writable, and in use by a connector that runs", dir)
		d.lastOf = d.askLast
		return
	case errors.Is(err, fs.ErrNotExist):
		d.ok(name, "%s is writable, and empty", dir)
		return
	case err != nil && d.settings.shared.url != "":
		d.fail("shared state", "see that the NATS servers of STATE_URL run with JetStream, can be reached from here, and accept the credentials", "%v", err)
		return
	case err != nil:
		d.warn(name, "nothing: at its next start the connector sets the state aside and reads again what the services keep", "%v", err)
		return
	}
	defer store.Close()
	if shared, ok := store.(*checkpoint.Shared); ok {
		if err := lease.Try(ctx, shared.Sessions()); err != nil {
			d.fail("shared state", "give the NATS user of STATE_URL the permissions that docs/replicas.md lists", "this replica could not begin a session: %v", err)
			return
		}
	}
	positions, err := store.Positions()
	if err != nil {
		d.warn(name, "nothing: at its next start the connector sets the state aside and reads again what the services keep", "%v", err)
		return
	}
	d.lastOf = func(_ context.Context, tenant string) map[[2]string]string {
		last := map[[2]string]string{}
		for key, position := range positions {
			feed, own := key[0], tenant == ""
			if !own {
				feed, own = strings.CutPrefix(feed, checkpoint.ScopedFeed(tenant, ""))
			}
			if own {
				last[[2]string{feed, key[1]}] = position.LastError
			}
		}
		return last
	}
	where := dir + " is writable, and holds"
	if d.settings.shared.url != "" {
		where += " a view of the shared state, with"
	}
	d.ok(name, "%s %d %s", where, len(positions), plural(len(positions), "cursor"))
}

// askLast asks the running connector. Only a hint is lost where it does not answer.
func (d *doctor) askLast(ctx context.Context, tenant string) map[[2]string]string {
	path := "/status.json"
	if tenant != "" {
		path = "/tenants/" + tenant + path
	}
	var status struct {
		Feeds []struct {
			Feed      string `json:"feed"`
			Partition string `json:"partition"`
			LastError string `json:"last_error"`
		} `json:"feeds"`
	}
	last := map[[2]string]string{}
	if askJSON(ctx, d.settings, path, &status) == nil {
		for _, f := range status.Feeds {
			last[[2]string{f.Feed, f.Partition}] = f.LastError
		}
	}
	return last
}

// writable writes a file of no name in the directory, or in the nearest one
// above it that exists.
func writable(dir string) (exists bool, err error) {
	exists = true
	for {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			return exists, fmt.Errorf("%s is no directory", dir)
		}
		if err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || parent == dir {
			return exists, err
		}
		dir, exists = parent, false
	}
	file, err := os.CreateTemp(dir, ".check-*")
	if err != nil {
		return exists, fmt.Errorf("%s cannot be written to: %w", dir, underlying(err))
	}
	_, err = file.WriteString("written by " + programName + " check\n")
	return exists, errors.Join(err, file.Close(), os.Remove(file.Name()))
}

// underlying is the cause of an error of the file system without the path,
// which is that of a file nobody knows.
func underlying(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func (d *doctor) checkDefinitions() bool {
	defs, problems := loadDefinitions(d.settings, d.settings.configDir)
	definition.Sort(problems)
	problems = slices.Compact(problems)
	for _, p := range problems {
		text, _, _ := strings.Cut(p.String(), "\n")
		if p.Warning {
			d.warn(ofDefinitions, "run "+programName+" validate to see the place", "%s", text)
		} else {
			d.note(finding{Name: ofDefinitions, Status: failed, Cause: text, Remedy: "run " + programName + " validate to see the place"}, exitDefinitions)
		}
	}
	if defs == nil {
		d.skip("tokens, permissions and feeds", "they depend on the feed and mapping files")
		return false
	}
	d.defs = defs.with(d.settings.switched)
	return true
}

const ofDefinitions = "feeds and mappings"

// checkFeedsOn prepares the feeds that the settings switch on.
func (d *doctor) checkFeedsOn() bool {
	const name = ofDefinitions
	if err := d.plan(); err != nil {
		d.note(finding{Name: name, Status: failed, Cause: err.Error(), Remedy: "correct the feed file, or the setting that it names"}, exitDefinitions)
		d.skip("tokens, permissions and feeds", "they depend on the feed and mapping files")
		return false
	}
	on := map[string]bool{}
	for _, t := range d.targets {
		on[t.feed.Name] = true
	}
	if len(on) == 0 {
		d.warn(name, "switch feeds on: ENABLE_MGMT_ACTIVITY, ENABLE_GRAPH", "every feed is switched off: nothing is collected")
		return true
	}
	d.ok(name, "%d feeds and %d mappings are valid; %d feeds are on", len(d.defs.set.Feeds), len(d.defs.mappings), len(on))
	return true
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// How far the clocks may differ. Assertions and windows allow for about five
// minutes; half a minute is already the sign of a clock that nobody sets.
const (
	skewWarn = 30 * time.Second
	skewFail = 4 * time.Minute
)

func (d *doctor) checkClock() {
	const name = "clock"
	ahead, known := d.client.Skew()
	by := ahead.Abs().Round(time.Second)
	direction := "behind"
	if ahead < 0 {
		direction = "ahead of"
	}
	const remedy = "set the clock of this host (NTP, chrony, systemd-timesyncd); a container has the clock of its host"
	switch {
	case len(d.tokens) == 0:
		d.skip(name, "no feed that is on asks a service")
	case !known:
		d.skip(name, "no service answered")
	case by >= skewFail:
		d.fail(name, remedy, "this host's clock is %s %s the services'; windows and signed assertions are refused", by, direction)
	case by >= skewWarn:
		d.warn(name, remedy, "this host's clock is %s %s the services'", by, direction)
	default:
		d.ok(name, "within %s of the services'", max(by, time.Second))
	}
}

// checkTenant compares the tenant that issued the tokens with TENANT_ID, which
// may be a domain for the token endpoint but not for every API.
func (d *doctor) checkTenant() {
	const name = "tenant"
	wanted := d.settings.tenantID
	var tenant string
	for _, t := range d.targets {
		if found := d.tokens[t.scope].claims.Tenant; found != "" {
			tenant = found
		}
	}
	switch {
	case tenant == "":
		d.skip(name, "there is no token that names its tenant")
	case strings.EqualFold(tenant, wanted):
		d.ok(name, "the tokens are of tenant %s", tenant)
	case guid.MatchString(wanted):
		d.fail(name, "write TENANT_ID="+tenant+" if that is the tenant to collect", "the tokens are of tenant %s, and TENANT_ID is %s", tenant, wanted)
	case d.settings.names["ENABLE_MGMT_ACTIVITY"] == true:
		d.fail(name, "write TENANT_ID="+tenant, "TENANT_ID is %s; the Management Activity API takes the tenant's id only", wanted)
	default:
		d.warn(name, "write TENANT_ID="+tenant, "TENANT_ID is %s, the tenant's id is %s", wanted, tenant)
	}
}

const (
	destinationPatience = 20 * time.Second // for an answer of the destination
	destinationRecovery = 3 * time.Second  // for a destination that answered badly to recover
)

// checkDestination delivers one event, as only that shows that the address, the
// project and the token are right: the service has no request that would tell
// without. It says what it is: connector-check.
func (d *doctor) checkDestination(ctx context.Context) {
	const name = "destination"
	s := d.settings
	switch {
	case s.output == "-":
		d.ok(name, "standard output")
		return
	case s.output != "":
		d.checkOutput(name)
		return
	case s.stream != nil && s.stream.Exposed():
		d.warn(name, "write OUTPUT with tls:// or kafka+tls://, unless the network is your own", "%s is reached without encryption", s.destinationText())
	}
	dest, err := openDestination(s, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		d.note(finding{name, failed, err.Error(), "correct the setting that it names"}, exitUsage)
		return
	}
	defer dest.Close()
	body, err := json.Marshal(checkEvent(s, time.Now()))
	if err != nil {
		d.fail(name, "report this", "%v", err)
		return
	}
	refused, err := deliverSoon(ctx, dest, body)
	state := dest.State()
	switch {
	case err != nil:
		cause, remedy := state.LastError, "see that this host may reach it over HTTPS: HTTPS_PROXY behind a proxy, SSL_CERT_FILE for a private certificate authority"
		if cause == "" {
			cause = fmt.Sprintf("no answer within %s", destinationPatience)
		}
		if s.stream != nil {
			remedy = cmp.Or(state.Advice, "see that a server runs there and that this host may reach it; HTTPS_PROXY is not used for it")
		} else if strings.Contains(cause, "HTTP 401") || strings.Contains(cause, "HTTP 403") {
			remedy = "write a token that may ingest into project " + s.projectID + " into TOKEN, and compare PROJECT_ID with the project it belongs to"
			if s.collectorBase != "" {
				remedy = "a collector takes events without a token: see that S60_COLLECTOR_BASE leads to it and not to a proxy that asks for one"
			}
		} else if strings.Contains(cause, "HTTP ") {
			remedy = "see that " + s.destinationText() + " is the right place, and try again later: events wait until it takes them"
		}
		d.fail(name, remedy, "%s: %s", s.destinationText(), cause)
	case len(refused) > 0 && s.stream != nil:
		d.fail(name, "see that messages of some kilobytes may be written there; events refused so go to dead letters", "%s refuses events: %s", s.destinationText(), refused[0].Reason)
	case len(refused) > 0:
		d.fail(name, "compare "+map[bool]string{true: "S60_COLLECTOR_BASE", false: "S60_INGEST_BASE and PROJECT_ID"}[s.collectorBase != ""]+" with what Secure60 gave you; events refused so go to dead letters",
			"%s refuses events: HTTP %d %s", s.destinationText(), refused[0].Status, refused[0].Reason)
	default:
		d.ok(name, "%s took an event of operation connector-check", s.destinationText())
	}
}

func checkEvent(s *settings, now time.Time) map[string]any {
	event := ownEvent(s, "connector-check", now)
	event["message_text"] = fmt.Sprintf("%s %s checks that it can deliver, for tenant %s", programName, version, s.tenantID)
	return event
}

// deliverSoon delivers one event, or gives up: a destination retries for ever.
func deliverSoon(ctx context.Context, dest load.Destination, event []byte) ([]load.Refused, error) {
	ctx, cancel := context.WithTimeout(ctx, destinationPatience)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		var since time.Time
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			switch state := dest.State(); {
			case state.OK:
				since = time.Time{}
			case since.IsZero():
				since = time.Now()
			case time.Since(since) > destinationRecovery:
				cancel()
			}
		}
	}()
	return dest.Deliver(ctx, load.Batch{Events: [][]byte{event}})
}

// checkOutput sees whether the file can be appended to. It does not make one.
func (d *doctor) checkOutput(name string) {
	path := d.settings.output
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		d.ok(name, "%s can be appended to", path)
		file.Close()
		return
	}
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = os.Stat(filepath.Dir(path)); err == nil {
			_, err = writable(filepath.Dir(path))
		}
	}
	if err != nil {
		d.fail(name, "let OUTPUT name a file that the connector may write to, in a directory that exists", "%s cannot be written to: %v", path, underlying(err))
		return
	}
	d.ok(name, "%s is made at the first start", path)
}

// checkExpiry tells how long the credential lasts.
func (d *doctor) checkExpiry(ctx context.Context) {
	const name = "credential expiry"
	if d.client == nil { // the definitions were invalid
		d.skip(name, "it depends on the feed and mapping files")
		return
	}
	kind := d.settings.credential.kind
	ends, err := expiry{d.settings, d.credential, d.client}.find(ctx)
	now := time.Now()
	remedy := "create a new one in the app registration and put it into " + kind
	if kind == "FEDERATED_TOKEN_FILE" { // it tells its end only once that has passed
		remedy = "see why " + d.settings.credential.value + " is not renewed any more"
	}
	switch days := daysLeft(ends, now); {
	case errors.Is(err, errExpiryUnknown) && kind == "FEDERATED_TOKEN_FILE":
		d.ok(name, "nothing to watch: a federated token is renewed by its issuer")
	case errors.Is(err, errExpiryUnknown):
		_, why, _ := strings.Cut(err.Error(), ": ")
		d.warn(name, "grant Application.Read.All to be warned in time, or note the date yourself", "the end of %s is not known: %s", kind, why)
	case err != nil:
		if _, ok := errors.AsType[*extract.AuthError](err); ok {
			d.skip(name, "there is no token for "+d.settings.graphScope())
			return
		}
		d.warn(name, "", "the end of %s could not be read: %v", kind, err)
	case !ends.After(now):
		d.note(finding{name, failed, fmt.Sprintf("%s ended on %s", kind, ends.UTC().Format(time.DateOnly)), remedy}, exitCredentials)
	case days <= expiryDays[len(expiryDays)-1]:
		d.warn(name, remedy, "%s ends in %d %s, on %s", kind, days, plural(days, "day"), ends.UTC().Format(time.DateOnly))
	default:
		d.ok(name, "%s ends in %d days, on %s", kind, days, ends.UTC().Format(time.DateOnly))
	}
}
