package engine

import (
	"testing"
	"time"
)

func TestCauseWhenNothingIsCollected(t *testing.T) {
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	const expired = "the client secret has expired (AADSTS7000222). Create a new one"
	failing := func(text string) FeedStatus { return FeedStatus{State: Failing, LastError: text} }
	tests := map[string]struct {
		ends  time.Time
		feeds []FeedStatus
		want  string
	}{
		"a secret that ended, the day is known": {now.Add(-24 * time.Hour), []FeedStatus{failing(expired), failing(expired), {State: Gated}}, "the client secret expired on 2026-03-01 (AADSTS7000222)"},
		"the day is not known":                  {time.Time{}, []FeedStatus{failing(expired)}, "the client secret has expired (AADSTS7000222)"},
		"each its own request": {time.Time{}, []FeedStatus{failing(`Get "https://graph.example/v1.0/a": EOF after 3ms`), failing(`Get "https://graph.example/v1.0/b?c=1": EOF after 45ms`)},
			`Get "https://graph.example": EOF after 3ms`},
		"two causes":        {time.Time{}, []FeedStatus{failing("HTTP 500"), failing("HTTP 404")}, ""},
		"one collects":      {time.Time{}, []FeedStatus{failing(expired), {State: OK}}, ""},
		"one may yet":       {time.Time{}, []FeedStatus{failing(expired), {State: Starting}}, ""},
		"nothing fails":     {time.Time{}, []FeedStatus{{State: Gated}, {State: Disabled}}, ""},
		"other replicas do": {time.Time{}, []FeedStatus{failing(expired), {State: Standby}}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := Status{Now: now, CredentialExpires: test.ends, Feeds: test.feeds}
			if got := s.Cause(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
