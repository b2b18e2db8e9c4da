package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Report tells of state that could not be used and was set aside.
type Report struct {
	Reason string // what was wrong with it
	Path   string // where it was put
}

// String is the report in one line for a log.
func (r *Report) String() string {
	return fmt.Sprintf("%s; it was set aside as %s, and a new state begins: every feed is read again from as far back as its source keeps records, so records that were delivered before may be delivered again", r.Reason, r.Path)
}

// unusable is why a stored state cannot be used.
type unusable struct {
	newer  bool // written by a later release, not damaged
	reason string
}

func (u *unusable) Error() string { return u.reason }

// Is makes a damaged state, and not one of a later release, an ErrDamaged.
func (u *unusable) Is(target error) bool { return target == ErrDamaged && !u.newer }

func damagef(format string, args ...any) *unusable {
	return &unusable{reason: fmt.Sprintf("%v: ", ErrDamaged) + fmt.Sprintf(format, args...)}
}

// damagedMark is the file that a store leaves among its own when it finds damage
// while it runs: the next Open sets the state aside, also when the process was killed in between.
const damagedMark = "damaged"

// inspect looks for what the store's engine does not notice by itself: a mark left
// by an earlier run, missing files that would make it begin afresh, a manifest that is
// shorter than it was.
func inspect(d *disk, dir string) (watermark, error) {
	names, err := d.List(dir)
	if err != nil {
		return watermark{}, err
	}
	var hasFormat, hasManifest bool
	for _, name := range names {
		switch {
		case name == damagedMark:
			text, err := readFile(d, d.PathJoin(dir, name))
			if err != nil {
				return watermark{}, err
			}
			return watermark{}, damagef("%s", text)
		case strings.HasPrefix(name, "marker.format-version."):
			hasFormat = true
			v, err := strconv.Atoi(name[strings.LastIndexByte(name, '.')+1:])
			if err == nil && v > int(pebble.FormatNewest) {
				return watermark{}, &unusable{newer: true, reason: fmt.Sprintf("the state was written by a newer release of the connector (file format %d; this one knows up to %d)", v, pebble.FormatNewest)}
			}
		case strings.HasPrefix(name, "marker.manifest."):
			hasManifest = true
		}
	}
	if !hasFormat || !hasManifest {
		return watermark{}, damagef("%s lacks the files that say which of the others are current", dir)
	}
	return readWatermark(d, dir)
}

// setAside renames a state that cannot be used.
func setAside(d *disk, parent, dir string, why *unusable, now time.Time) (*Report, error) {
	kind := "damaged"
	if why.newer {
		kind = "newer"
	}
	path := fmt.Sprintf("%s-%s-%s", dir, kind, now.UTC().Format("20060102T150405Z"))
	for n := 2; ; n++ {
		if _, err := d.Stat(path); errors.Is(err, fs.ErrNotExist) {
			break
		}
		path = fmt.Sprintf("%s-%s-%s-%d", dir, kind, now.UTC().Format("20060102T150405Z"), n)
	}
	err := d.Rename(dir, path)
	if err == nil {
		err = d.syncDir(parent)
	}
	if err != nil {
		return nil, fmt.Errorf("%s, and setting it aside failed: %w; move %s away by hand", why.reason, err, dir)
	}
	return &Report{Reason: why.reason, Path: path}, nil
}

// isDamage tells damaged data from an environment that does not let us at it.
func isDamage(err error) bool {
	_, environment := Explain("", err)
	return !environment && !errors.Is(err, ErrStopped)
}

func readFile(d vfs.FS, name string) ([]byte, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}
