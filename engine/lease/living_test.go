package lease

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"
)

// TestNobodyIsOverlooked: a replica that renews its session while another one looks is seen.
func TestNobodyIsOverlooked(t *testing.T) {
	conn, err := nats.Connect(natstest.URL(natstest.Start(t, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "replicas"})
	if err != nil {
		t.Fatal(err)
	}
	r := &Replica{Options: Options{Sessions: bucket, TTL: time.Hour}}
	ids := []string{"a", "b", "c"}
	for _, id := range ids {
		if _, err := bucket.PutString(t.Context(), id, `{"name":"`+id+`"}`); err != nil {
			t.Fatal(err)
		}
	}
	if r.names, r.members, _, err = r.living(t.Context()); err != nil || len(r.members) != 3 {
		t.Fatalf("%q live, %v", r.members, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var renewing sync.WaitGroup
	defer renewing.Wait()
	defer stop()
	for _, id := range ids {
		renewing.Go(func() {
			for ctx.Err() == nil {
				bucket.PutString(ctx, id, `{"name":"`+id+`"}`) //nolint:errcheck // it is there already
			}
		})
	}
	for range 100 {
		names, members, _, err := r.living(t.Context())
		if err != nil || len(names) != 3 || len(members) != 3 {
			t.Fatalf("%v live, of them %d take part: %v", names, len(members), err)
		}
	}
}
