package doctor

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
	"syscall"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/shared"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/lease"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// All asks for every requirement behind the settings, in order of dependency.
func (d *Doctor) All(ctx context.Context) {
	d.checkCloud()
	d.checkState(ctx)
	d.checkDefinitions()
	d.checkTenantServices(ctx)
}

// checkTenantServices asks for what is each tenant's own: the services, and the destination.
func (d *Doctor) checkTenantServices(ctx context.Context) {
	d.last = d.lastOf(ctx, d.Settings.Tenant)
	if d.defs != nil && d.checkFeedsOn() {
		d.askTokens(ctx)
		d.checkClock()
		d.checkTokens()
		d.checkTenant()
		d.checkPermissions()
		d.checkArchives(ctx)
		for _, t := range d.targets {
			d.checkFeed(ctx, t)
		}
	}
	d.checkDestination(ctx)
	d.checkExpiry(ctx)
	d.tell()
}

// inFile is the place of a problem in the file of a tenant.
var inFile = regexp.MustCompile(`^\S+\.ya?ml(:\d+:\d+)?: `)

func (d *Doctor) CheckSettings(err error) bool {
	const name = "settings"
	if list, ok := errors.AsType[settings.Problems](err); ok {
		for _, problem := range list {
			place := ""
			if named := inFile.FindString(problem); named != "" { // of a tenant
				place, problem = named, problem[len(named):]
			}
			cause, remedy, _ := strings.Cut(problem, ": ")
			cause = place + cause
			d.note(Finding{Name: name, Status: Failed, Cause: cause, Remedy: remedy}, program.Usage)
		}
		d.skip("everything else", "it depends on the settings")
		return false
	}
	if e, ok := errors.AsType[*program.Error](err); ok { // of --tenant
		d.note(Finding{Name: name, Status: Failed, Cause: e.Error(), Remedy: "write --tenant with the name of a tenant"}, e.Code)
		return false
	}
	if err != nil {
		d.note(Finding{Name: name, Status: Failed, Cause: err.Error(), Remedy: "correct it"}, program.Usage)
		return false
	}
	for _, setting := range d.Settings.Shadowed {
		d.warn(name, "remove OUTPUT to deliver to Secure60", "OUTPUT is set, so %s is not used and events go to %s", setting, d.Settings.DestinationText())
	}
	d.ok(name, "tenant %s, cloud %s, to %s", d.Settings.TenantID, d.Settings.Cloud, d.Settings.DestinationText())
	return true
}

// formerLogins are login hosts that still work, and the cloud each belongs to.
var formerLogins = map[string]string{"login.chinacloudapi.cn": "china", "login.windows.net": "commercial"}

// checkCloud finds bases of different clouds, which can never work together.
func (d *Doctor) checkCloud() {
	s := d.Settings
	var parts, strange []string
	possible := slices.Clone(settings.CloudNames)
	for _, base := range []struct {
		setting, url string
		of           func(settings.CloudBases) string
		used         bool
	}{
		{"MS_LOGIN_BASE", s.LoginBase, func(c settings.CloudBases) string { return c.Login }, true},
		{"MS_MANAGE_BASE", s.ManageBase, func(c settings.CloudBases) string { return c.Manage }, s.Names["ENABLE_MGMT_ACTIVITY"] == true},
		{"MS_GRAPH_BASE", s.GraphBase, func(c settings.CloudBases) string { return c.Graph }, s.Names["ENABLE_GRAPH"] == true},
	} {
		if !base.used {
			continue
		}
		var of []string
		for _, name := range settings.CloudNames {
			if host(base.of(settings.Clouds[name])) == host(base.url) {
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
func (d *Doctor) checkState(ctx context.Context) {
	const name = "state directory"
	dir := d.Settings.StateDir
	d.lastOf = func(context.Context, string) map[[2]string]met { return nil }
	exists, err := Writable(dir)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		d.fail(name, "free some space, or give the state a larger volume; nothing is lost meanwhile", "the disk of %s is full: %v", dir, err)
		return
	}
	if err != nil {
		d.fail(name, fmt.Sprintf("let user %d write to %s, or set STATE_DIR to a directory that it may write to and that outlives the process (in a container: a volume)", os.Getuid(), dir), "%v", err)
		return
	}
	if !exists && d.Settings.Shared.URL == "" {
		d.ok(name, "%s is made at the first start", dir)
		return
	}
	store, err := fleet.LookAtState(ctx, d.Settings)
	switch {
	case errors.Is(err, checkpoint.ErrLocked):
		d.ok(name, "%s is writable, and in use by a connector that runs", dir)
		d.lastOf = d.askLast
		return
	case errors.Is(err, fs.ErrNotExist):
		d.ok(name, "%s is writable, and empty", dir)
		return
	case err != nil && d.Settings.Shared.URL != "":
		d.fail("shared state", "see that the NATS servers of STATE_URL run with JetStream, can be reached from here, and accept the credentials", "%v", err)
		return
	case err != nil:
		d.warn(name, "nothing: at its next start the connector sets the state aside and reads again what the services keep", "%v", err)
		return
	}
	defer store.Close()
	if shared, ok := store.(*shared.Store); ok {
		if err := lease.Try(ctx, shared.Sessions()); err != nil {
			d.fail("shared state", "give the NATS user of STATE_URL the permissions that docs/replicas.md lists", "this replica could not begin a session: %v", err)
			return
		}
	}
	positions, err := store.Positions("")
	if err != nil {
		d.warn(name, "nothing: at its next start the connector sets the state aside and reads again what the services keep", "%v", err)
		return
	}
	d.lastOf = func(_ context.Context, tenant string) map[[2]string]met {
		last := map[[2]string]met{}
		for key, position := range positions {
			feed, own := key[0], tenant == ""
			if !own {
				feed, own = strings.CutPrefix(feed, checkpoint.ScopedFeed(tenant, ""))
			}
			if own {
				last[[2]string{feed, key[1]}] = met{position.LastError, !position.LastSuccess.IsZero()}
			}
		}
		return last
	}
	where := dir + " is writable, and holds"
	if d.Settings.Shared.URL != "" {
		where += " a view of the shared state, with"
	}
	d.ok(name, "%s %d %s", where, len(positions), wording.Plural(len(positions), "cursor"))
}

// askLast asks the running connector. Only a hint is lost where it does not answer.
func (d *Doctor) askLast(ctx context.Context, tenant string) map[[2]string]met {
	path := "/status.json"
	if tenant != "" {
		path = "/tenants/" + tenant + path
	}
	var status struct {
		Feeds []struct {
			Feed        string    `json:"feed"`
			Partition   string    `json:"partition"`
			LastError   string    `json:"last_error"`
			LastSuccess time.Time `json:"last_success"`
		} `json:"feeds"`
	}
	last := map[[2]string]met{}
	if fleet.AskJSON(ctx, d.Settings, path, &status) == nil {
		for _, f := range status.Feeds {
			last[[2]string{f.Feed, f.Partition}] = met{f.LastError, !f.LastSuccess.IsZero()}
		}
	}
	return last
}

// Writable writes a file of no name in the directory, or in the nearest one
// above it that exists.
func Writable(dir string) (exists bool, err error) {
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
		return exists, fmt.Errorf("%s cannot be written to: %w", dir, wording.Underlying(err))
	}
	_, err = file.WriteString("written by " + program.Name + " check\n")
	return exists, errors.Join(err, file.Close(), os.Remove(file.Name()))
}

func (d *Doctor) checkDefinitions() bool {
	defs, problems := definitions.Load(d.Settings, d.Settings.ConfigDir)
	definition.Sort(problems)
	problems = slices.Compact(problems)
	for _, p := range problems {
		text, _, _ := strings.Cut(p.String(), "\n")
		if p.Warning {
			d.warn(ofDefinitions, "run "+program.Name+" validate to see the place", "%s", text)
		} else {
			d.note(Finding{Name: ofDefinitions, Status: Failed, Cause: text, Remedy: "run " + program.Name + " validate to see the place"}, program.Definitions)
		}
	}
	if defs == nil {
		d.skip("tokens, permissions and feeds", "they depend on the feed and mapping files")
		return false
	}
	d.defs = defs.With(d.Settings.Switched)
	return true
}

const ofDefinitions = "feeds and mappings"

// checkFeedsOn prepares the feeds that the settings switch on.
func (d *Doctor) checkFeedsOn() bool {
	const name = ofDefinitions
	if err := d.plan(); err != nil {
		d.note(Finding{Name: name, Status: Failed, Cause: err.Error(), Remedy: "correct the feed file, or the setting that it names"}, program.Definitions)
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
	d.ok(name, "%d feeds and %d mappings are valid; %d feeds are on", len(d.defs.Set.Feeds), len(d.defs.Mappings), len(on))
	return true
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// How far the clocks may differ. Assertions and windows allow for about five
// minutes; half a minute is already the sign of a clock that nobody sets.
const (
	skewWarn = 30 * time.Second
	skewFail = 4 * time.Minute
)

func (d *Doctor) checkClock() {
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
func (d *Doctor) checkTenant() {
	const name = "tenant"
	wanted := d.Settings.TenantID
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
	case d.Settings.Names["ENABLE_MGMT_ACTIVITY"] == true:
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
func (d *Doctor) checkDestination(ctx context.Context) {
	const name = "destination"
	s := d.Settings
	switch {
	case s.Output == "-":
		d.ok(name, "standard output")
		return
	case s.Output != "":
		d.checkOutput(name)
		return
	case s.Stream != nil && s.Stream.Exposed():
		d.warn(name, "write OUTPUT with tls:// or kafka+tls://, unless the network is your own", "%s is reached without encryption", s.DestinationText())
	}
	dest, err := fleet.OpenDestination(s, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		d.note(Finding{Name: name, Status: Failed, Cause: err.Error(), Remedy: "correct the setting that it names"}, program.Usage)
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
		if s.Stream != nil {
			remedy = cmp.Or(state.Advice, "see that a server runs there and that this host may reach it; HTTPS_PROXY is not used for it")
		} else if strings.Contains(cause, "HTTP 401") || strings.Contains(cause, "HTTP 403") {
			remedy = "write a token that may ingest into project " + s.ProjectID + " into TOKEN, and compare PROJECT_ID with the project it belongs to"
			if s.CollectorBase != "" {
				remedy = "a collector takes events without a token: see that S60_COLLECTOR_BASE leads to it and not to a proxy that asks for one"
			}
		} else if strings.Contains(cause, "HTTP ") {
			remedy = "see that " + s.DestinationText() + " is the right place, and try again later: events wait until it takes them"
		}
		d.gather(name, "", Finding{Status: Failed, Cause: s.DestinationText() + ": " + cause, Remedy: remedy}, program.Failed)
	case len(refused) > 0 && s.Stream != nil:
		d.fail(name, "see that messages of some kilobytes may be written there; events refused so go to dead letters", "%s refuses events: %s", s.DestinationText(), refused[0].Reason)
	case len(refused) > 0:
		d.fail(name, "compare "+map[bool]string{true: "S60_COLLECTOR_BASE", false: "S60_INGEST_BASE and PROJECT_ID"}[s.CollectorBase != ""]+" with what Secure60 gave you; events refused so go to dead letters",
			"%s refuses events: HTTP %d %s", s.DestinationText(), refused[0].Status, refused[0].Reason)
	default:
		d.ok(name, "%s took an event of operation connector-check", s.DestinationText())
	}
}

func checkEvent(s *settings.Settings, now time.Time) map[string]any {
	event := fleet.OwnEvent(s, "connector-check", now)
	event["message_text"] = fmt.Sprintf("%s %s checks that it can deliver, for tenant %s", program.Name, program.Version, s.TenantID)
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
func (d *Doctor) checkOutput(name string) {
	path := d.Settings.Output
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		d.ok(name, "%s can be appended to", path)
		file.Close()
		return
	}
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = os.Stat(filepath.Dir(path)); err == nil {
			_, err = Writable(filepath.Dir(path))
		}
	}
	if err != nil {
		d.fail(name, "let OUTPUT name a file that the connector may write to, in a directory that exists", "%s cannot be written to: %v", path, wording.Underlying(err))
		return
	}
	d.ok(name, "%s is made at the first start", path)
}

// checkExpiry tells how long the credential lasts.
func (d *Doctor) checkExpiry(ctx context.Context) {
	const name = "credential expiry"
	if d.client == nil { // the definitions were invalid
		d.skip(name, "it depends on the feed and mapping files")
		return
	}
	kind := d.Settings.Credential.Kind
	ends, err := fleet.Expiry{Settings: d.Settings, Credential: d.credential, Client: d.client}.Find(ctx)
	now := time.Now()
	remedy := "create a new one in the app registration and put it into " + kind
	if kind == "FEDERATED_TOKEN_FILE" || kind == "MANAGED_IDENTITY" { // the first tells its end only once that has passed, the second has none
		remedy = "see why " + d.Settings.Credential.Value + " is not renewed any more"
	}
	switch days := fleet.DaysLeft(ends, now); {
	case errors.Is(err, fleet.ErrExpiryUnknown) && (kind == "FEDERATED_TOKEN_FILE" || kind == "MANAGED_IDENTITY"):
		d.ok(name, "nothing to watch: a federated token is renewed by its issuer")
	case errors.Is(err, fleet.ErrExpiryUnknown):
		_, why, _ := strings.Cut(err.Error(), ": ")
		d.warn(name, "grant Application.Read.All to be warned in time, or note the date yourself", "the end of %s is not known: %s", kind, why)
	case err != nil:
		if _, ok := errors.AsType[*extract.AuthError](err); ok {
			d.skip(name, "there is no token for "+d.Settings.GraphScope())
			return
		}
		d.warn(name, "", "the end of %s could not be read: %v", kind, err)
	case !ends.After(now):
		d.note(Finding{name, Failed, fmt.Sprintf("%s ended on %s", kind, ends.UTC().Format(time.DateOnly)), remedy, d.ended()}, program.Credentials)
	case days <= fleet.ExpiryDays[len(fleet.ExpiryDays)-1]:
		d.warn(name, remedy, "%s ends in %d %s, on %s", kind, days, wording.Plural(days, "day"), ends.UTC().Format(time.DateOnly))
	default:
		d.ok(name, "%s ends in %d days, on %s", kind, days, ends.UTC().Format(time.DateOnly))
	}
}
