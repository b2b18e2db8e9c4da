package settings

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
)

func TestSettingsProblems(t *testing.T) {
	tests := map[string]struct {
		change map[string]string
		want   []string // one for each problem, in order
	}{
		"nothing at all": {
			map[string]string{"TENANT_ID": "-", "CLIENT_ID": "-", "CLIENT_SECRET": "-", "PROJECT_ID": "-", "TOKEN": "-"},
			[]string{"TENANT_ID is missing", "CLIENT_ID is missing", "CLIENT_SECRET is missing", "no destination is set"},
		},
		"blank counts as missing": {map[string]string{"TENANT_ID": "  "}, []string{"TENANT_ID is missing"}},
		"two credentials": {
			map[string]string{"CLIENT_SECRET_FILE": "/run/secret"},
			[]string{"CLIENT_SECRET and CLIENT_SECRET_FILE are set together"},
		},
		"two destinations": {
			map[string]string{"S60_COLLECTOR_BASE": "https://collector.example"},
			[]string{"PROJECT_ID and TOKEN (ingest mode) and S60_COLLECTOR_BASE (collector mode) are set together"},
		},
		"half a destination":        {map[string]string{"TOKEN": "-"}, []string{"TOKEN is missing"}},
		"the other half":            {map[string]string{"PROJECT_ID": "-"}, []string{"PROJECT_ID is missing"}},
		"plain http off this host":  {map[string]string{"MS_GRAPH_BASE": "http://graph.example"}, []string{"MS_GRAPH_BASE is \"http://graph.example\": write https://"}},
		"host that looks like loop": {map[string]string{"MS_GRAPH_BASE": "http://127.0.0.1.evil.example"}, []string{"MS_GRAPH_BASE"}},
		"user in a base":            {map[string]string{"S60_INGEST_BASE": "https://u:p@ingest.example"}, []string{"S60_INGEST_BASE holds a user name or password"}},
		"unknown cloud":             {map[string]string{"MS_CLOUD": "gov"}, []string{`MS_CLOUD is "gov": write one of commercial, gcc, gcchigh, dod, china`}},
		"china has no management":   {map[string]string{"MS_CLOUD": "china", "ENABLE_MGMT_ACTIVITY": "true"}, []string{"ENABLE_MGMT_ACTIVITY is on, but MS_CLOUD china has no Management Activity API"}},
		"unknown content type":      {map[string]string{"MGMT_CONTENT_TYPES": "Audit.Exchange,Audit.Sharepoint"}, []string{`MGMT_CONTENT_TYPES holds "Audit.Sharepoint"`}},
		"no number": {
			map[string]string{"POLLING_INTERVAL_MINUTES": "often", "HEARTBEAT_INTERVAL_MINUTES": "0", "INITIAL_LOOKBACK_MINUTES": "-5"},
			[]string{"POLLING_INTERVAL_MINUTES is", "INITIAL_LOOKBACK_MINUTES is", "HEARTBEAT_INTERVAL_MINUTES is"},
		},
		"not a number is no number": {map[string]string{"POLLING_INTERVAL_MINUTES": "NaN"}, []string{"POLLING_INTERVAL_MINUTES is"}},
		"switches":                  {map[string]string{"ENABLE_GRAPH": "maybe"}, []string{`ENABLE_GRAPH is "maybe": write true or false`}},
		"level and format": {
			map[string]string{"LOG_LEVEL": "TRACE", "LOG_FORMAT": "xml", "DELIVERY_FORMAT": "csv", "DELIVERY_CONCURRENCY": "0"},
			[]string{"LOG_LEVEL", "LOG_FORMAT", "DELIVERY_FORMAT", "DELIVERY_CONCURRENCY"},
		},
		"listen address":        {map[string]string{"LISTEN_ADDR": "8080"}, []string{"LISTEN_ADDR"}},
		"tenant that is a path": {map[string]string{"TENANT_ID": "../../evil"}, []string{"TENANT_ID"}},
		"token on two lines":    {map[string]string{"TOKEN": "a\nInjected: b"}, []string{"TOKEN holds a line break"}},
		"a stream that is none": {
			map[string]string{"OUTPUT": "nats://audit:hunter/2@stream.internal/events"},
			[]string{"OUTPUT has no host, or one that is none: write it like nats://host1:4222,host2:4222/subject"},
		},
		"an address that lacks a colon": {map[string]string{"OUTPUT": "nats//audit:hunter2@stream.internal/events"}, []string{"OUTPUT looks like an address, and is none"}},
		"placeholders": {
			map[string]string{"TENANT_ID": "00000000-0000-0000-0000-000000000000", "CLIENT_ID": "your-client-id", "CLIENT_SECRET": "<secret>", "TOKEN": "changeme"},
			[]string{"TENANT_ID still holds a placeholder", "CLIENT_ID still holds", "CLIENT_SECRET still holds", "TOKEN still holds"},
		},
		"a name of somebody else's":  {map[string]string{"TENANT_ID": "contoso.onmicrosoft.com"}, []string{"TENANT_ID still holds a placeholder"}},
		"a project without a number": {map[string]string{"PROJECT_ID": "abc"}, []string{"PROJECT_ID is \"abc\": write the number"}},
		"a secret that is a folder":  {map[string]string{"CLIENT_SECRET": "-", "CLIENT_SECRET_FILE": "."}, []string{"CLIENT_SECRET_FILE is \".\": that is a folder"}},
		"a file of definitions":      {map[string]string{"CONFIG_DIR": "settings.go"}, []string{"CONFIG_DIR is \"settings.go\": that is a file"}},
		"more than any destination":  {map[string]string{"DELIVERY_CONCURRENCY": "257"}, []string{"DELIVERY_CONCURRENCY is \"257\": write a whole number from 1 to 256"}},
		"no time":                    {map[string]string{"DELIVERY_TIMEOUT": "soon"}, []string{"DELIVERY_TIMEOUT is \"soon\": write a number of seconds or a duration from 1s to 1h, such as 120 or 2m"}},
		"too short a time":           {map[string]string{"DELIVERY_TIMEOUT": "0.5"}, []string{"DELIVERY_TIMEOUT is \"0.5\""}},
		"too long a time":            {map[string]string{"DELIVERY_TIMEOUT": "2h"}, []string{"DELIVERY_TIMEOUT is \"2h\""}},
		"a feed, beside other faults": {
			map[string]string{"FEEDS": "email,security-alert,message-trace", "MS_CLOUD": "gov"},
			[]string{"MS_CLOUD is", "FEEDS holds \"security-alert\", and there is no such feed or pack"},
		},
		"no such platform": {
			map[string]string{"OUTPUT": "amqp://stream.internal/events"},
			[]string{"OUTPUT begins with no scheme that is known: write one of kafka://, kafka+tls://, nats://, tls://"},
		},
		"a user twice": {
			map[string]string{"OUTPUT": "nats://audit:hunter2@stream.internal/events", "OUTPUT_CREDENTIALS_FILE": "/run/secrets/stream"},
			[]string{"OUTPUT holds a user and OUTPUT_CREDENTIALS_FILE is set: keep one of the two"},
		},
		"credentials missing": {
			map[string]string{"OUTPUT": "kafka+tls://stream.internal/events", "OUTPUT_CREDENTIALS_FILE": "/does/not/exist"},
			[]string{"OUTPUT_CREDENTIALS_FILE is \"/does/not/exist\""},
		},
		"credentials for nothing": {
			map[string]string{"OUTPUT": "events.ndjson", "OUTPUT_CREDENTIALS_FILE": "/run/secrets/stream"},
			[]string{"OUTPUT_CREDENTIALS_FILE is set, and OUTPUT is no address of NATS or Kafka"},
		},
		"secret file missing": {
			map[string]string{"CLIENT_SECRET": "-", "CLIENT_SECRET_FILE": "/does/not/exist"},
			[]string{"CLIENT_SECRET_FILE is \"/does/not/exist\""},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Read(testkit.Settings(test.change), false)
			list, ok := errors.AsType[Problems](err)
			if !ok {
				t.Fatalf("got %v, want a settingsError", err)
			}
			if len(list) != len(test.want) {
				t.Fatalf("got %d problems, want %d:\n%v", len(list), len(test.want), err)
			}
			for i, want := range test.want {
				if !strings.HasPrefix(list[i], want) {
					t.Errorf("problem %d is %q, want it to begin with %q", i, list[i], want)
				}
			}
			for _, secret := range []string{"the-secret-value", "the-token-value", "u:p@", "hunter"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the secret %q is in %q", secret, err)
				}
			}
		})
	}
}

func TestSettings(t *testing.T) {
	s, err := Read(testkit.Settings(map[string]string{
		"POLLING_INTERVAL_MINUTES": "0.1", "MS_CLOUD": "GCCHigh", "MS_GRAPH_BASE": "http://127.0.0.1:8081/",
		"MGMT_CONTENT_TYPES": " Audit.Exchange, DLP.All ,", "LISTEN_ADDR": "", "SOMETHING_ELSE": "ignored", "TOKEN_FILE": "",
	}), false)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.Poll, 6*time.Second; got != want {
		t.Errorf("poll is %v, want %v", got, want)
	}
	if got, want := s.Lookback, 24*time.Hour; got != want {
		t.Errorf("lookback is %v, want %v", got, want)
	}
	for got, want := range map[string]string{
		s.LoginBase: "https://login.microsoftonline.us", s.ManageBase: "https://manage.office365.us", s.GraphBase: "http://127.0.0.1:8081",
		s.Listen: "", s.IngestBase: "https://ingest.secure60.io",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := s.Names["MGMT_CONTENT_TYPES"].([]any); len(got) != 2 || got[0] != "Audit.Exchange" || got[1] != "DLP.All" {
		t.Errorf("content types are %v", got)
	}
	if got := s.Names["PUBLISHER_ID"]; got != testkit.Complete["TENANT_ID"] {
		t.Errorf("PUBLISHER_ID is %v, want the tenant", got)
	}
	for name := range s.Names {
		if strings.Contains(name, "SECRET") || strings.Contains(name, "TOKEN") {
			t.Errorf("expressions of feeds can see %s", name)
		}
	}
}

func TestOutputReplacesDestination(t *testing.T) {
	for output, shown := range map[string]string{
		"/tmp/events.ndjson": "file /tmp/events.ndjson",
		"tls://audit:hunter2@a.internal,b.internal/m365.events": "tls://a.internal:4222,b.internal:4222/m365.events",
		"kafka://audit:hunter2@a.internal:9093/m365-events":     "kafka://a.internal:9093/m365-events",
	} {
		s, err := Read(testkit.Settings(map[string]string{"OUTPUT": output}), false)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Shadowed) != 2 {
			t.Errorf("settings that OUTPUT overrides are %v, want PROJECT_ID and TOKEN", s.Shadowed)
		}
		if got := s.DestinationText(); got != shown {
			t.Errorf("%s is shown as %s, want %s", output, got, shown)
		}
	}
}

func TestOfflineNeedsNothing(t *testing.T) {
	if _, err := Read(map[string]string{}, true); err != nil {
		t.Fatal(err)
	}
}

// A cloud that lacks the Management Activity API needs no further setting.
func TestCloudWithoutManagement(t *testing.T) {
	for change, want := range map[string]bool{"": false, "http://127.0.0.1:8082": true} {
		s, err := Read(testkit.Settings(map[string]string{"MS_CLOUD": "china", "MS_MANAGE_BASE": change}), false)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Names["ENABLE_MGMT_ACTIVITY"]; got != want {
			t.Errorf("with MS_MANAGE_BASE=%q the feed is on: %v, want %v", change, got, want)
		}
	}
}

func TestEnvFiles(t *testing.T) {
	utf16le := func(text string) string {
		b := []byte{0xff, 0xfe}
		for _, unit := range utf16.Encode([]rune(text)) {
			b = append(b, byte(unit), byte(unit>>8))
		}
		return string(b)
	}
	for name, test := range map[string]struct {
		text     string
		want     map[string]string
		problems []string
	}{
		"byte order mark":       {"\ufeffA=1\r\nB=\"x y\"\r\n", map[string]string{"A": "1", "B": "x y"}, nil},
		"UTF-16":                {utf16le("A=1\r\nB=ü\r\n"), map[string]string{"A": "1", "B": "ü"}, nil},
		"several lines":         {"A=\"1\n2=\n\"\nB='x'\n# y\n\nexport C=3", map[string]string{"A": "1\n2=\n", "B": "x", "C": "3"}, nil},
		"lines that are none":   {"A=1\nsecret value\nB=2\n=x", map[string]string{"A": "1", "B": "2"}, []string{"f:2: the line is not of the form NAME=value", "f:4: the line is not of the form NAME=value"}},
		"a quote without end":   {"A=1\nB=\"secret\nC=3", map[string]string{"A": "1", "B": "secret", "C": "3"}, []string{"f:2: the quote of B does not end: write another \", or the value without quotes"}},
		"a colon":               {"A: 1\nB : \"x\"\nC=d:e", map[string]string{"A": "1", "B": "x", "C": "d:e"}, []string{"f:1: the line has a colon behind A: write A=value", "f:2: the line has a colon behind B: write B=value"}},
		"a file of another set": {"A=\xe4", nil, []string{"f cannot be read: it is not UTF-8 text: save it as UTF-8"}},
	} {
		t.Run(name, func(t *testing.T) {
			env, problems := parseEnv("f", []byte(test.text))
			if !maps.Equal(env, test.want) || !slices.Equal(problems, test.problems) {
				t.Errorf("%q %q", env, problems)
			}
		})
	}
}

// What is wrong in a file, and what is wrong with the settings, is told at once.
func TestAllProblemsAtOnce(t *testing.T) {
	_, err := ReadAll(testkit.Settings(map[string]string{"TOKEN": "-"}), Problems{"f:2: the line is not of the form NAME=value"}, false)
	want := "f:2: the line is not of the form NAME=value\nTOKEN is missing: write the ingest token of your Secure60 project, or set TOKEN_FILE instead"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if _, err = ReadAll(testkit.Settings(nil), Problems{"f:2: x"}, false); err == nil {
		t.Error("a bad line alone is no problem")
	}
}

func TestDeliveryTimeout(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 2 * time.Minute, "90": 90 * time.Second, "1.5": 1500 * time.Millisecond, "3m": 3 * time.Minute, "1h": time.Hour} {
		s, err := Read(testkit.Settings(map[string]string{"DELIVERY_TIMEOUT": text}), false)
		if err != nil || s.Timeout != want {
			t.Errorf("%q: %v, %v", text, s, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	env := testkit.Settings(map[string]string{"CLIENT_SECERT": "x", "TENANTID": "x", "DELIVERY_TIMOUT": "5", "HTTP_PROXY": "x", "HOSTNAME": "x", "STATE_PORT": "x", "PATH": "x", "CONFIG_DIR": "/no/such/folder"})
	s, err := Read(env, false)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"CLIENT_SECERT is set, which is no setting: did you mean CLIENT_SECRET?",
		"DELIVERY_TIMOUT is set, which is no setting: did you mean DELIVERY_TIMEOUT?",
		"TENANTID is set, which is no setting: did you mean TENANT_ID?",
		`CONFIG_DIR is "/no/such/folder": there is no such folder, and the shipped definitions alone are in force`,
	}
	if !slices.Equal(s.Warnings, want) {
		t.Errorf("%q", s.Warnings)
	}
}

func TestPseudonymKey(t *testing.T) {
	dir := testkit.Folder(t, map[string]string{"key": " 0123456789abcdef\n", "short": "x"})
	s, err := Read(testkit.Settings(map[string]string{"PSEUDONYM_KEY_FILE": filepath.Join(dir, "key")}), false)
	if err != nil || string(s.PseudonymKey) != "0123456789abcdef" || s.Names["PSEUDONYM_KEY_FILE"] == "" {
		t.Error(err)
	}
	for _, name := range []string{"short", "none", "."} {
		if _, err := Read(testkit.Settings(map[string]string{"PSEUDONYM_KEY_FILE": filepath.Join(dir, name)}), false); err == nil || !strings.HasPrefix(err.Error(), "PSEUDONYM_KEY_FILE") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
