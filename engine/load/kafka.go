package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

const (
	// kafkaPatience is how long an attempt lasts at most. The client repeats a
	// request whose answer was lost for so long without writing anything twice;
	// the next attempt is a new producer, of which the broker cannot know.
	kafkaPatience = 30 * time.Second
	// kafkaRetries are made by the client itself, before a failure is one of the
	// destination: enough to find the new leader of a partition.
	kafkaRetries = 2
	// kafkaBatchBytes is more than a broker takes (message.max.bytes): what is too
	// large is for the broker to say.
	kafkaBatchBytes = 64 << 20
)

// kafka writes each event as a record of a topic. The record's key is the
// batch's, so that what belongs together stays in order.
type kafka struct {
	config Config
	client *kgo.Client // nil: to be made
	// lost is why the last connection could not be made, for the client tells it
	// late or never.
	lost atomic.Pointer[failure]
}

// openKafka makes the destination that writes to Kafka.
func openKafka(config Config) (Destination, error) {
	k := &kafka{config: config}
	var err error
	if k.client, err = k.newClient(); err != nil {
		return nil, err
	}
	s := newStream(config)
	s.ack, s.send = " (ack)", k.send
	s.close = func() error {
		if k.client != nil {
			k.client.Close()
		}
		return nil
	}
	return s, nil
}

// newClient makes a client, which connects when it has something to send.
func (k *kafka) newClient() (*kgo.Client, error) {
	retry := k.config.Retry
	product, _, _ := strings.Cut(k.config.UserAgent, "/")
	options := []kgo.Opt{
		kgo.SeedBrokers(k.config.Address.Hosts...),
		kgo.ClientID(product),
		kgo.DisableClientMetrics(),
		kgo.WithHooks(k),
		// Idempotent, and acknowledged by all replicas in sync: the client's defaults.
		kgo.RecordRetries(kafkaRetries),
		kgo.RequestRetries(kafkaRetries),
		kgo.RetryBackoffFn(func(int) time.Duration { return retry.Initial / 2 }),
		kgo.MetadataMinAge(max(retry.Initial, 10*time.Millisecond)),
		kgo.ProducerBatchMaxBytes(kafkaBatchBytes),
		// What is flushed together is one batch of the broker's, which takes or
		// refuses it as a whole: nothing overtakes what was refused.
		kgo.ManualFlushing(), kgo.MaxBufferedRecords(math.MaxInt32),
	}
	if k.config.Address.TLS {
		options = append(options, kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	if k.config.CredentialsFile != "" || k.config.Address.User != "" {
		for _, name := range mechanisms { // of several, the first that the broker offers
			if only := k.config.Address.Mechanism; only == "" || only == name {
				options = append(options, kgo.SASL(k.mechanism(name)))
			}
		}
	}
	return kgo.NewClient(options...)
}

// mechanism is the one of a name in mechanisms.
func (k *kafka) mechanism(name string) sasl.Mechanism {
	if name == "PLAIN" {
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			known, err := k.config.credentials()
			return plain.Auth{User: known.user, Pass: known.password}, err
		})
	}
	auth := func(context.Context) (scram.Auth, error) {
		known, err := k.config.credentials()
		return scram.Auth{User: known.user, Pass: known.password}, err
	}
	if name == "SCRAM-SHA-256" {
		return scram.Sha256(auth)
	}
	return scram.Sha512(auth)
}

// OnBrokerConnect implements [kgo.HookBrokerConnect].
func (k *kafka) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err == nil {
		k.lost.Store(nil)
		return
	}
	f := describe(err)
	k.lost.Store(&f)
}

func (k *kafka) send(ctx context.Context, d *shipment, settle func(int, string)) failure {
	if k.client == nil {
		client, err := k.newClient()
		if err != nil {
			return failure{class: transient, cause: transport.OneLine(err.Error(), 0)}
		}
		k.client = client
	}
	attempt, cancel := context.WithTimeout(ctx, min(kafkaPatience, k.config.Timeout))
	defer cancel()
	failed, whole := k.produce(attempt, d.Batch, d.left, settle)
	if !whole {
		// Nobody knows what became of the records that are not answered: they must
		// not be written by this client while the next attempt sends them, too.
		k.client.Close()
		k.client = nil
	}
	return failed
}

// produced is what became of a record.
type produced struct {
	event int
	err   error
}

// produce writes events, and reports whether the broker, or the client, has
// said what became of each. Brokers refuse a request as a whole: when a record
// is too large, or not to the broker's liking, the halves are tried until it is
// found.
func (k *kafka) produce(ctx context.Context, batch Batch, events []int, settle func(int, string)) (failed failure, whole bool) {
	key := []byte(strings.Trim(k.config.Source+"/"+batch.Key, "/"))
	// The client may read values after it was given up.
	size := 0
	for _, event := range events {
		size += len(batch.Events[event])
	}
	values := make([]byte, 0, size)
	answers := make(chan produced, len(events))
	for _, event := range events {
		from := len(values)
		values = append(values, batch.Events[event]...)
		record := &kgo.Record{Topic: k.config.Address.Name, Key: key, Value: values[from:len(values):len(values)]}
		k.client.Produce(ctx, record, func(_ *kgo.Record, err error) { answers <- produced{event, err} })
	}
	var refused []int
	var reason string
	take := func(a produced) {
		switch {
		case a.err == nil:
			settle(a.event, "")
		case errors.Is(a.err, kerr.MessageTooLarge), errors.Is(a.err, kerr.RecordListTooLarge), errors.Is(a.err, kerr.InvalidRecord):
			refused = append(refused, a.event)
			reason = transport.OneLine(a.err.Error(), 0)
		case failed.class != denied:
			failed = k.judge(a.err)
		}
	}
	// Nothing is sent yet. Records that fail all the same must not be overtaken
	// by those that were added after them.
	early := len(answers)
	for range early {
		take(<-answers)
	}
	if failed.class != accepted {
		return failed, false
	}
	k.client.Flush(ctx) // if it gives up, answers are missing
	for range len(events) - early {
		select {
		case a := <-answers:
			take(a)
		default:
			return k.judge(context.DeadlineExceeded), false
		}
	}
	if len(refused) == 1 && len(events) == 1 {
		settle(refused[0], reason)
		return failed, true
	}
	middle := len(refused) / 2
	for _, half := range [][]int{refused[:middle], refused[middle:]} {
		if failed.class != accepted || len(half) == 0 {
			continue
		}
		if failed, whole = k.produce(ctx, batch, half, settle); !whole {
			return failed, false
		}
	}
	return failed, true
}

// judge says what it means that a record was not written.
func (k *kafka) judge(err error) failure {
	topic := k.config.Address.Name
	f := describe(err)
	if said, is := errors.AsType[*kerr.Error](err); is {
		f.cause = fmt.Sprintf("topic %s: %s", topic, strings.TrimSuffix(said.Error(), "."))
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, kgo.ErrRecordRetries), errors.Is(err, kgo.ErrRecordTimeout):
		f.cause = "no acknowledgement came in time"
		if lost := k.lost.Load(); lost != nil {
			f.cause, f.advice = f.cause+": "+lost.cause, lost.advice
		}
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.InvalidTopicException):
		f.class = denied
		f.advice = fmt.Sprintf("Create the topic: kafka-topics.sh --create --topic %s", topic)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		f.class = denied
		f.advice = fmt.Sprintf("Let the user Describe and Write topic %s, and, if the brokers are older than 3.0, do IdempotentWrite on the cluster", topic)
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.UnsupportedSaslMechanism), errors.Is(err, kerr.IllegalSaslState), errors.Is(err, errCredentials):
		f.class = denied
		f.advice = credentialsAdvice
	case errors.Is(err, io.EOF):
		f.cause = "the broker closes the connection, as it does when it wants TLS (kafka+tls://), or a user"
	}
	return f
}
