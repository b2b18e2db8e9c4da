package load

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"
)

// A stream whose leader resigns, or dies, loses acknowledgements: the events go on within seconds, and
// each is stored once. Those under way at that moment may come behind later ones.
func TestNATSLeaderChanges(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for elections")
	}
	cluster := natstest.StartCluster(t, 3)
	conn, err := nats.Connect(natstest.URL(cluster...), nats.Timeout(forever))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), forever)
	defer cancel()
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: testStream, Subjects: []string{"events.>"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	var hosts []string
	for _, s := range cluster {
		hosts = append(hosts, s.Address())
	}
	d := mustOpen(t, Config{Kind: KindNATS, Address: Address{Kind: KindNATS, Hosts: hosts, Name: testSubject}, Retry: quick})
	leader := func() *natstest.Server {
		i := -1
		eventually(t, "the stream has a leader", func() bool {
			i = slices.IndexFunc(cluster, func(s *natstest.Server) bool { return s.LeadsStream(testStream) })
			return i >= 0
		})
		return cluster[i]
	}
	batch := testBatch(0, 60_000)
	under := startDelivery(t, d, batch)
	for name, change := range map[string]func(){
		"resigns": func() {
			if _, err := conn.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+testStream, nil); err != nil {
				t.Error(err)
			}
		},
		"dies": func() { leader().Stop() },
	} {
		before := d.State().Events
		eventually(t, "some events", func() bool { return d.State().Events > before+1000 })
		leader()
		change()
		began := time.Now()
		// What was under way may be acknowledged for a moment after the change.
		enough := min(d.State().Events+5000, int64(len(batch.Events)))
		eventually(t, "it goes on once the leader "+name, func() bool { return d.State().Events >= enough })
		t.Logf("the leader %s: it went on after %s", name, time.Since(began).Round(10*time.Millisecond))
	}
	under.end()
	info, err := stream.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != uint64(len(batch.Events)) {
		t.Errorf("%d messages are stored, of %d events", info.State.Msgs, len(batch.Events))
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < int(info.State.Msgs) {
		fetched, err := consumer.Fetch(1000, jetstream.FetchMaxWait(2*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		before := len(got)
		for m := range fetched.Messages() {
			got = append(got, strings.Clone(string(m.Data())))
		}
		if len(got) == before && ctx.Err() != nil {
			t.Fatal(ctx.Err())
		}
	}
	wantEvents(t, got, batch.Events, false)
}
