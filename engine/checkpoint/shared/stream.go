package shared

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/transport"
)

// messageLimit is how many bytes a message has at most, or fewer where the server's
// max_payload is smaller: what is on its way is bounded in messages too.
const messageLimit = 512 << 10

func (s *Store) bucketName() string { return s.opts.Name + "-replicas" }

// streamConfig is what the log needs. Nothing may leave it but by a purge, which takes
// only what a later message repeats: a limit refuses new messages instead of
// dropping old ones. Reads must see every acknowledged write, so no copy but the leader's
// answers (https://docs.nats.io/nats-concepts/jetstream/streams: AllowDirect).
func (s *Store) streamConfig(copies int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.opts.Name, Subjects: []string{s.opts.Name + ".>"},
		Description: "shared state: positions, keys and ledger",
		Storage:     jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		MaxMsgSize: messageLimit, Replicas: copies,
	}
}

// copies tries what a cluster should have, and what a single server can.
func (s *Store) copies(create func(copies int) error) error {
	err := create(3)
	if code(err) == codeNotClustered {
		return create(1)
	}
	return err
}

// askAgain asks until there is an answer. Replicas may start at the same moment, and of a stream that
// a cluster is still making for another one, a server says nothing, or that there is none.
func askAgain[T any](ctx context.Context, ask func(ctx context.Context) (T, error)) (answer T, err error) {
	for until := time.Now().Add(4 * askTimeout); ; {
		once, cancel := context.WithTimeout(ctx, askTimeout)
		answer, err = ask(once)
		cancel()
		made := !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, jetstream.ErrStreamNotFound) && !errors.Is(err, jetstream.ErrBucketNotFound)
		if made || !time.Now().Before(until) || transport.Sleep(ctx, askTimeout/20) != nil {
			return answer, err
		}
	}
}

// ensureStream makes the stream, or holds the one there is against what is needed.
func (s *Store) ensureStream(ctx context.Context) (*jetstream.StreamInfo, error) {
	const what = "opening the stream"
	stream, err := s.js.Stream(ctx, s.opts.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = s.copies(func(copies int) error {
			stream, err = s.js.CreateStream(ctx, s.streamConfig(copies))
			return err
		})
		if err == nil {
			s.made = true
			s.log.Info("shared state: made the stream", "stream", s.opts.Name, "copies", stream.CachedInfo().Config.Replicas, "servers", s.servers.String())
			return s.use(stream), nil
		}
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = s.js.Stream(ctx, s.opts.Name) // another replica was faster
		}
	}
	if err != nil {
		return nil, s.failed(what, err)
	}
	info := stream.CachedInfo()
	if wrong := s.unfit(&info.Config); wrong != nil {
		return nil, fmt.Errorf("shared state: the stream %q at %s is not set up as it must be: %s; correct it (nats stream edit), or write another name after the last / of STATE_URL", s.opts.Name, s.servers, strings.Join(wrong, ", "))
	}
	need := info.Config
	need.Discard, need.AllowDirect = jetstream.DiscardNew, false
	if need.MaxMsgSize <= 0 {
		need.MaxMsgSize = messageLimit
	}
	if need.Discard != info.Config.Discard || need.AllowDirect != info.Config.AllowDirect || need.MaxMsgSize != info.Config.MaxMsgSize {
		if stream, err = s.js.UpdateStream(ctx, need); err != nil {
			return nil, s.failed("correcting the stream", err)
		}
		s.log.Info("shared state: set the stream to refuse new messages at a limit, messages that are too large, and reads that may be stale", "stream", s.opts.Name)
	}
	return s.use(stream), nil
}

func (s *Store) use(stream jetstream.Stream) *jetstream.StreamInfo {
	info := stream.CachedInfo()
	s.stream, s.created = stream, info.Created
	return info
}

// unfit is what makes an existing stream lose state, and cannot be altered behind its
// owner's back.
func (s *Store) unfit(c *jetstream.StreamConfig) (wrong []string) {
	check := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	subject := s.opts.Name + ".>"
	check(slices.Equal(c.Subjects, []string{subject}), "its subjects are %q, must be %q", c.Subjects, subject)
	check(c.Retention == jetstream.LimitsPolicy, "its retention is %v, must be limits", c.Retention)
	check(c.Storage == jetstream.FileStorage, "its storage is %v, must be file", c.Storage)
	check(c.MaxAge == 0, "its max_age is %v, must be none", c.MaxAge)
	check(c.MaxMsgsPerSubject <= 0, "its max_msgs_per_subject is %d, must be none", c.MaxMsgsPerSubject)
	check(c.MaxMsgSize <= 0 || c.MaxMsgSize >= 64<<10 && c.MaxMsgSize <= messageLimit, "its max_msg_size is %d, must be none or %d", c.MaxMsgSize, messageLimit)
	check(!c.DenyPurge, "it denies purges, which keep it from growing")
	check(!c.Sealed, "it is sealed")
	check(!c.NoAck, "it acknowledges nothing")
	check(c.Mirror == nil && len(c.Sources) == 0, "it copies another stream")
	check(c.SubjectTransform == nil && c.RePublish == nil, "it transforms or publishes its messages")
	return wrong
}

// ensureBucket makes the bucket of the replicas' sessions. Their time to live is that of the
// replica that was opened last.
func (s *Store) ensureBucket(ctx context.Context) (jetstream.KeyValue, error) {
	const what = "opening the bucket of the replicas"
	name := s.bucketName()
	bucket, err := s.js.KeyValue(ctx, name)
	config := jetstream.KeyValueConfig{
		Bucket: name, Description: "the replicas that live", TTL: s.opts.SessionTTL, Storage: jetstream.FileStorage,
	}
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		err = s.copies(func(copies int) error {
			config.Replicas = copies
			bucket, err = s.js.CreateKeyValue(ctx, config)
			return err
		})
		if errors.Is(err, jetstream.ErrBucketExists) {
			bucket, err = s.js.KeyValue(ctx, name)
		}
	}
	if err != nil {
		return nil, s.failed(what, err)
	}
	status, err := bucket.Status(ctx)
	if err != nil {
		return nil, s.failed(what, err)
	}
	if status.TTL() != s.opts.SessionTTL {
		config = status.Config()
		s.log.Info("shared state: the sessions of the replicas get another time to live", "bucket", name, "was", status.TTL().String(), "is", s.opts.SessionTTL.String())
		config.TTL = s.opts.SessionTTL
		if bucket, err = s.js.UpdateKeyValue(ctx, config); err != nil {
			return nil, s.failed(what, err)
		}
	}
	return bucket, nil
}

// identify holds the stream against the view: it must be the one that the view is of, and have
// all that the view has. changed says what is wrong, "" if nothing is.
func (s *Store) identify(ctx context.Context) (changed string, err error) {
	// A new leader of a cluster may answer before it has taken in all that was
	// acknowledged, so one answer that falls short proves nothing.
	for attempt := 1; ; attempt++ {
		stream, err := s.js.Stream(ctx, s.opts.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return "the stream was deleted", nil
		}
		if err != nil {
			return "", err
		}
		info := stream.CachedInfo()
		s.mu.Lock()
		applied := s.applied
		s.mu.Unlock()
		switch {
		case !info.Created.Equal(s.created):
			return "another stream has taken its place", nil
		case info.State.LastSeq >= applied:
			return "", nil
		case attempt == 5:
			return fmt.Sprintf("the stream lost messages: it ends at %d, and %d was acknowledged", info.State.LastSeq, applied), nil
		}
		if err := transport.Sleep(ctx, time.Second); err != nil {
			return "", err
		}
	}
}

// check ends the use of the store if the stream is not the one that the view is of, or the
// bucket is gone: opening it makes it anew. It is asked wherever that could show; an error of
// asking shows nothing.
func (s *Store) check(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 4*askTimeout)
	defer cancel()
	changed, err := s.identify(ctx)
	if err != nil {
		return
	}
	if changed == "" {
		if _, gone := s.js.KeyValue(ctx, s.bucketName()); errors.Is(gone, jetstream.ErrBucketNotFound) {
			s.stop(fmt.Errorf("%w: the bucket %q of the replicas at %s was deleted; open the shared state again: it is then made anew", checkpoint.ErrStopped, s.bucketName(), s.servers))
		}
		return
	}
	s.stop(fmt.Errorf("%w: %s (stream %q at %s); open it again: the view is then built anew, and what the stream does not have is read again from the sources", checkpoint.ErrStopped, changed, s.opts.Name, s.servers))
}

// watch checks the stream once in a while.
func (s *Store) watch() {
	for transport.Sleep(s.ctx, 30*time.Second) == nil {
		s.check(s.ctx)
	}
}
