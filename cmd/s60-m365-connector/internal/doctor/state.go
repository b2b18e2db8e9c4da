package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/shared"
	"github.com/secure60/s60-m365-connector/engine/lease"
)

// This file looks at the state: whether it can be written, and what the feeds met last.

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
	if errors.Is(err, syscall.EROFS) {
		d.fail(name, "mount a writable volume there", "%v", err)
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
	case err == nil && store == nil:
		d.ok(name, "%s is writable, and empty", dir)
		return
	case err != nil && d.Settings.Shared.URL != "":
		cause, remedy, _ := strings.Cut(err.Error(), "; ")
		d.fail("shared state", cmp.Or(remedy, "see that the NATS servers of STATE_URL run with JetStream, can be reached from here, and accept the credentials"), "%s", cause)
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
				feed, own = strings.CutPrefix(feed, checkpoint.TenantFeed(tenant, ""))
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
	var status engine.Status
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
