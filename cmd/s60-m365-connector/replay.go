package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/load"
)

type replayCommand struct {
	tenantFlag
	File string `arg:"" optional:"" help:"A file of STATE_DIR/deadletter (of several tenants: STATE_DIR/tenants/NAME/deadletter); all of them, oldest first, if not given."`
}

// replayBatch is how many dead letters are sent before progress is reported.
const replayBatch = 100

// Run sends dead letters again. A file whose events were all taken up is
// removed; events that are refused again stay as new dead letters.
func (r replayCommand) Run(ctx context.Context, std streams) error {
	s, env, err := settings.Load(false)
	if err != nil {
		return err
	}
	if s, err = r.settings(s, env, nil); err != nil {
		return err
	}
	// A connector may run meanwhile: it writes to files of its own.
	log := fleet.NewLogger(s, std.err)
	dead, err := load.OpenDeadLetters(s.DeadLetters(), load.DeadLetterLimits{})
	if err != nil {
		return err
	}
	dest, err := fleet.OpenDestination(s, terminalJSON(std.out), nil, log)
	if err != nil {
		return err
	}
	defer dest.Close()
	files, err := r.files(s, dead)
	if err != nil {
		return err
	}
	sent, refused := 0, 0
	for _, file := range files {
		n, again, err := r.file(ctx, dest, dead, file)
		sent, refused = sent+n, refused+again
		if err != nil {
			return fmt.Errorf("replay %s: %w", file, err)
		}
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("replay %s: it was sent, and cannot be removed, so that it would be sent again: %w", file, err)
		}
	}
	fmt.Fprintf(std.out, "%d dead letters sent, %d refused again and kept\n", sent, refused)
	return nil
}

// replaying is added to the name of a file while it is replayed: events that
// are refused again then go to a file of their own.
const replaying = ".replaying"

// files are what to replay, under their names of the replay. One that an
// earlier replay did not finish comes first.
func (r replayCommand) files(s *settings.Settings, dead *load.DeadLetters) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(s.DeadLetters(), "*"+replaying))
	if err != nil {
		return nil, err
	}
	fresh := dead.Files()
	if r.File != "" {
		files, fresh = nil, []string{r.File}
	}
	for _, file := range fresh {
		name := strings.TrimSuffix(file, replaying) + replaying
		if err := os.Rename(file, name); err != nil {
			return nil, err
		}
		files = append(files, name)
	}
	return files, nil
}

func (r replayCommand) file(ctx context.Context, dest load.Destination, dead *load.DeadLetters, file string) (sent, again int, err error) {
	var batch []load.DeadLetter
	flush := func() error {
		events := make([][]byte, len(batch))
		for i, letter := range batch {
			events[i] = letter.Event
		}
		refused, err := dest.Deliver(ctx, load.Batch{Events: events})
		if err != nil {
			return err
		}
		for _, f := range refused {
			if err := dead.Append(batch[f.Index].Feed, events[f.Index], f); err != nil {
				return err
			}
		}
		sent, again = sent+len(batch)-len(refused), again+len(refused)
		batch = batch[:0]
		return nil
	}
	for letter, err := range load.ReadDeadLetters(file) {
		if err != nil {
			return sent, again, err
		}
		if batch = append(batch, letter); len(batch) == replayBatch {
			if err := flush(); err != nil {
				return sent, again, err
			}
		}
	}
	if len(batch) > 0 {
		if err := flush(); err != nil {
			return sent, again, err
		}
	}
	// A file that was begun when the disk was full is empty, and goes.
	if sent+again == 0 && r.File != "" {
		return 0, 0, errors.New("the file holds no dead letters")
	}
	return sent, again, nil
}
