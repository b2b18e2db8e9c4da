package engine

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A connector that gets no usable answer is not healthy within 30 seconds, be it from its start or later, and says why, long
// before its round gives up. One that is asked to wait is.
func TestNobodyAnswers(t *testing.T) {
	const good = `{"value":[]}`
	for name, test := range map[string]struct {
		after   time.Duration // until then all is well
		fault   func(r *http.Request) (*http.Response, error)
		healthy bool
		cause   string
	}{
		"no name of the host": {0, func(*http.Request) (*http.Response, error) { return nil, errReset }, false, "connection reset by peer"},
		"an error beside records": {0, func(r *http.Request) (*http.Response, error) {
			return answer(r, 200, `{"value":[{"id":"a","at":"2000-01-01T00:00:00Z"}],"error":{"code":"UnknownError","message":"partial"}}`)
		}, false, "UnknownError"},
		"a service that fails later": {time.Hour, func(r *http.Request) (*http.Response, error) { return answer(r, 500, good) }, false, "HTTP 500"},
		"a host out of reach later":  {time.Hour, func(*http.Request) (*http.Response, error) { return nil, errReset }, false, "connection reset by peer"},
		"asked to wait":              {0, func(r *http.Request) (*http.Response, error) { return answer(r, 429, ``, "Retry-After", "60") }, true, ""},
		"asked to wait later":        {time.Hour, func(r *http.Request) (*http.Response, error) { return answer(r, 429, ``, "Retry-After", "60") }, true, ""},
		"a listing that takes its time": {0, func(r *http.Request) (*http.Response, error) {
			Sleep(r.Context(), 40*time.Second)
			return answer(r, 200, good)
		}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, faulty := time.Now(), make(chan struct{})
				once := sync.OnceFunc(func() { close(faulty) })
				tenant := part(func(r *http.Request) (*http.Response, error) {
					token := strings.HasSuffix(r.URL.Path, "/token")
					if time.Since(begun) < test.after || token && test.after == 0 && name != "no name of the host" {
						if token {
							return answer(r, 200, `{"access_token":"bearer","token_type":"Bearer","expires_in":36000}`)
						}
						return answer(r, 200, good)
					}
					once()
					return test.fault(r)
				})
				e := clockEngine(t, tenant, part(func(r *http.Request) (*http.Response, error) { return answer(r, 200, ``) }))
				go e.Run(t.Context()) //nolint:errcheck // it ends with the test
				<-faulty
				if !e.Status().Healthy() {
					t.Errorf("not healthy before: %s", e.Status().Cause())
				}
				time.Sleep(25 * time.Second)
				status := e.Status()
				if got := status.Healthy(); got != test.healthy || !strings.Contains(status.Cause(), test.cause) {
					t.Errorf("healthy: %v, cause %q", got, status.Cause())
				}
				if outcome := e.heartbeatEvent()["outcome"]; (outcome == "success") != test.healthy {
					t.Errorf("the heartbeat says %v", outcome)
				}
			})
		})
	}
}
