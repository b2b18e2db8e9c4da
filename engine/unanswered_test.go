package engine

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A connector that starts and is answered by nobody is not healthy within 30 seconds, and says why, long before its first
// round gives up. One that is asked to wait is.
func TestAStartThatNobodyAnswers(t *testing.T) {
	token := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/token") }
	for name, test := range map[string]struct {
		tenant  part
		healthy bool
		cause   string
	}{
		"no name of the host": {func(*http.Request) (*http.Response, error) { return nil, errReset }, false, "connection reset by peer"},
		"asked to wait": {func(r *http.Request) (*http.Response, error) {
			if token(r) {
				return answer(r, 200, `{"access_token":"bearer","token_type":"Bearer","expires_in":3600}`)
			}
			return answer(r, 429, ``, "Retry-After", "60")
		}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := clockEngine(t, test.tenant, part(func(r *http.Request) (*http.Response, error) { return answer(r, 200, ``) }))
				go e.Run(t.Context()) //nolint:errcheck // it ends with the test
				time.Sleep(25 * time.Second)
				status := e.Status()
				if got := status.Healthy(); got != test.healthy || !strings.Contains(status.Cause(), test.cause) {
					t.Errorf("healthy: %v, cause %q", got, status.Cause())
				}
				if outcome := e.HeartbeatEvent()["outcome"]; (outcome == "success") != test.healthy {
					t.Errorf("the heartbeat says %v", outcome)
				}
			})
		})
	}
}
