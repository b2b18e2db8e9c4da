package transport

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	tests := []struct {
		value, date string
		want        time.Duration
		ok          bool
	}{
		{"", "", 0, false},
		{"120", "", 2 * time.Minute, true},
		{" 2.128\r", "", 2128 * time.Millisecond, true},
		{".5", "", 500 * time.Millisecond, true},
		{"0", "", 0, true},
		{"-5", "", 0, true},
		{"1.2.3", "", 0, false},
		{".", "", 0, false},
		{"NaN", "", 0, false},
		{"+Inf", "", longestWait, true},
		{"1e300", "", longestWait, true},
		{"86400", "", longestWait, true},
		{"soon", "", 0, false},
		{"Sun, 01 Mar 2026 10:00:30 GMT", "", 30 * time.Second, true},
		{"Sun, 01 Mar 2026 09:00:00 GMT", "", 0, true},
		// The server's clock is an hour behind this one.
		{"Sun, 01 Mar 2026 09:00:10 GMT", "Sun, 01 Mar 2026 09:00:00 GMT", 10 * time.Second, true},
		{"Fri, 01 Mar 2999 00:00:00 GMT", "", longestWait, true},
	}
	for _, test := range tests {
		header := http.Header{"Retry-After": {test.value}}
		if test.date != "" {
			header.Set("Date", test.date)
		}
		if got, ok := RetryAfter(header, now); got != test.want || ok != test.ok {
			t.Errorf("%q: got %v, %v, want %v, %v", test.value, got, ok, test.want, test.ok)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "1", "2.128", "-0", "NaN", "1e9", "Sun, 01 Mar 2026 10:00:30 GMT", "Sunday, 01-Mar-26 10:00:30 GMT", "0x1p-2", "1_000", "١"} {
		f.Add(s, "Sun, 01 Mar 2026 10:00:00 GMT")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		d, ok := RetryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, time.Now())
		if d < 0 || d > longestWait || !ok && d != 0 {
			t.Errorf("%q at %q gives %v, %v", value, date, d, ok)
		}
	})
}

func TestDelays(t *testing.T) {
	d := NewDelays(time.Second, 8*time.Second, 0.5)
	for range 3 {
		for i, want := range []time.Duration{1, 2, 4, 8, 8, 8} {
			want *= time.Second
			if got := d.Next(); got < want/2 || got > min(want*3/2, 8*time.Second) {
				t.Errorf("wait %d is %v, want about %v", i, got, want)
			}
		}
		d.Reset()
	}
}
