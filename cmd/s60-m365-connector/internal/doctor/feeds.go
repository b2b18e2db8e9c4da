package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// target is a partition of a feed that is on.
type target struct {
	feed      *definition.Feed
	partition string
	scope     string
	reader    *extract.Reader
}

func (t target) label() string { return wording.FeedLabel(t.feed.Name, t.partition) }

// tokenState is what the token of a scope says, or why there is none.
type tokenState struct {
	claims extract.Claims
	err    error
}

// plan makes the client and what reads the feeds that are on. A person waits
// for the answers: faults are told after two attempts, not after many.
func (d *Doctor) plan() error {
	s := d.Settings
	var err error
	if d.credential, err = fleet.NewCredential(s); err != nil {
		return err
	}
	options := fleet.ClientOptions(s, d.credential, slog.New(slog.DiscardHandler))
	options.MaxAttempts, options.MaxElapsed, options.MaxThrottled = 2, 20*time.Second, 30*time.Second
	options.Backoff, options.HeaderTimeout, options.StallTimeout = 200*time.Millisecond, 30*time.Second, 10*time.Second
	d.client = extract.NewClient(options)
	for _, feed := range d.defs.Set.Feeds {
		on, err := feed.Enabled.Bool(s.Names)
		if err != nil {
			return fmt.Errorf("feed %s: enabled: %w", feed.Name, err)
		}
		if !on {
			continue
		}
		values, err := feed.Partitions(s.Names)
		if err != nil {
			return fmt.Errorf("feed %s: %w", feed.Name, err)
		}
		for _, value := range values {
			reader, err := extract.NewReader(d.client, feed, value, s.Names)
			if err != nil {
				return err
			}
			scope, err := feed.Scope.Expand(s.Names)
			if err != nil {
				return fmt.Errorf("feed %s: auth.scope: %w", feed.Name, err)
			}
			d.targets = append(d.targets, target{feed, value, scope, reader})
		}
	}
	return nil
}

// scopes are those of the feeds that are on, each once.
func (d *Doctor) scopes() []string {
	var list []string
	for _, t := range d.targets {
		if t.scope != "" && !slices.Contains(list, t.scope) {
			list = append(list, t.scope)
		}
	}
	return list
}

// askTokens asks for a token of each scope. It comes before the clock is
// judged, which the answers tell.
func (d *Doctor) askTokens(ctx context.Context) {
	d.tokens = map[string]tokenState{}
	for _, scope := range d.scopes() {
		claims, err := d.client.Claims(ctx, scope)
		d.tokens[scope] = tokenState{claims, err}
	}
}

func (d *Doctor) checkTokens() {
	var without, feeds []string
	for _, scope := range d.scopes() {
		of, token := strings.TrimSuffix(scope, "/.default"), d.tokens[scope]
		if token.err == nil {
			d.ok("token for "+of, "granted, until %s", token.claims.Expires.UTC().Format("15:04 UTC"))
			continue
		}
		f, code := d.describe(token.err, nil)
		d.gather("token", "for "+of, f, code, d.feedsOf(scope)...)
		without, feeds = append(without, of), append(feeds, d.feedsOf(scope)...)
	}
	if len(without) > 0 {
		d.note(Finding{Name: "permissions and feeds", Status: Skipped, Cause: "there is no token for " + strings.Join(without, ", "), Feeds: feeds}, program.Done)
	}
}

// feedsOf are the feeds that read with tokens of a scope.
func (d *Doctor) feedsOf(scope string) []string {
	var feeds []string
	for _, t := range d.targets {
		if t.scope == scope {
			feeds = append(feeds, t.label())
		}
	}
	return feeds
}

// optional are permissions without which a feed works nevertheless, and what
// it then lacks.
var optional = map[string]string{
	"ActivityFeed.ReadDlp": "events of data loss prevention come without the details of what matched",
	"Directory.Read.All":   "some tenants then refuse the sign-in feeds, and the end of the credential is not known",
}

// checkPermissions compares what the feeds ask for with what the tokens hold. A permission
// that was never granted is a choice, and no failure, unless nothing can be collected.
func (d *Doctor) checkPermissions() {
	nothing := !slices.ContainsFunc(d.targets, func(t target) bool { return d.missing(t) == "" })
	for _, scope := range d.scopes() {
		token := d.tokens[scope]
		if token.err != nil {
			continue
		}
		users, revoked := map[string][]string{}, map[string]bool{} // by permission
		for _, t := range d.targets {
			for _, permission := range t.feed.Permissions {
				if t.scope == scope && !slices.Contains(users[permission], t.label()) {
					users[permission] = append(users[permission], t.label())
					revoked[permission] = revoked[permission] || d.last[[2]string{t.feed.Name, t.partition}].collected
				}
			}
		}
		names := slices.Sorted(maps.Keys(users))
		switch {
		case len(names) == 0:
			continue
		case len(token.claims.Roles) == 0 && token.claims.Tenant == "":
			d.note(Finding{"permissions of " + d.api(scope), Warned, "they could not be verified: the token does not tell what it permits",
				"compare them with the app registration: " + strings.Join(names, ", "), d.feedsOf(scope)}, program.Done)
			continue
		case len(token.claims.Roles) == 0:
			f := Finding{"permissions of " + d.api(scope), Warned,
				"not consented: the token holds no permission at all, so an administrator has not consented, or delegated permissions were added instead of application permissions",
				d.grant(scope, names...), d.feedsOf(scope)}
			if nothing || slices.ContainsFunc(names, func(name string) bool { return revoked[name] }) {
				f.Status = Failed
			}
			d.note(f, program.Failed)
			continue
		}
		for _, permission := range names {
			f := Finding{"permission " + permission, Warned, "not consented: it was never granted, and these feeds rest", d.grant(scope, permission) + ", or switch the feeds off", users[permission]}
			less, partly := optional[permission]
			switch {
			case slices.Contains(token.claims.Roles, permission):
				f.Status, f.Cause, f.Remedy = Passed, "granted, for "+strings.Join(users[permission], ", "), ""
			case partly:
				f.Cause, f.Remedy = "not granted; "+less, d.grant(scope, permission)
			case revoked[permission]:
				f.Status, f.Cause, f.Remedy = Failed, "not granted any more: what was collected with it stops", d.grant(scope, permission)
			case nothing:
				f.Status, f.Cause = Failed, "not consented: it was never granted, and nothing can be collected"
			}
			d.note(f, program.Failed)
		}
	}
}

// api is the name of the API of a scope.
func (d *Doctor) api(scope string) string {
	switch scope {
	case d.Settings.GraphScope():
		return "Microsoft Graph"
	case d.Settings.ManageBase + "/.default":
		return "Office 365 Management APIs"
	}
	return scope
}

// scriptClouds are the names that the PowerShell script has for clouds: those of Connect-MgGraph.
var scriptClouds = map[string]string{"gcc": "GCC", "gcchigh": "USGov", "dod": "USGovDoD", "china": "China"}

// grant says how a permission is given: the command that does it, and the way by hand.
func (d *Doctor) grant(scope string, permissions ...string) string {
	byHand := fmt.Sprintf("add the application permission %s of %s to the app registration and grant admin consent", strings.Join(permissions, " and "), d.api(scope))
	if d.api(scope) == scope {
		return byHand // the scripts know the two services alone
	}
	list, sh, ps := strings.Join(permissions, ","), "", ""
	if cloud := scriptClouds[d.Settings.Cloud]; cloud != "" {
		sh, ps = " --cloud "+d.Settings.Cloud, " -Environment "+cloud
	}
	return fmt.Sprintf("run setup/setup-s60-m365-connector.sh --client-id %[1]s --permission %[2]s%[3]s (PowerShell: setup-s60-m365-connector.ps1 -ClientId %[1]s -Permission %[2]s%[4]s); or %[5]s",
		d.Settings.ClientID, list, sh, ps, byHand)
}

// missing is the first permission that a feed cannot work without and does not
// have.
func (d *Doctor) missing(t target) string {
	claims := d.tokens[t.scope].claims
	for _, permission := range t.feed.Permissions {
		if _, partly := optional[permission]; !partly && claims.Tenant != "" && !slices.Contains(claims.Roles, permission) {
			return permission
		}
	}
	return ""
}

// checkFeed asks the service for one small page of the feed, and whether its
// subscription is active.
func (d *Doctor) checkFeed(ctx context.Context, t target) {
	if t.scope != "" && d.tokens[t.scope].err != nil || d.missing(t) != "" {
		return // told, with this feed
	}
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	if !d.checkSubscription(ctx, t) {
		return // so is this
	}
	records, err := t.reader.Probe(ctx, probeWindow(t.feed, time.Now()))
	if err != nil {
		f, code := d.describe(err, &t)
		d.gather("feed", t.label(), f, code, t.label())
		return
	}
	what := fmt.Sprintf("%d %s", records, wording.Plural(records, "record"))
	if t.feed.Expand != nil {
		what = fmt.Sprintf("%d %s of content", records, wording.Plural(records, "item"))
	}
	d.note(Finding{Name: "feed " + t.label(), Status: Passed, Cause: "answers, with " + what + " in the minute asked for", Feeds: []string{t.label()}}, program.Done)
}

// probeWindow is the last minute that the feed would read.
func probeWindow(feed *definition.Feed, now time.Time) extract.Window {
	if feed.Window == nil {
		return extract.Window{}
	}
	to := now.UTC().Add(-feed.Window.Delay).Truncate(time.Second)
	return extract.Window{From: to.Add(-min(time.Minute, feed.Window.Max)), To: to}
}

// checkSubscription lists the subscriptions. To the reader, a start was just
// attempted: so it attempts none.
func (d *Doctor) checkSubscription(ctx context.Context, t target) (active bool) {
	if t.feed.Subscribe == nil || t.feed.Subscribe.Wait < time.Minute {
		return true // there is none, or it could be started again at once: not by a check
	}
	of := cmp.Or(t.partition, t.feed.Name)
	_, _, err := t.reader.Subscribe(ctx, time.Now(), false)
	if err == nil {
		d.note(Finding{Name: "subscription " + of, Status: Passed, Cause: "active", Feeds: []string{t.label()}}, program.Done)
		return true
	}
	last, ran := d.last[[2]string{t.feed.Name, t.partition}]
	if _, inactive := errors.AsType[*extract.SubscribeWait](err); inactive {
		// The listing does not tell why; asking for content does.
		_, asked := t.reader.Probe(ctx, probeWindow(t.feed, time.Now()))
		switch refused, ok := errors.AsType[*extract.StatusError](asked); {
		case strings.Contains(last.err, wording.AuditOff):
			d.gather("subscription", of, Finding{Status: Failed, Remedy: wording.SwitchAuditOn,
				Cause: wording.AuditOff + ", as the service said when the connector last tried to start the subscription"}, program.Failed, t.label())
			return false
		case ok && refused.Code == "AF20022" && !ran:
			d.gather("subscription", of, Finding{Status: Warned, Cause: "not started yet, so whether the tenant's audit log is on could not be verified",
				Remedy: "start the connector: it starts it; first content can take hours. Where the log is off, " + wording.SwitchAuditOn}, program.Done, t.label())
			return false
		case asked != nil:
			err = asked
		}
	}
	f, code := d.describe(err, &t)
	d.gather("subscription", of, f, code, t.label())
	return false
}
