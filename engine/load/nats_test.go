package load

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"
)

const (
	testSubject = "events.audit"
	testStream  = "EVENTS"
)

// natsServer is a real server in this process, whose state outlives a restart.
type natsServer struct {
	*natstest.Server
	t testing.TB
}

// newNATS starts a server. change, if not nil, changes its options first.
func newNATS(t testing.TB, change func(*natsd.Options)) *natsServer {
	t.Helper()
	return &natsServer{natstest.Start(t, change), t}
}

func (n *natsServer) again() {
	n.Start()
	n.Ready()
}

func (n *natsServer) address() Address {
	return Address{Kind: KindNATS, Hosts: []string{n.Address()}, Name: testSubject}
}

// admin gives a client of the test's own.
func (n *natsServer) admin(options ...nats.Option) jetstream.JetStream {
	n.t.Helper()
	conn, err := nats.Connect(natstest.URL(n.Server), append(options, nats.Timeout(forever))...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		n.t.Fatal(err)
	}
	return js
}

// create makes the stream of testSubject.
func (n *natsServer) create(config jetstream.StreamConfig) jetstream.Stream {
	n.t.Helper()
	config.Name, config.Subjects = testStream, []string{"events.>"}
	stream, err := n.admin().CreateStream(context.Background(), config)
	if err != nil {
		n.t.Fatal(err)
	}
	return stream
}

// messages are what the stream holds, in its order.
func (n *natsServer) messages() (all []jetstream.Msg) {
	n.t.Helper()
	ctx := context.Background()
	stream, err := n.admin().Stream(ctx, testStream)
	if err != nil {
		n.t.Fatal(err)
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		n.t.Fatal(err)
	}
	for left := stream.CachedInfo().State.Msgs; uint64(len(all)) < left; {
		batch, err := consumer.FetchNoWait(1000)
		if err != nil {
			n.t.Fatal(err)
		}
		for m := range batch.Messages() {
			all = append(all, m)
		}
		if batch.Error() != nil {
			n.t.Fatal(batch.Error())
		}
	}
	return all
}

func (n *natsServer) received() []string {
	var texts []string
	for _, m := range n.messages() {
		texts = append(texts, string(m.Data()))
	}
	return texts
}

func natsSubject(t *testing.T) subject {
	n := newNATS(t, nil)
	n.create(jetstream.StreamConfig{})
	logs, logger := newLogs(t)
	return subject{
		Destination: mustOpen(t, Config{Kind: KindNATS, Address: n.address(), Retry: quick, Logger: logger}),
		received:    n.received,
		trouble: func(on bool) {
			if on {
				n.Stop()
			} else {
				n.again()
			}
		},
		logs:    logs,
		line:    `msg="Forwarded 3 events -> nats (ack)"`,
		ordered: true,
	}
}

// open makes the destination of the server.
func (n *natsServer) open(config Config) Destination {
	n.t.Helper()
	config.Kind = KindNATS
	if config.Address.Hosts == nil {
		config.Address = n.address()
	}
	config.Retry = quick
	return mustOpen(n.t, config)
}

// The same record is stored once, whoever sends it how often; records of other
// sources with the same id, and events without one, are stored as they come.
func TestNATSStoresARecordOnce(t *testing.T) {
	n := newNATS(t, nil)
	n.create(jetstream.StreamConfig{})
	one, other := n.open(Config{Source: "one"}), n.open(Config{Source: "other"})
	batch := testBatch(0, 10)
	for _, d := range []Destination{one, one, n.open(Config{Source: "one"}), other} {
		if refused, err := d.Deliver(t.Context(), batch); err != nil || len(refused) > 0 {
			t.Fatal(refused, err)
		}
	}
	if got := one.State().Events; got != 20 {
		t.Errorf("%d events count as accepted, want those known already, too: 20", got)
	}
	heartbeat := testEvents(10, 1)
	deliver(t, one, heartbeat)
	deliver(t, one, heartbeat)
	messages := n.messages()
	if len(messages) != 22 {
		t.Fatalf("%d messages, want 10 of each source and 2 heartbeats", len(messages))
	}
	for i, id := range map[int]string{0: "one/00000000000000000000000000000000", 9: "one/00000000000000000000000000000009", 19: "other/00000000000000000000000000000009", 21: ""} {
		if got := messages[i].Headers().Get(nats.MsgIdHdr); got != id {
			t.Errorf("message %d has the id %q, want %q", i, got, id)
		}
	}
}

// A server that goes away in the middle of a batch costs no event, no repeat and
// not the order.
func TestNATSRestartInMidBatch(t *testing.T) {
	n := newNATS(t, nil)
	n.create(jetstream.StreamConfig{})
	d := n.open(Config{})
	batch := testBatch(0, 20_000)
	under := startDelivery(t, d, batch)
	for range 3 {
		before := d.State().Events
		eventually(t, "some events", func() bool { return d.State().Events > before+1000 })
		n.Stop()
		n.again()
	}
	under.end()
	wantEvents(t, n.received(), batch.Events, true)
	if got := d.State(); got.Events != 20_000 || got.Retries == 0 || !got.OK {
		t.Errorf("state: %+v", got)
	}
}

func TestNATSWithoutAStream(t *testing.T) {
	n := newNATS(t, nil)
	logs, logger := newLogs(t)
	d := n.open(Config{Logger: logger})
	batch := testBatch(0, 1000)
	under := startDelivery(t, d, batch)
	wantDenied(t, d, logs, "no stream holds the subject "+testSubject, "nats stream add EVENTS --subjects "+testSubject)
	n.create(jetstream.StreamConfig{})
	under.end()
	wantEvents(t, n.received(), batch.Events, false) // some were on their way when the stream was there
}

// A stream that is full takes events again when there is room.
func TestNATSFullStream(t *testing.T) {
	n := newNATS(t, nil)
	stream := n.create(jetstream.StreamConfig{MaxMsgs: 500, Discard: jetstream.DiscardNew})
	logs, logger := newLogs(t)
	d := n.open(Config{Logger: logger})
	under := startDelivery(t, d, testBatch(0, 700))
	eventually(t, "a full stream", func() bool { return d.State().Retries > failuresUntilDown })
	if logs.count("level=WARN", "maximum messages exceeded") != 1 {
		t.Errorf("log:\n%s", logs)
	}
	wantEvents(t, n.received(), testEvents(0, 500), true)
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	under.end()
	wantEvents(t, n.received(), testEvents(500, 200), false) // some were on their way when there was room again
}

// What is too large is refused for good, whoever says so, and alone.
func TestNATSTooLarge(t *testing.T) {
	n := newNATS(t, func(o *natsd.Options) { o.MaxPayload = 8 << 10 })
	n.create(jetstream.StreamConfig{MaxMsgSize: 4 << 10})
	batch := testBatch(0, 100)
	batch.Events[20] = append(make([]byte, 5<<10), batch.Events[20]...)
	batch.Events[99] = append(make([]byte, 9<<10), batch.Events[99]...)
	d := n.open(Config{})
	refused, err := d.Deliver(t.Context(), batch)
	if err != nil || len(refused) != 2 || refused[0].Index != 20 || refused[1].Index != 99 ||
		!strings.Contains(refused[0].Reason, "max_msg_size") || !strings.Contains(refused[1].Reason, "8192 at most (max_payload)") {
		t.Fatalf("refused %v, %v", refused, err)
	}
	wantEvents(t, n.received(), append(testEvents(0, 20), testEvents(21, 78)...), true)
	if got := d.State(); got.Events != 98 || got.Refused != 2 || got.Retries != 0 || !got.OK {
		t.Errorf("state: %+v", got)
	}
}

// A stream that does not acknowledge is one that may not have stored.
func TestNATSWithoutAcknowledgements(t *testing.T) {
	n := newNATS(t, nil)
	n.create(jetstream.StreamConfig{NoAck: true})
	logs, logger := newLogs(t)
	d := n.open(Config{Logger: logger, Timeout: 50 * time.Millisecond})
	under := startDelivery(t, d, testBatch(0, 1000))
	eventually(t, "attempts without an acknowledgement", func() bool { return d.State().Retries > failuresUntilDown })
	if logs.count("level=WARN", "no acknowledgement came within 50ms") != 1 {
		t.Errorf("log:\n%s", logs)
	}
	under.giveUp()
	if got := d.State(); got.Events != 0 || got.InFlight != 0 || got.OK {
		t.Errorf("state: %+v", got)
	}
}

// A batch given up in its middle does not stand in the way of what follows.
func TestNATSGivenUpInMidBatch(t *testing.T) {
	n := newNATS(t, nil)
	n.create(jetstream.StreamConfig{})
	d := n.open(Config{})
	batch := testBatch(0, 20_000)
	under := startDelivery(t, d, batch)
	eventually(t, "some events", func() bool { return d.State().Events > 500 })
	under.giveUp()
	if _, err := d.Deliver(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, n.received(), batch.Events, true)
}

func TestNATSAccess(t *testing.T) {
	user := func(name string, subjects ...string) *natsd.User {
		return &natsd.User{Username: name, Password: testToken, Permissions: &natsd.Permissions{
			Publish:   &natsd.SubjectPermission{Allow: append(subjects, "$JS.API.STREAM.NAMES")},
			Subscribe: &natsd.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}}
	}
	n := newNATS(t, func(o *natsd.Options) {
		o.Users = []*natsd.User{user("writer", "events.>"), user("reader"), {Username: "admin", Password: testToken}}
	})
	if _, err := n.admin(nats.UserInfo("admin", testToken)).CreateStream(t.Context(), jetstream.StreamConfig{Name: testStream, Subjects: []string{"events.>"}}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("writer:"+testToken), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, user, password, file string
		cause, advice              string // empty: it works
	}{
		{name: "user", user: "writer", password: testToken},
		{name: "file", file: file},
		{name: "no user", cause: "refuses access", advice: "OUTPUT_CREDENTIALS_FILE"},
		{name: "wrong password", user: "writer", password: testToken + "x", cause: "refuses access", advice: "OUTPUT_CREDENTIALS_FILE"},
		{name: "no file", file: file + ".gone", cause: "no such file", advice: "OUTPUT_CREDENTIALS_FILE"},
		{name: "no permission", user: "reader", password: testToken, cause: "permissions violation", advice: "Let the user publish to " + testSubject},
	} {
		t.Run(test.name, func(t *testing.T) {
			logs, logger := newLogs(t)
			address := n.address()
			address.User, address.Password = test.user, test.password
			d := n.open(Config{Address: address, CredentialsFile: test.file, Logger: logger})
			under := startDelivery(t, d, testBatch(0, 300))
			if test.cause == "" {
				under.end()
				return
			}
			wantDenied(t, d, logs, test.cause, test.advice)
			under.giveUp()
			if text := fmt.Sprintf("%+v", d.State()); strings.Contains(text, testToken) {
				t.Errorf("the state holds the password: %s", text)
			}
		})
	}
}

// Credentials as an operator gives them: a token that is signed, and the key for it.
func TestNATSCredentialsOfAnOperator(t *testing.T) {
	key := func(create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		pair, err := create()
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return pair, public
	}
	operator, operatorKey := key(nkeys.CreateOperator)
	account, accountKey := key(nkeys.CreateAccount)
	system, systemKey := key(nkeys.CreateAccount)
	_ = system
	user, userKey := key(nkeys.CreateUser)
	resolver := &natsd.MemAccResolver{}
	for _, public := range []string{accountKey, systemKey} {
		claims := jwt.NewAccountClaims(public)
		if public == accountKey {
			claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
		}
		signed, err := claims.Encode(operator)
		if err != nil {
			t.Fatal(err)
		}
		if err := resolver.Store(public, signed); err != nil {
			t.Fatal(err)
		}
	}
	signed, err := jwt.NewUserClaims(userKey).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	content, err := jwt.FormatUserConfig(signed, seed)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "audit.creds")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	trusted := jwt.NewOperatorClaims(operatorKey)
	n := newNATS(t, func(o *natsd.Options) {
		o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{trusted}, resolver, systemKey
	})
	admin := n.admin(nats.UserCredentials(file))
	if _, err := admin.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStream, Subjects: []string{"events.>"}}); err != nil {
		t.Fatal(err)
	}
	batch := testBatch(0, 3)
	startDelivery(t, n.open(Config{CredentialsFile: file}), batch).end()
	stream, err := admin.Stream(t.Context(), testStream)
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 3 {
		t.Errorf("%d messages, want 3", got)
	}
}

func TestNATSWithoutJetStream(t *testing.T) {
	n := newNATS(t, func(o *natsd.Options) { o.JetStream = false })
	logs, logger := newLogs(t)
	d := n.open(Config{Logger: logger})
	under := startDelivery(t, d, testBatch(0, 3))
	wantDenied(t, d, logs, "has no JetStream", "Enable it")
	under.giveUp()
}
