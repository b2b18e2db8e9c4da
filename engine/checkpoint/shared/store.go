// Package shared is the store of several replicas. It promises what every store promises, and that
// a partition has one writer at a time: from the instant of another replica's claim nothing of the
// former owner gets in, however long that one was paused and whatever it believes.
//
// How it works: the state is a log in NATS JetStream, and on each machine a view of it, an embedded
// store. Each change is a message; the messages of one partition have one subject. A replica must
// [Store.Claim] a partition before it commits to it. Every message names the one that its writer
// knows as the last of the subject, and the server refuses it where that is no longer so
// ("Nats-Expected-Last-Subject-Sequence", https://docs.nats.io/nats-concepts/jetstream/headers); a
// claim is a message of the same subject. Every replica follows the whole log and applies it to its
// view, which answers all reads: memory does not grow with what is stored, and whoever takes a
// partition over knows its keys already. A view that is missing, damaged, or of another log is built
// anew; see [Open] for a log that is missing.
//
// In STATE_DIR it has view/state/, the view.
package shared

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// Options of a store that several replicas share.
type Options struct {
	// URL of the NATS servers: nats://[user:password@]host[:port][,[nats://]host…][/NAME], or
	// tls://. What NAME it has, [StreamOf] says.
	URL string
	// Credentials is the path of a .creds file. Empty: none.
	Credentials string
	// Name of the stream, and the beginning of the bucket's: letters, digits, - and _.
	Name    string
	Dir     string // where the view is kept, in a folder of its own
	Replica string // what this one is called in logs and by the servers
	// SessionTTL is how long an entry of Sessions lives after it was last put.
	// 0: 15 seconds.
	SessionTTL time.Duration
	// Logger gets what happens to the connection and to the view at INFO and WARN,
	// and what the view's engine says of its work at DEBUG. nil: nowhere.
	Logger *slog.Logger
}

// Store is a [checkpoint.Store] that several replicas share. Its methods may be called from several
// goroutines.
//
// Commit is as durable as the server's acknowledgement. A server writes a message
// to its disk's cache before it acknowledges and syncs every two minutes
// (https://docs.nats.io/running-a-nats-service/configuration: sync_interval); a power
// cut of a single server loses what is younger, unless it is set to "always". In a
// cluster a majority of the copies has each acknowledged message.
//
// A commit that is larger than a message goes in several. Keys may be written without the rest where
// it is interrupted, as they are of records that were delivered; all else is written whole.
type Store struct {
	checkpoint.Store // the view, which answers what is read

	opts     Options
	servers  servers
	log      *slog.Logger
	nc       *nats.Conn
	js       jetstream.JetStream
	stream   jetstream.Stream
	bucket   jetstream.KeyValue
	created  time.Time // the stream's identity
	writer   string    // in the ids of its messages: this store, and not the one that the same replica had open before
	view     *checkpoint.Embedded
	rebuild  bool   // see Rebuild
	restored string // see Restored
	made     bool   // the stream, by this store

	ctx    context.Context // ends with Close, or when the store can no longer be used
	cancel context.CancelFunc
	keys   atomic.Int64   // applied since it was opened
	work   sync.WaitGroup // the goroutines that follow and watch
	calls  sync.WaitGroup // the calls in progress; begun with mu held

	mu        sync.Mutex
	closed    bool
	cause     error              // why it can no longer be used
	subjects  map[string]subject // by name, as the view knows them
	held      map[partitionName]*holding
	applied   uint64        // the last message in the view
	caughtUp  bool          // the view has reached the end of the log
	moved     chan struct{} // closed when one of these changes
	changed   chan struct{} // closed when an owner changes
	claims    uint64        // made by this store so far
	forgotten uint64        // times that all of them were dropped
	restart   func()        // reads the log anew
	asked     time.Time     // when every replica that lives was seen to read what this one writes
}

var _ checkpoint.Store = (*Store)(nil)

// ErrHeld says that somebody else wrote to the partition meanwhile, so it was not
// claimed. The view will show who owns it.
var ErrHeld = errors.New("the partition is held by another replica")

// partitionName is a feed and a partition of it.
type partitionName [2]string

func (n partitionName) String() string { return n[0] + " " + n[1] }

// viewDir is the view's folder within Dir.
const viewDir = "view"

// Open connects to the servers, makes the stream and the bucket where there are none, opens
// the view, and returns once it shows all that was in the log when it was opened.
// A new view of a long log takes a while, which the log tells of. Servers that cannot be
// reached are an error; once open, the store connects again for ever. ctx ends
// the opening only.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SessionTTL <= 0 {
		o.SessionTTL = 15 * time.Second
	}
	at, err := parseServers(o.URL)
	if err != nil {
		return nil, err
	}
	if !validName(o.Name) {
		return nil, fmt.Errorf("%q cannot be the name of the shared state: write letters, digits, - and _ after the last / of STATE_URL", o.Name)
	}
	s := &Store{
		opts: o, servers: at, log: o.Logger, writer: rand.Text()[:16],
		subjects: make(map[string]subject), held: make(map[partitionName]*holding),
		restart: func() {}, moved: make(chan struct{}), changed: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	if err := s.connect(); err != nil {
		return err
	}
	info, err := askAgain(ctx, s.ensureStream)
	if err != nil {
		return err
	}
	if s.bucket, err = askAgain(ctx, s.ensureBucket); err != nil {
		return err
	}
	if err := s.openView(ctx, filepath.Join(s.opts.Dir, viewDir)); err != nil {
		return err
	}
	s.work.Go(s.follow)
	s.work.Go(s.watch)
	if err := s.catchUp(ctx, info.State.LastSeq); err != nil {
		return err
	}
	return s.takeOver(ctx, filepath.Join(s.opts.Dir, formerDir))
}

// begin begins a call; the function it returns ends it.
func (s *Store) begin() (end func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, checkpoint.ErrClosed
	}
	if s.cause != nil {
		return nil, s.cause
	}
	s.calls.Add(1)
	return s.calls.Done, nil
}

// stop ends the use of the store: calls in progress and later ones return the
// reason.
func (s *Store) stop(cause error) {
	s.mu.Lock()
	if s.cause == nil && !s.closed {
		s.cause = cause
	}
	s.mu.Unlock()
	s.cancel()
}

// over is why a call was ended by the store itself; nil if it was not.
func (s *Store) over() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return checkpoint.ErrClosed
	}
	return s.cause
}

// Close implements [checkpoint.Store]. It releases no partition.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return checkpoint.ErrClosed
	}
	s.closed = true
	s.mu.Unlock()
	return s.end()
}

func (s *Store) end() error {
	s.cancel()
	s.calls.Wait()
	s.work.Wait()
	if s.nc != nil {
		s.nc.Close()
	}
	if s.view == nil {
		return nil
	}
	return s.view.Close()
}

// Sessions is the bucket in which the replicas say that they live. What is put there
// is gone SessionTTL later unless it is put again.
func (s *Store) Sessions() jetstream.KeyValue { return s.bucket }
