package engine

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A connector that gets no usable answer is not healthy within 30 seconds, be it from its start or later, and says why, long
// before its round gives up; after a start a heartbeat tells so, too. One that is asked to wait is. Tokens may come from the
// host of the service.
func TestNobodyAnswers(t *testing.T) {
	for _, host := range []string{"login.example", "service.example"} {
		t.Run(host, func(t *testing.T) { testNobodyAnswers(t, "https://"+host+"/token") })
	}
}

func testNobodyAnswers(t *testing.T, tokenURL string) {
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
		"a token that takes its time": {0, func(r *http.Request) (*http.Response, error) {
			Sleep(r.Context(), 40*time.Second)
			return answer(r, 200, good)
		}, false, "no answer after 15s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, faulty := time.Now(), make(chan struct{})
				once := sync.OnceFunc(func() { close(faulty) })
				tenant := part(func(r *http.Request) (*http.Response, error) {
					token := strings.HasSuffix(r.URL.Path, "/token")
					if time.Since(begun) < test.after || token && test.after == 0 && name != "no name of the host" && name != "a token that takes its time" {
						if token {
							return answer(r, 200, `{"access_token":"bearer","token_type":"Bearer","expires_in":36000}`)
						}
						return answer(r, 200, good)
					}
					once()
					return test.fault(r)
				})
				var told atomic.Int64 // heartbeats that say failure
				e := clockEngine(t, tokenURL, tenant, part(func(r *http.Request) (*http.Response, error) {
					if body, err := io.ReadAll(r.Body); err == nil && strings.Contains(string(body), `"outcome":"failure"`) {
						told.Add(1)
					}
					return answer(r, 200, ``)
				}))
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
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if want := !test.healthy && test.after == 0; (told.Load() == 1) != want {
					t.Errorf("35 seconds after the start %d heartbeats have said failure", told.Load())
				}
			})
		})
	}
}
