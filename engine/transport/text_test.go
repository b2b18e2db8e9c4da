package transport

import (
	"strings"
	"testing"
)

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"a\r\n\tb \x1b[31mred\x1b[0m\x00": "a b [31mred [0m",
		"rtl \u202egnp.exe\u2066":         "rtl gnp.exe",
		"\xff\xfe":                        "",
		strings.Repeat("é", 501):          strings.Repeat("é", 500) + "…",
	} {
		if got := OneLine(in, 500); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
	if long := strings.Repeat("a", 5000); OneLine(long, 0) != long {
		t.Error("a text without a bound was cut")
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "localhost.": true, "127.0.0.1": true, "127.8.9.1": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "127.0.0.1.example": false, "localhost.example": false, "10.0.0.1": false, "0.0.0.0": false, "::": false, "2130706433": false,
	} {
		if got := Loopback(host); got != want {
			t.Errorf("%q: %t", host, got)
		}
	}
}
