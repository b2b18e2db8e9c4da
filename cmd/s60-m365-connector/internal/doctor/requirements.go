package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
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
	d.warnOfSettings()
	d.ok(name, "tenant %s, cloud %s, to %s", d.Settings.TenantID, d.Settings.Cloud, d.Settings.DestinationText())
	return true
}

// warnOfSettings tells what reading the settings warned of, but for what is told already.
func (d *Doctor) warnOfSettings() {
	for _, warning := range d.Settings.Warnings {
		if !slices.Contains(d.told, warning) {
			d.warn("settings", "correct it, or take it away", "%s", strings.TrimSuffix(warning, "?"))
		}
	}
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
		d.fail(name, remedy, "this host's clock is %s %s the services'; windows go by theirs, but certificates and signed assertions are refused, and heartbeats bear a wrong time", by, direction)
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
