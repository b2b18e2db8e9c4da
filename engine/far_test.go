package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secure60/s60-m365-connector/engine/extract"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// A destination that is far away is kept busy: with bodies of many events the connector reaches more than half of
// what a bare client with 16 connections sends, and as objects most of what as many requests in flight can carry as it
// finds good. Time is virtual, and only the way takes any.
func TestFarDestination(t *testing.T) {
	if testing.Short() {
		t.Skip("140,000 records")
	}
	padding := strings.Repeat("x", 1500)
	for _, c := range []struct {
		format  string
		least   float64 // of what so many requests in flight carry
		bare    int     // requests; 0: as many as the connector has come to
		records int
	}{
		{load.FormatNDJSON, 0.5, 16, 20_000},
		{load.FormatArray, 0.5, 16, 20_000},
		{load.FormatObject, 0.8, 0, 30_000},
	} {
		for _, roundTrip := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s/%v", c.format, roundTrip), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					far := part(func(r *http.Request) (*http.Response, error) {
						io.Copy(io.Discard, r.Body) //nolint:errcheck // it is in memory
						r.Body.Close()              //nolint:errcheck // likewise
						time.Sleep(roundTrip)
						return &http.Response{StatusCode: 200, Status: "200 OK", Body: io.NopCloser(bytes.NewReader(nil)), Request: r}, nil
					})
					destination, err := load.Open(load.Config{Kind: load.KindCollector, URL: "https://far.example/", Format: c.format, Transport: far})
					if err != nil {
						t.Fatal(err)
					}
					r := newRig(t, feedOf("f"), func(config *Config) { config.Destination = destination })
					r.service.read = func(ctx context.Context, _ extract.Window, sink extract.Sink) error {
						s := sink.Open("", time.Time{})
						for i := range c.records {
							if err := s.Record(ctx, fmt.Appendf(nil, `{"id":"%d","text":%q}`, i, padding)); err != nil {
								return err
							}
						}
						return s.End()
					}
					began := time.Now()
					if err := r.window(t.Context(), extract.Window{From: began, To: began.Add(time.Minute)}, began, pass{}); err != nil {
						t.Fatal(err)
					}
					took := time.Since(began)
					state := destination.State()
					bare := c.bare
					if bare == 0 {
						bare = state.Concurrency
					}
					most := float64(bare) * float64(state.Events) / float64(state.Requests) / roundTrip.Seconds()
					if rate := float64(c.records) / took.Seconds(); state.Events != int64(c.records) || rate < c.least*most {
						t.Errorf("%d events at %.0f a second, where %d requests in flight carry %.0f", state.Events, rate, bare, most)
					} else {
						t.Logf("%.2f of what %d requests in flight carry", rate/most, bare)
					}
					r.store.Close()
				})
			})
		}
	}
}
