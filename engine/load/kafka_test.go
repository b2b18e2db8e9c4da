package load

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"
)

// There is no broker that could run in a test process: these tests use kfake,
// which speaks the protocol, keeps what it is sent, and fails as it is told to.
// What only a cluster of real brokers does is not tested.

const testTopic = "events"

// kafkaBroker is a broker whose state outlives a restart.
type kafkaBroker struct {
	t       testing.TB
	options []kfake.Opt
	port    int
	cluster *kfake.Cluster
}

// newKafka starts a broker with a topic of one partition.
func newKafka(t testing.TB, options ...kfake.Opt) *kafkaBroker {
	t.Helper()
	k := &kafkaBroker{t: t, options: append([]kfake.Opt{kfake.NumBrokers(1), kfake.Ports(natstest.FreePort(t)), kfake.DataDir(t.TempDir()), kfake.SeedTopics(1, testTopic)}, options...)}
	k.start()
	t.Cleanup(k.stop)
	return k
}

// start starts the broker.
func (k *kafkaBroker) start() {
	k.t.Helper()
	cluster, err := kfake.NewCluster(k.options...)
	if err != nil {
		k.t.Fatal(err)
	}
	k.cluster = cluster
	_, port, err := net.SplitHostPort(cluster.ListenAddrs()[0])
	if err != nil {
		k.t.Fatal(err)
	}
	if k.port, err = strconv.Atoi(port); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kafkaBroker) stop() { k.cluster.Close() }

func (k *kafkaBroker) address() Address {
	return Address{Kind: KindKafka, Hosts: []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(k.port))}, Name: testTopic}
}

// records are what the topic holds, in its order.
func (k *kafkaBroker) records(options ...kgo.Opt) []*kgo.Record {
	k.t.Helper()
	left := int64(0)
	for _, partition := range k.cluster.PartitionInfos(testTopic) {
		left += partition.HighWatermark
	}
	if left == 0 {
		return nil
	}
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(k.address().Hosts...), kgo.ConsumeTopics(testTopic))...)
	if err != nil {
		k.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), forever)
	defer cancel()
	var all []*kgo.Record
	for int64(len(all)) < left {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			k.t.Fatal(err)
		}
		all = append(all, fetches.Records()...)
	}
	return all
}

func (k *kafkaBroker) received() []string {
	var texts []string
	for _, r := range k.records() {
		texts = append(texts, string(r.Value))
	}
	return texts
}

// fail makes the broker answer writes with an error, count times or, if that is
// negative, until the fault is removed.
func (k *kafkaBroker) fail(with *kerr.Error, count int) *kfake.FaultHandle {
	return k.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: with, Count: count})
}

func kafkaSubject(t *testing.T) subject {
	k := newKafka(t)
	logs, logger := newLogs(t)
	open := func(timeout time.Duration) Destination {
		return mustOpen(t, Config{Kind: KindKafka, Address: k.address(), Retry: quick, Timeout: timeout, Logger: logger})
	}
	return subject{
		Destination: open(kafkaPatience),
		hasty:       func() Destination { return open(time.Second) },
		received:    k.received,
		trouble: func(on bool) {
			if on {
				k.stop()
			} else {
				k.start()
			}
		},
		logs:    logs,
		line:    `msg="Forwarded 3 events -> kafka (ack)"`,
		ordered: true,
	}
}

// open makes the destination of the broker.
func (k *kafkaBroker) open(config Config) Destination {
	k.t.Helper()
	config.Kind = KindKafka
	if config.Address.Hosts == nil {
		config.Address = k.address()
	}
	config.Retry = quick
	if config.Timeout == 0 {
		config.Timeout = 5 * time.Second
	}
	return mustOpen(k.t, config)
}

// All events of a partition of a feed go to one partition of the topic, in order.
func TestKafkaKeepsOrder(t *testing.T) {
	k := newKafka(t, kfake.SeedTopics(8, testTopic))
	d := k.open(Config{Source: "tenant"})
	var sent [][]byte
	for i := range 20 {
		batch := testBatch(i*100, 100)
		if _, err := d.Deliver(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, batch.Events...)
	}
	deliver(t, d, testEvents(5000, 1)) // a heartbeat
	var got []string
	partitions := map[int32]bool{}
	for _, r := range k.records() {
		switch key := string(r.Key); key {
		case "tenant/feed/part":
			partitions[r.Partition] = true
			got = append(got, string(r.Value))
		case "tenant":
		default:
			t.Errorf("a record has the key %q", key)
		}
	}
	if len(partitions) != 1 {
		t.Errorf("the feed's events are in %d partitions", len(partitions))
	}
	wantEvents(t, got, sent, true)
}

// What passes costs no event, no repeat and not the order: errors that the broker
// says will pass, an answer after which nobody knows whether it has written, a connection that
// breaks.
func TestKafkaFaultsThatPass(t *testing.T) {
	for _, with := range []*kerr.Error{kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut, kerr.NotLeaderForPartition, kerr.UnknownServerError} {
		t.Run(with.Message, func(t *testing.T) {
			k := newKafka(t)
			d := k.open(Config{})
			for i, count := range []int{0, 1, 12, 0} {
				if count > 0 {
					k.fail(with, count)
				}
				batch := testBatch(i*50, 50)
				if _, err := d.Deliver(t.Context(), batch); err != nil {
					t.Fatal(err)
				}
			}
			wantEvents(t, k.received(), testEvents(0, 200), true)
			if got := d.State(); !got.OK || got.Events != 200 {
				t.Errorf("state: %+v", got)
			}
		})
	}
	t.Run("connection", func(t *testing.T) {
		k := newKafka(t)
		d := k.open(Config{})
		deliver(t, d, testEvents(0, 10))
		for range 3 {
			k.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				return nil, errors.New("broken"), true
			})
		}
		deliver(t, d, testEvents(10, 10))
		wantEvents(t, k.received(), testEvents(0, 20), true)
	})
}

func TestKafkaLeaderMoves(t *testing.T) {
	k := newKafka(t, kfake.NumBrokers(3), kfake.Ports(natstest.FreePort(t), natstest.FreePort(t), natstest.FreePort(t)))
	d := k.open(Config{})
	for i := range 6 {
		if err := k.cluster.MoveTopicPartition(testTopic, 0, int32(i%3)); err != nil {
			t.Fatal(err)
		}
		deliver(t, d, testEvents(i*10, 10))
	}
	wantEvents(t, k.received(), testEvents(0, 60), true)
}

func TestKafkaRestartInMidBatch(t *testing.T) {
	k := newKafka(t)
	d := k.open(Config{})
	batch := testBatch(0, 40_000)
	under := startDelivery(t, d, batch)
	for range 3 {
		time.Sleep(20 * time.Millisecond)
		k.stop()
		k.start()
	}
	under.end()
	wantEvents(t, k.received(), batch.Events, true)
}

func TestKafkaWithoutATopic(t *testing.T) {
	k := newKafka(t)
	logs, logger := newLogs(t)
	if err := k.cluster.DeleteTopic(testTopic); err != nil {
		t.Fatal(err)
	}
	d := k.open(Config{Logger: logger})
	batch := testBatch(0, 100)
	under := startDelivery(t, d, batch)
	wantDenied(t, d, logs, "UNKNOWN_TOPIC_OR_PARTITION", "kafka-topics.sh --create --topic "+testTopic)
	if err := k.cluster.CreateTopic(testTopic, 1, nil); err != nil {
		t.Fatal(err)
	}
	under.end()
	wantEvents(t, k.received(), batch.Events, true)
}

// What is too large, or refused as a record, is refused for good, and alone.
func TestKafkaRefusesRecords(t *testing.T) {
	t.Run("too large", func(t *testing.T) {
		k := newKafka(t, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "3000"}))
		batch := testBatch(0, 1000)
		large := make([]byte, 5<<10)
		if _, err := rand.Read(large); err != nil { // what can be compressed may be taken
			t.Fatal(err)
		}
		batch.Events[20], batch.Events[999] = append([]byte(hex.EncodeToString(large)), batch.Events[20]...), large
		d := k.open(Config{})
		refused, err := d.Deliver(t.Context(), batch)
		if err != nil || len(refused) != 2 || refused[0].Index != 20 || refused[1].Index != 999 || !strings.Contains(refused[0].Reason, "MESSAGE_TOO_LARGE") {
			t.Fatalf("refused %v, %v", refused, err)
		}
		wantEvents(t, k.received(), append(testEvents(0, 20), testEvents(21, 978)...), true)
		if got := d.State(); got.Events != 998 || got.Refused != 2 || got.Retries != 0 || !got.OK {
			t.Errorf("state: %+v", got)
		}
	})
	t.Run("invalid", func(t *testing.T) {
		k := newKafka(t)
		k.fail(kerr.InvalidRecord, -1)
		refused := deliver(t, k.open(Config{}), testEvents(0, 5))
		if len(refused) != 5 || !strings.Contains(refused[4].Reason, "INVALID_RECORD") {
			t.Errorf("refused %v", refused)
		}
	})
}

// A broker that does not answer costs time. The batch can be given up, and does
// not stand in the way of what follows.
func TestKafkaWithoutAnswers(t *testing.T) {
	k := newKafka(t)
	var silent atomic.Bool
	silent.Store(true)
	k.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		if !silent.Load() {
			k.cluster.DropControl()
			return nil, nil, false
		}
		k.cluster.KeepControl()
		return nil, nil, true
	})
	logs, logger := newLogs(t)
	d := k.open(Config{Logger: logger, Timeout: 50 * time.Millisecond})
	under := startDelivery(t, d, testBatch(0, 100))
	eventually(t, "attempts without an answer", func() bool { return d.State().Retries > failuresUntilDown })
	if logs.count("level=WARN", "no acknowledgement came") != 1 {
		t.Errorf("log:\n%s", logs)
	}
	under.giveUp()
	if got := d.State(); got.Events != 0 || got.InFlight != 0 || got.OK {
		t.Errorf("state: %+v", got)
	}
	under = startDelivery(t, k.open(Config{}), testBatch(100, 100))
	time.Sleep(50 * time.Millisecond)
	under.giveUp() // in its first attempt
	silent.Store(false)
	batch := testBatch(200, 100)
	if _, err := d.Deliver(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, k.received(), batch.Events, true)
}

func TestKafkaAccess(t *testing.T) {
	topic := func(operation kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: testTopic, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: operation, Allow: true}
	}
	writer := []kfake.ACL{topic(kmsg.ACLOperationDescribe), topic(kmsg.ACLOperationWrite)}
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("plain:"+testToken), 0o600); err != nil {
		t.Fatal(err)
	}
	k := newKafka(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("SCRAM-SHA-256", "admin", testToken),
		kfake.User("PLAIN", "plain", testToken, writer...), kfake.User("SCRAM-SHA-256", "scram256", testToken, writer...),
		kfake.User("SCRAM-SHA-512", "scram512", testToken, writer...), kfake.User("SCRAM-SHA-512", "reader", testToken, topic(kmsg.ACLOperationDescribe)),
		kfake.User("SCRAM-SHA-512", "stranger", testToken))
	for _, test := range []struct {
		name, user, password, file, mechanism string
		cause, advice                         string // empty: it works
	}{
		{name: "PLAIN", user: "plain", password: testToken, mechanism: "PLAIN"},
		{name: "SCRAM-SHA-256", user: "scram256", password: testToken, mechanism: "SCRAM-SHA-256"},
		{name: "SCRAM-SHA-512", user: "scram512", password: testToken},
		{name: "file", file: file, mechanism: "PLAIN"},
		{name: "wrong password", user: "scram512", password: testToken + "x", cause: "SASL_AUTHENTICATION_FAILED", advice: "OUTPUT_CREDENTIALS_FILE"},
		{name: "no file", file: file + ".gone", cause: "no such file", advice: "OUTPUT_CREDENTIALS_FILE"},
		{name: "no permission to write", user: "reader", password: testToken, cause: "AUTHORIZATION_FAILED", advice: "Write topic " + testTopic},
		{name: "no permission at all", user: "stranger", password: testToken, cause: "AUTHORIZATION_FAILED", advice: "Write topic " + testTopic},
	} {
		t.Run(test.name, func(t *testing.T) {
			logs, logger := newLogs(t)
			address := k.address()
			address.User, address.Password, address.Mechanism = test.user, test.password, test.mechanism
			if test.name == "wrong password" {
				// A broker says so. kfake closes the connection.
				k.cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(request kmsg.Request) (kmsg.Response, error, bool) {
					k.cluster.KeepControl()
					response := request.ResponseKind().(*kmsg.SASLAuthenticateResponse)
					response.ErrorCode = kerr.SaslAuthenticationFailed.Code
					return response, nil, t.Context().Err() == nil
				})
			}
			d := k.open(Config{Address: address, CredentialsFile: test.file, Logger: logger})
			under := startDelivery(t, d, testBatch(0, 10))
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
