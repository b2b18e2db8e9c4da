package fleet

import (
	"context"
	"log/slog"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/secure60/s60-m365-connector/engine"
)

// This file says when to look into TENANTS_DIR. The system tells of changes in the folder, of links too: Kubernetes swaps one.
// It tells neither what other hosts write into a folder of a network, nor what changes behind a link.

const (
	lookAgain  = 2 * time.Second  // between two looks, however much is written
	lookMended = 10 * time.Second // where a file has problems: what it names may have been mended
	lookAnyway = time.Minute
)

// folderWatch has the system tell that something in a folder may have changed. A nil one does nothing.
type folderWatch struct {
	log     *slog.Logger
	told    chan struct{} // holds one
	watcher *fsnotify.Watcher
	err     error // why nothing is told
	failed  bool  // and that was said
}

func newFolderWatch(log *slog.Logger) *folderWatch {
	return &folderWatch{log: log, told: make(chan struct{}, 1)}
}

// renew watches the folder that has this name now, which may be another than before.
func (w *folderWatch) renew(path string) {
	if w == nil {
		return
	}
	if w.watcher == nil {
		if w.watcher, w.err = fsnotify.NewWatcher(); w.err != nil {
			return
		}
		go w.relay(w.watcher)
	}
	w.watcher.Remove(path) //nolint:errcheck // it may be gone
	w.err = w.watcher.Add(path)
}

func (w *folderWatch) relay(from *fsnotify.Watcher) {
	for open := true; open; {
		select {
		case _, open = <-from.Events:
		case _, open = <-from.Errors: // what was told got lost
		}
		select {
		case w.told <- struct{}{}:
		default:
		}
	}
}

// report says once that nothing is told.
func (w *folderWatch) report() {
	if w == nil {
		return
	}
	if w.err != nil && !w.failed {
		w.log.Warn("TENANTS_DIR cannot be watched: changes take effect a minute later", "error", w.err)
	}
	w.failed = w.err != nil
}

func (w *folderWatch) close() error {
	if w == nil || w.watcher == nil {
		return nil
	}
	return w.watcher.Close()
}

// wait waits until another look may find something else, and reports whether ctx still lives.
func (d *tenantsDir) wait(ctx context.Context) bool {
	if !engine.Sleep(ctx, lookAgain) {
		return false
	}
	var told chan struct{}
	if d.watch != nil {
		told = d.watch.told
	}
	anyway := time.NewTimer(d.within - lookAgain)
	defer anyway.Stop()
	select {
	case <-told:
	case <-anyway.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
