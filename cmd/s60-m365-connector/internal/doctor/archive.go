package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
)

// checkArchives says how far back a backfill reaches of each feed that names an archive. That nobody
// granted what the archive needs is no fault: nothing else needs it.
func (d *Doctor) checkArchives(ctx context.Context) {
	var told []string
	for _, t := range d.targets {
		archive := d.defs.Set.Feed(t.feed.Archive)
		if archive == nil || archive.Window == nil || slices.Contains(told, archive.Name) {
			continue
		}
		told = append(told, archive.Name)
		f := Finding{Name: "archive of " + t.feed.Name, Status: Passed, Feeds: []string{t.feed.Name}}
		scope, err := archive.Scope.Expand(d.Settings.Names)
		token, asked := d.tokens[scope]
		if !asked && err == nil {
			token.claims, err = d.client.Claims(ctx, scope)
		}
		if err == nil {
			err = token.err
		}
		lacks := slices.DeleteFunc(slices.Clone(archive.Permissions), func(name string) bool { return slices.Contains(token.claims.Roles, name) })
		reach := fmt.Sprintf("%d days, through %s", archive.Window.Retention/(24*time.Hour), archive.Name)
		switch {
		case asked && token.err != nil: // which is told
			f.Status, f.Cause = Skipped, "there is no token for "+strings.TrimSuffix(scope, "/.default")
		case err != nil || token.claims.Tenant == "" && len(token.claims.Roles) == 0:
			f.Status, f.Cause = Warned, "how far back a backfill reaches could not be verified: the token does not tell what it permits, or there is none"
			f.Remedy = "compare the app registration with what the archive needs: " + strings.Join(archive.Permissions, ", ")
		case len(lacks) > 0:
			f.Cause = fmt.Sprintf("a backfill reaches %d days back; it would reach %s, if you %s", t.feed.Window.Retention/(24*time.Hour), reach, d.grant(scope, lacks...))
		default:
			f.Cause = "a backfill reaches back " + reach
		}
		d.note(f, program.Done)
	}
}
