package author

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/cases"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
	"github.com/secure60/s60-m365-connector/engine/extract"
)

// planter puts values that must not be left into every text of a record.
type planter struct {
	n       int
	secrets []string
}

func (p *planter) secret(format string) string {
	p.n++
	s := fmt.Sprintf(format, p.n)
	p.secrets = append(p.secrets, s)
	return s
}

// text is another kind of text each time.
func (p *planter) text() string {
	upn := func() string { return p.secret("Zelda.Qvist%03d@plantedcorp.example") }
	id := func() string { return p.secret("deadbeef-%04d-4abc-8def-feedfacecafe") }
	nested := func() string {
		return fmt.Sprintf(`{"UserId": %q, "deep": "[{\"ip\": \"%s\"}]"}`, upn(), p.secret("198.18.7.%d"))
	}
	kinds := []func() string{
		upn, id, nested,
		func() string { return p.secret("Qvist, Zelda %03d") },
		func() string { return p.secret("198.18.3.%d") + ":443" },
		func() string { return p.secret("[fd12:3456::%d]") + ":51234" },
		func() string { return p.secret("fd12:7777::%d") },
		func() string { return strings.ToUpper(p.secret("plantedpc%03d.corp.plantedcorp.example")) },
		func() string { return `PLANTED\` + p.secret("zqvist%03d") },
		func() string { return "User " + upn() + " did it from " + p.secret("198.18.9.%d") + " again" },
		func() string {
			return "https://" + p.secret("planted%03d.sharepoint.example") + "/sites/" + p.secret("planted-site-%d") + "/x.docx?who=" + url.QueryEscape(upn()) + "&sig=" + p.secret("PlantedToken%03d") + "#" + p.secret("plantedfragment%d")
		},
		func() string { return "https://graph.microsoft.com/v1.0/users/" + id() + "/messages" },
		func() string { return url.QueryEscape(upn()) },
		func() string { return base64.StdEncoding.EncodeToString([]byte(nested())) },
		func() string { return base64.RawURLEncoding.EncodeToString([]byte("x" + upn())) },
		func() string { return upn() + ";" + upn() },
		func() string { return p.secret("+4179555%04d") },
		func() string { return p.secret("S-1-5-21-4242-%d") },
		func() string { return "<" + upn() + ">" },
	}
	return kinds[p.n%len(kinds)]()
}

// plant replaces every text of a value but times and the kinds that the feed itself goes by.
func (p *planter) plant(v any, keep map[string]bool) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			if !keep[name] {
				v[name] = p.plant(v[name], keep)
			}
		}
		v[p.secret("planted key %d")] = p.text()
	case []any:
		for i := range v {
			v[i] = p.plant(v[i], keep)
		}
	case string:
		if !aTime.MatchString(v) {
			return p.text()
		}
	}
	return v
}

// forms are a text with what is encoded in it decoded.
func forms(text string) string {
	all := []string{text}
	for range 3 { // what is encoded may hold what is encoded
		last := all[len(all)-1]
		if decoded, err := url.QueryUnescape(strings.NewReplacer("%", "%", "+", "%2B").Replace(last)); err == nil {
			last = decoded
		}
		last = strings.ReplaceAll(last, `\`, "")
		last = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}`).ReplaceAllStringFunc(last, func(s string) string {
			for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				if b, err := e.DecodeString(s[:len(s)/4*4]); err == nil {
					s += " " + string(b)
				}
			}
			return s
		})
		all = append(all, last)
	}
	return strings.ToLower(strings.Join(all, "\n"))
}

// roundTrip answers requests by their URL without query.
type roundTrip func(r *http.Request) (status int, header http.Header, body any)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	status, header, body := f(r)
	text, ok := body.(string)
	if !ok {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = string(raw)
	}
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", "application/json")
	return &http.Response{Status: fmt.Sprint(status), StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)), Request: r}, nil
}

// golden are records of golden cases.
func golden(t *testing.T, mapping string, most int) (list []any) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testkit.Root(t), "golden", mapping, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, definitions.GoldenSuffix) || len(list) == most {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v, err := decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

// What try --record writes holds no value of the answers, and passes.
func TestRecord(t *testing.T) {
	const tenant = "deadbeef-7777-4abc-8def-feedfacecafe"
	secret := map[string]string{"TENANT_ID": tenant, "CLIENT_ID": "deadbeef-8888-4abc-8def-feedfacecafe", "CLIENT_SECRET": "a-planted-secret", "OUTPUT": "-"}
	keep := func(names ...string) map[string]bool {
		m := map[string]bool{}
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	p := &planter{secrets: []string{tenant, secret["CLIENT_ID"], secret["CLIENT_SECRET"]}}
	now := time.Now().UTC().Add(-time.Hour).Format(time.RFC3339)
	listOf := func(mapping string, most int, times ...string) []any {
		list := golden(t, mapping, most)
		for _, v := range list {
			for _, name := range times {
				v.(map[string]any)[name] = now
			}
			p.plant(v, keep())
		}
		return list
	}
	graph := func(records []any, more string) map[string]any {
		body := map[string]any{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users('" + p.secret("Zelda.Qvist%03d@plantedcorp.example") + "')/x", "value": records, "note": p.text()}
		if more != "" {
			body["@odata.nextLink"] = more
		}
		return body
	}
	signins := listOf("entra-signin", 12, "createdDateTime")
	signins[1].(map[string]any)["userPrincipalName"] = signins[0].(map[string]any)["userPrincipalName"]
	blob := func(n string) string {
		return "https://manage.office.com/api/v1.0/" + tenant + "/activity/feed/audit/" + n + "$planted$" + tenant
	}
	var blobs []any
	for _, n := range []string{"a1", "b2", "c3"} {
		blobs = append(blobs, map[string]any{"contentUri": blob(n), "contentId": n + "$planted", "contentType": "Audit.Exchange", "contentCreated": now})
	}
	asked := 0
	var answering sync.Mutex
	for _, test := range []struct {
		feed, partition, own string
		events               int
		answer               roundTrip
	}{
		{"entra-signins", "", "", 7, func(r *http.Request) (int, http.Header, any) {
			asked++
			switch {
			case asked == 1:
				return 429, http.Header{"Retry-After": {"1"}}, map[string]any{"error": map[string]any{"code": "TooManyRequests", "message": p.text(), "innerError": map[string]any{"request-id": p.text()}}}
			case r.URL.Query().Get("$skiptoken") == "":
				return 200, nil, graph(signins[:4], r.URL.String()+"&$skiptoken="+p.secret("PlantedToken%03d"))
			}
			return 200, nil, graph(signins[4:], r.URL.String()+"&$skiptoken=x2")
		}},
		{"o365-management-activity", "Audit.Exchange", "", 7, func(r *http.Request) (int, http.Header, any) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/subscriptions/list"):
				return 200, nil, []any{map[string]any{"contentType": "Audit.Exchange", "status": "enabled", "webhook": map[string]any{"address": p.text()}}}
			case strings.HasSuffix(r.URL.Path, "/subscriptions/content"):
				if r.URL.Query().Get("nextPage") != "" {
					return 200, nil, blobs
				}
				return 200, http.Header{"Nextpageuri": {"https://manage.office.com/api/v1.0/" + tenant + "/activity/feed/subscriptions/content?nextPage=" + p.secret("PlantedToken%03d")}}, blobs
			}
			return 200, nil, listOf("o365-management", 4, "CreationTime")
		}},
		{"entra-risky-users", "", "", 3, func(r *http.Request) (int, http.Header, any) {
			return 200, nil, graph(listOf("entra-risky-user", 3, "riskLastUpdatedDateTime"), "")
		}},
		{"present", "", `
name: present
auth: {scope: "${MS_GRAPH_BASE}/.default"}
request: {url: "${MS_GRAPH_BASE}/v1.0/groups"}
paging: {style: odata}
records: value
expand: {url: "${MS_GRAPH_BASE}/v1.0/groups/${item.id}/owners", records: value, add: {group: item.displayName}}
snapshot: {id: id}
mapping: entra-risky-user
`, 2, func(r *http.Request) (int, http.Header, any) {
			if strings.HasSuffix(r.URL.Path, "/owners") {
				return 200, nil, graph([]any{map[string]any{"id": p.secret("Qvist, Zelda %03d"), "displayName": p.text()}}, "")
			}
			return 200, nil, graph([]any{map[string]any{"id": p.secret("deadbeef-%04d-4abc-8def-feedfacecafe"), "displayName": p.text()}, map[string]any{"id": p.secret("planted id %d"), "displayName": p.text()}}, "")
		}},
	} {
		t.Run(test.feed, func(t *testing.T) {
			dir := t.TempDir()
			if test.own != "" {
				dir = testkit.Folder(t, map[string]string{"feeds/" + test.feed + ".yaml": test.own})
			}
			env := map[string]string{"CONFIG_DIR": dir}
			for name, value := range secret {
				env[name] = value
			}
			s, err := settings.Read(env, false)
			if err != nil {
				t.Fatal(err)
			}
			defs, err := definitions.LoadValid(s, dir, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			feed := defs.Set.Feed(test.feed)
			seen := &Exchanges{Login: s.LoginBase, Next: roundTrip(func(r *http.Request) (int, http.Header, any) {
				if strings.HasPrefix(r.URL.String(), s.LoginBase) {
					return 200, nil, map[string]any{"token_type": "Bearer", "expires_in": 3600, "access_token": "a-planted-token"}
				}
				answering.Lock() // items are fetched side by side
				defer answering.Unlock()
				return test.answer(r)
			})}
			credential, err := extract.NewCredential(extract.ClientSecret, secret["CLIENT_SECRET"])
			if err != nil {
				t.Fatal(err)
			}
			client := extract.NewClient(extract.ClientOptions{UserAgent: "test", TokenURL: s.LoginBase + "/token", ClientID: s.ClientID, Credential: credential, Transport: seen, Log: slog.New(slog.DiscardHandler)})
			reader, err := extract.NewReader(client, feed, test.partition, s.Names)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			window := Newest(feed, time.Now())
			if _, _, err := reader.Subscribe(ctx, time.Now(), false); err != nil {
				t.Fatal(err)
			}
			if _, err := First(ctx, reader, &window, 7); err != nil {
				t.Fatal(err)
			}
			r := &Recording{Feed: feed, Partition: test.partition, Settings: s, Window: window, Records: 7}
			file, err := r.Write(seen, defs, filepath.Join(dir, "golden"), "live")
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			searched := forms(string(text))
			for _, planted := range append(p.secrets, "planted", "qvist", "zelda") {
				if strings.Contains(searched, strings.ToLower(planted)) {
					t.Errorf("%s is left", planted)
				}
			}
			all, err := cases.Find(filepath.Join(dir, "golden"))
			if err != nil || len(all) != 1 {
				t.Fatalf("%d cases, %v", len(all), err)
			}
			got, err := all[0].Run(defs, s.Names)
			if err == nil {
				err = errors.Join(all[0].Compare(got), cases.HoldToSchema(got.Events...))
			}
			if n := len(all[0].Expect.Events); err != nil || n != test.events {
				t.Errorf("%d events, want %d: %v", n, test.events, err)
			}
			if t.Failed() {
				t.Logf("%s", text)
			}
		})
	}
}

// The same value has the same other everywhere, of the same shape; what identifies nobody stays.
func TestAnonymous(t *testing.T) {
	s, err := settings.Read(map[string]string{}, true)
	if err != nil {
		t.Fatal(err)
	}
	defs, err := definitions.LoadValid(s, "", t.Output())
	if err != nil {
		t.Fatal(err)
	}
	a := newAnonymizer(defs.Set.Feed("entra-signins"), map[string]string{"tenant-x": "tenant-y"}, []replacement{{"http://127.0.0.1:99", "https://graph.microsoft.com"}})
	for _, test := range []struct{ in, want string }{
		{"Ann@Contoso.example", "user-1@host-1.example"},
		{"ann@contoso.example", "user-1@host-1.example"},
		{"bob@contoso.example;ann@contoso.example", "user-2@host-1.example, user-1@host-1.example"},
		{"CONTOSO.example", "host-1.example"},
		{"https://contoso.example/a%20b?u=ann%40contoso.example#x", "https://host-1.example/text-1?u=user-1%40host-1.example"},
		{"a b", "text-1"},
		{"203.0.113.9", "192.0.2.1"},
		{"203.0.113.9:443", "192.0.2.1:443"},
		{"::ffff:203.0.113.9", "192.0.2.1"},
		{"2001:db8:9::9", "2001:db8::0:2"},
		{"66EA54EB-6301-4ee5-be62-ff5a759b0100", "00000000-0000-4000-9000-000000000001"},
		{`{"a": "ann@contoso.example", "n": 12345678901234567890}`, `{"a":"user-1@host-1.example","n":90000000000000000001}`},
		{"guest_gmail.com#EXT#@contoso.example", "user-3_elsewhere.example#EXT#@host-1.example"},
		{"2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"},
		{"http://127.0.0.1:99/v1.0/auditLogs/signIns?$skiptoken=zz", "https://graph.microsoft.com/v1.0/auditLogs/signIns?%24skiptoken=text-2"},
		{"#microsoft.graph.user", "#microsoft.graph.user"},
		{"Your tenant 7 is not licensed for this", "… not licensed …"},
		{"Tenant-X", "tenant-y"},
		{"True", "True"},
		{"5012", "9001"},
	} {
		if got := a.text(test.in); got != test.want {
			t.Errorf("%s: %s, want %s", test.in, got, test.want)
		}
	}
}
