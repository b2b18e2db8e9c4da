package load

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	tests := []struct {
		text    string
		want    Address
		shown   string
		exposed bool
	}{
		{"nats://nats.internal/events.audit", Address{Kind: KindNATS, Hosts: []string{"nats.internal:4222"}, Name: "events.audit"}, "nats://nats.internal:4222/events.audit", true},
		{"nats://127.0.0.1:4333,[::1],localhost/a", Address{Kind: KindNATS, Hosts: []string{"127.0.0.1:4333", "[::1]:4222", "localhost:4222"}, Name: "a"}, "nats://127.0.0.1:4333,[::1]:4222,localhost:4222/a", false},
		{"nats://[::1]:1,far/a", Address{Kind: KindNATS, Hosts: []string{"[::1]:1", "far:4222"}, Name: "a"}, "nats://[::1]:1,far:4222/a", true},
		{"tls://u:p%40s%2Fs@a,b:1/x", Address{Kind: KindNATS, TLS: true, Hosts: []string{"a:4222", "b:1"}, Name: "x", User: "u", Password: "p@s/s"}, "tls://a:4222,b:1/x", false},
		{"kafka://u:p:q@b1,b2:9093/m365_events-1", Address{Kind: KindKafka, Hosts: []string{"b1:9092", "b2:9093"}, Name: "m365_events-1", User: "u", Password: "p:q"}, "kafka://b1:9092,b2:9093/m365_events-1", true},
		{"kafka://u:p@localhost/t?mechanism=PLAIN", Address{Kind: KindKafka, Hosts: []string{"localhost:9092"}, Name: "t", User: "u", Password: "p", Mechanism: "PLAIN"}, "kafka://localhost:9092/t", false},
		{"kafka+tls://b/t", Address{Kind: KindKafka, TLS: true, Hosts: []string{"b:9092"}, Name: "t"}, "kafka+tls://b:9092/t", false},
	}
	for _, test := range tests {
		got, err := ParseAddress(test.text)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %+v, %v\nwant %+v", test.text, got, err, test.want)
			continue
		}
		if got.String() != test.shown || got.Exposed() != test.exposed {
			t.Errorf("%s: shown as %s, exposed: %t", test.text, got, got.Exposed())
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	const like = "write it like nats://host1:4222,host2:4222/subject"
	for text, want := range map[string]string{
		"kafka+ssl://b/t":              "write one of kafka://, kafka+tls://, nats://, tls://",
		"://b/t":                       "write one of",
		"nats://":                      "has no host",
		"nats:///a":                    "has no host",
		"nats://a,/a":                  "has no host",
		"nats://a:http/a":              "has no host",
		"nats://a:70000/a":             "has no host",
		"nats://a b/a":                 "has no host",
		"nats://a":                     "has no subject",
		"nats://a/":                    "has no subject",
		"nats://a/b..c":                "has no subject",
		"nats://a/events.>":            "has no subject",
		"nats://a/events.*":            "has no subject",
		"nats://a/$JS.API":             "has no subject",
		"nats://a/b c":                 "has no subject",
		"kafka://a/b/c":                "has no topic",
		"kafka://a/..":                 "has no topic",
		"kafka://a/t?tls=true":         "has no topic",
		"kafka://a/t?mechanism=GSSAPI": "one of SCRAM-SHA-512, SCRAM-SHA-256, PLAIN",
		"nats://a/t?mechanism=PLAIN":   "has no subject",
		"nats://hunter2@a/b":           "user:password@",
		"nats://u:@a/b":                "user:password@",
		"nats://u:hunter2%@a/b":        "user:password@",
		"nats://u:12/hunter2@host/b":   "has no subject",
		"nats://u:hunter2/x@host/b":    "has no host",
		"kafka://u:12/hunter2@host/b":  "%2F and %40 for / and @ in a password",
	} {
		_, err := ParseAddress(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", text, err, want)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error holds the password: %v", text, err)
		}
		if strings.HasPrefix(text, "nats://") && !strings.Contains(err.Error(), like) {
			t.Errorf("%s: %v does not say what to write", text, err)
		}
	}
}

func TestCredentialsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	for _, test := range []struct {
		kind, content string
		want          credentials
		refused       string
	}{
		{KindNATS, "audit:with:colon\n", credentials{user: "audit", password: "with:colon"}, ""},
		{KindKafka, "audit:secret", credentials{user: "audit", password: "secret"}, ""},
		{KindNATS, "-----BEGIN NATS USER JWT-----\nx", credentials{file: []byte("-----BEGIN NATS USER JWT-----\nx")}, ""},
		{KindKafka, "-----BEGIN NATS USER JWT-----\nhunter2:x", credentials{}, "user:password on one line"},
		{KindNATS, "hunter2", credentials{}, "user:password on one line"},
		{KindNATS, "", credentials{}, "user:password on one line"},
	} {
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Config{Kind: test.kind, CredentialsFile: path}.credentials()
		if test.refused == "" && err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s %q: got %+v, %v", test.kind, test.content, got, err)
		}
		if test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s %q: got %v, want %q in it", test.kind, test.content, err, test.refused)
		}
	}
}
