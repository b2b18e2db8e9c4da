package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/tidwall/gjson"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/secure60/s60-m365-connector/engine/load"
)

// This file holds the commands of sessions with a stream platform. Each runs in
// the test's process, and asks for the user audit and a password.

const streamPassword = "very-secret-3"

// storedBy keeps how to get at what a platform holds.
func storedBy(ts *testscript.TestScript, platform string, stored func() ([][]byte, error)) {
	s := ts.Value(sessionKey).(*session)
	if s.stored == nil {
		s.stored = map[string]func() ([][]byte, error){}
	}
	s.stored[platform] = stored
}

// startNATS starts a server without a stream, and sets NATS to its address.
func startNATS(ts *testscript.TestScript, neg bool, args []string) {
	dir, err := os.MkdirTemp(ts.Getenv("WORK"), "nats")
	ts.Check(err)
	server, err := natsd.NewServer(&natsd.Options{
		Host: "127.0.0.1", Port: natsd.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
		Username: "audit", Password: streamPassword,
	})
	ts.Check(err)
	server.Start()
	ts.Defer(func() {
		server.Shutdown()
		server.WaitForShutdown()
	})
	if !server.ReadyForConnections(10 * time.Second) {
		ts.Fatalf("the server does not start")
	}
	ts.Setenv("NATS", server.Addr().String())
	ts.Setenv("STREAM_PASSWORD", streamPassword)
	storedBy(ts, "nats", func() (events [][]byte, err error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = withJetStream(ts, func(js jetstream.JetStream) error {
			stream, err := js.Stream(ctx, "EVENTS")
			if err != nil {
				return err
			}
			consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
			if err != nil {
				return err
			}
			for range stream.CachedInfo().State.Msgs {
				m, err := consumer.Next()
				if err != nil {
					return err
				}
				events = append(events, m.Data())
			}
			return nil
		})
		return events, err
	})
}

func withJetStream(ts *testscript.TestScript, do func(jetstream.JetStream) error) error {
	conn, err := nats.Connect(ts.Getenv("NATS"), nats.UserInfo("audit", streamPassword))
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	return do(js)
}

// createStream makes a stream that holds a subject: nats-stream SUBJECT.
func createStream(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: nats-stream SUBJECT")
	}
	ts.Check(withJetStream(ts, func(js jetstream.JetStream) error {
		_, err := js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "EVENTS", Subjects: args})
		return err
	}))
}

// startKafka starts a broker with a topic, and sets KAFKA to its address: kafka
// TOPIC. It is kfake: a real broker cannot run in a test's process.
func startKafka(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: kafka TOPIC")
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, args[0]), kfake.EnableSASL(), kfake.Superuser("PLAIN", "audit", streamPassword))
	ts.Check(err)
	ts.Defer(cluster.Close)
	_, port, err := net.SplitHostPort(cluster.ListenAddrs()[0])
	ts.Check(err)
	ts.Setenv("KAFKA", net.JoinHostPort("127.0.0.1", port))
	ts.Setenv("STREAM_PASSWORD", streamPassword)
	address := ts.Getenv("KAFKA")
	storedBy(ts, "kafka", func() (events [][]byte, err error) {
		client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(args[0]),
			kgo.SASL(plain.Auth{User: "audit", Pass: streamPassword}.AsMechanism()))
		if err != nil {
			return nil, err
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for int64(len(events)) < cluster.PartitionInfo(args[0], 0).HighWatermark {
			fetches := client.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				return nil, err
			}
			for record := range fetches.RecordsAll() {
				// What is of one feed, and of one partition of it, stays in order.
				feed := ts.Getenv("TENANT_ID") + "/" + gjson.GetBytes(record.Value, "source_name").String()
				connector := strings.HasPrefix(gjson.GetBytes(record.Value, "operation").String(), "connector-")
				if key := string(record.Key); !connector && key != feed && !strings.HasPrefix(key, feed+"/") {
					return nil, fmt.Errorf("a record of %s has the key %s", feed, key)
				}
				events = append(events, record.Value)
			}
		}
		return events, nil
	})
}

// forward gives what a stream platform holds to the simulated collector, as a
// consumer would, so that the simulator's report can tell of it: forward
// nats|kafka.
func forward(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(sessionKey).(*session)
	if len(args) != 1 || s.stored[args[0]] == nil {
		ts.Fatalf("usage: forward PLATFORM, of one that was started")
	}
	events, err := s.stored[args[0]]()
	ts.Check(err)
	collector, err := load.Open(load.Config{Kind: load.KindCollector, URL: simulatorOf(ts).CollectorBase(), Format: load.FormatNDJSON})
	ts.Check(err)
	defer collector.Close()
	refused, err := collector.Deliver(context.Background(), load.Batch{Events: events})
	ts.Check(err)
	if len(events) == 0 || len(refused) > 0 {
		ts.Fatalf("%d events are stored, and %d of them are none", len(events), len(refused))
	}
}
