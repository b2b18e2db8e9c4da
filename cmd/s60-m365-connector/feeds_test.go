package main

import (
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/engine"
)

// TestFeedsHolder: a partition in standby says which replica runs it.
func TestFeedsHolder(t *testing.T) {
	var out strings.Builder
	printFeeds(&out, []engine.FeedStatus{{Feed: "entra-signins", State: engine.Standby, Holder: "replica-2"}}, time.Now())
	if !strings.Contains(out.String(), "standby (replica-2)") {
		t.Errorf("feeds shows no holder:\n%s", out.String())
	}
}
