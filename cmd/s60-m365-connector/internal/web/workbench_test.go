package web

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
	"github.com/secure60/s60-m365-connector/mappings"
)

// bench serves the workbench over a folder of definitions.
func bench(t *testing.T, files map[string]string) (h http.Handler, dir string) {
	t.Helper()
	dir = testkit.Folder(t, files)
	s, err := settings.Read(map[string]string{"CONFIG_DIR": dir}, true)
	if err != nil {
		t.Fatal(err)
	}
	defs, problems := definitions.Load(s, dir)
	if defs == nil {
		t.Fatal(problems)
	}
	p := &pages{status: pageStatus, defs: defs, set: s, busy: make(chan struct{}, atOnce)}
	mux := http.NewServeMux()
	p.route(mux)
	return mux, dir
}

// filled is the form with these fields.
func filled(fields map[string]string) *http.Request {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for name, value := range fields {
		w.WriteField(name, value) //nolint:errcheck // it writes to memory
	}
	w.Close()
	r := httptest.NewRequest("POST", "http://127.0.0.1:8080/workbench", &body)
	r.Header.Set("Content-Type", w.FormDataContentType())
	return r
}

const doors = `name: door-log
fields:
  timestamp: time(event_opened_at)
  operation: '"door-open"'
  user_name: lower(event_badge_owner)
  message_text: words(user_name, "opened", event_door_label)
`

// A mapping that would keep a processor busy for minutes is given up, and what nobody waits for is not begun.
func TestWorkbenchIsBounded(t *testing.T) {
	large := `{"id": "c2", "riskDetail": "` + strings.Repeat("ab ", 100_000) + `"}`
	for name, expression := range map[string]string{
		"loops":    `any(1..100000, any(1..100000, # == -%d)) ? 1 : 0`,
		"patterns": `event_riskDetail matches "(a|b)+[cd]%d" ? "a" : "b"`,
		"texts":    `len(filter(1..90000, event_riskDetail contains "x%d"))`,
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := bench(t, nil)
			var yaml strings.Builder
			yaml.WriteString("name: entra-risky-user\nextends: entra-risky-user\nfields:\n")
			for i := 0; yaml.Len() < workbenchYAML-100; i++ {
				fmt.Fprintf(&yaml, "  f%d: '"+expression+"'\n", i, i)
			}
			begun := time.Now()
			shows(t, h, filled(map[string]string{"record": large, "of": "entra-risky-user", "yaml": yaml.String()}), 200, []string{"there was no time left for it"}, nil)
			t.Logf("%d bytes of mapping: %s", yaml.Len(), time.Since(begun).Round(time.Millisecond))
		})
	}
	t.Run("stale", func(t *testing.T) {
		p := &pages{status: pageStatus, defs: shippedDefinitions(), set: processSettings(t), busy: make(chan struct{}, atOnce)}
		mux := http.NewServeMux()
		p.route(mux)
		p.busy <- struct{}{} // one is at work
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begun := time.Now()
		if _, body := fetch(mux, filled(map[string]string{"record": signin}).WithContext(ctx)); body != "" || time.Since(begun) > benchWait {
			t.Errorf("after %s: %s", time.Since(begun), body)
		}
		shows(t, mux, filled(map[string]string{"record": signin}), 503, []string{"The workbench is busy"}, nil)
	})
}

func TestWorkbenchAsAnEditor(t *testing.T) {
	h, _ := bench(t, map[string]string{
		"mappings/door-log.yaml":          doors,
		"mappings/colours.yaml":           "name: colours\ntables:\n  of: {a: b}\n",
		"mappings/part.yaml":              "name: part\nfields: {user_name: door_owner}\n", // of a mapping that has door_owner
		"golden/door-log/open-vault.json": `{"opened_at": "2026-03-01T10:00:00Z", "door_label": "vault", "badge_owner": "Ann"}`,
		"mappings/entra-signin.yaml":      "name: entra-signin\nextends: entra-signin\nfields: {source_severity: '\"high\"'}\n",
	})
	edit := "name: entra-risky-user\nextends: entra-risky-user\nfields: {user_name: '\"somebody\"'}\n"
	risky := `{"id": "c2", "riskLevel": "medium", "riskState": "atRisk", "riskDetail": "none", "riskLastUpdatedDateTime": "2026-03-01T01:02:03Z", "userDisplayName": "Al", "userPrincipalName": "Al@fabrikam.example"}`
	for name, test := range map[string]struct {
		fields map[string]string
		code   int
		want   []string
		not    []string
	}{
		"guessed": {map[string]string{"record": signin}, 200, []string{"By its fields a record of entra-signin", `id="of" value="entra-signin"`, "extends: entra-signin", `<option value="" selected>`,
			"What differs from the shipped mapping", `<td class="got is">high</td>`, `<th scope="row">source_name</th>`, `entra-signins</td>`}, nil},
		"one's own is guessed": {map[string]string{"record": `{"opened_at": "2026-03-01T10:00:00Z", "door_label": "vault", "badge_owner": "Ann", "x": 1}`}, 200,
			[]string{"By its fields a record of door-log", "ann opened vault", `<option value="door-log/own/open-vault">open-vault (yours)`}, []string{"What differs", ">colours<"}},
		"fits none":          {map[string]string{"record": `{"zig": 1, "zag": {"x": 2}}`}, 422, []string{"The record fits none of the mappings", "new feed"}, []string{`class="panel event"`}},
		"looks like another": {map[string]string{"record": risky, "mapping": "intune-audit"}, 200, []string{"does not look like one of intune-audit", "It looks like one of entra-risky-user"}, nil},
		"changed": {map[string]string{"record": risky, "of": "entra-risky-user", "yaml": edit}, 200,
			[]string{"What differs from the shipped mapping", `<th scope="row">user_name</th><td class="got was">al@fabrikam.example</td><td class="got is">somebody</td>`, "mappings/entra-risky-user.yaml:3:22"}, nil},
		"the same": {map[string]string{"record": risky, "of": "entra-risky-user", "yaml": edit[:strings.Index(edit, "fields")] + "# nothing yet\n"}, 200, []string{"As the shipped mapping gives it."}, []string{"What differs"}},
		"what was typed stays for another record": {map[string]string{"record": signin, "of": "entra-risky-user", "yaml": edit}, 200, []string{"somebody"}, nil},
		"another mapping is chosen":               {map[string]string{"record": signin, "of": "entra-risky-user", "mapping": "entra-signin", "yaml": edit}, 200, []string{`id="of" value="entra-signin"`}, []string{"somebody"}},
		"wrong": {map[string]string{"record": risky, "of": "entra-risky-user", "yaml": "name: entra-risky-user\nextends: entra-risky-user\nfields:\n  user_name: lowr(event_userPrincipalName)\nfeilds: {}\n"}, 200,
			[]string{`data-line="4" data-column="14"`, "unknown function lowr", "^^^^", `data-line="5" data-column="1"`}, []string{`class="panel event"`}},
		"nearly a name": {map[string]string{"record": risky, "of": "entra-risky-user", "yaml": "name: entra-risky-user\nextends: entra-risky-user\nfields: {user_name: event_userPrincipalname}\n"}, 200,
			[]string{"did you mean event_userPrincipalName", "problem careful", `class="panel event"`}, nil},
		"an example":        {map[string]string{"do": "example", "example": "entra-risky-user/shipped/" + mappings.Examples("entra-risky-user")[0].Name}, 200, []string{`id="of" value="entra-risky-user"`, "riskLastUpdatedDateTime"}, nil},
		"one's own example": {map[string]string{"do": "example", "example": "door-log/own/open-vault", "mapping": "door-log"}, 200, []string{"ann opened vault"}, nil},
		"a part of others":  {map[string]string{"record": risky, "mapping": "part"}, 422, []string{"choose one of the list"}, nil},
		"no such example":   {map[string]string{"do": "example", "example": "door-log/own/../../mappings/door-log"}, 422, []string{"There is no record"}, nil},
		"too long":          {map[string]string{"record": risky, "of": "entra-risky-user", "yaml": strings.Repeat("#", workbenchYAML+1)}, 422, []string{"is longer than"}, nil},
		"held back":         {map[string]string{"record": risky, "of": "entra-risky-user", "yaml": "name: entra-risky-user\nextends: entra-risky-user\ndrop: [{as: all-of-it, when: 'true'}]\n"}, 200, []string{"the rule all-of-it holds it back"}, nil},
		"hostile": {map[string]string{"record": risky, "of": "entra-risky-user", "yaml": "name: entra-risky-user\n</textarea><script>alert(1)</script>: 1\n", "case": `"><b>x`}, 200,
			[]string{"&lt;/textarea&gt;&lt;script&gt;"}, []string{"<script>alert", `"><b>x`}},
	} {
		t.Run(name, func(t *testing.T) {
			shows(t, h, filled(test.fields), test.code, test.want, test.not)
		})
	}
	_, body := fetch(h, httptest.NewRequest("GET", "/workbench?mapping=door-log", nil))
	if _, first := fetch(h, httptest.NewRequest("GET", "/workbench", nil)); !strings.Contains(first, `<option value="entra-signin/shipped/`) {
		t.Errorf("no example can be taken before there is a record:\n%s", first)
	}
	if strings.Contains(body, "<option>colours</option>") || strings.Contains(body, "<option>part</option>") || !strings.Contains(body, "<option selected>door-log</option>") || !strings.Contains(body, "time(event_opened_at)") {
		t.Errorf("a library is offered, or the text of one's own is not there:\n%s", body)
	}
}

// What is downloaded passes test, unpacked in the folder of definitions.
func TestWorkbenchCase(t *testing.T) {
	h, dir := bench(t, nil)
	record := `{"id": "c2", "riskLevel": "medium", "riskState": "atRisk", "riskDetail": "none", "userDisplayName": "Al", "userPrincipalName": "Al@fabrikam.example"}`
	edit := "name: entra-risky-user\nextends: entra-risky-user\nfields: {user_name: '\"somebody\"'}\n"
	response, body := fetch(h, filled(map[string]string{"record": record + record, "of": "entra-risky-user", "yaml": edit, "case": "no-time", "do": "case"}))
	if response.StatusCode != 200 || response.Header.Get("Content-Disposition") != `attachment; filename="entra-risky-user-no-time.zip"` {
		t.Fatalf("HTTP %d %v", response.StatusCode, response.Header)
	}
	archive, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range archive.File {
		names = append(names, f.Name)
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(names, " "); got != "golden/entra-risky-user/no-time.json golden/entra-risky-user/no-time.golden.json golden/entra-risky-user/no-time-2.json golden/entra-risky-user/no-time-2.golden.json mappings/entra-risky-user.yaml" {
		t.Errorf("it holds %s", got)
	}
	event, err := os.ReadFile(filepath.Join(dir, "golden/entra-risky-user/no-time.golden.json"))
	if err != nil || !bytes.Contains(event, []byte(`"user_name": "somebody"`)) || !bytes.Contains(event, []byte(`"timestamp": "2026-03-01T12:00:00Z"`)) {
		t.Errorf("%v\n%s", err, event)
	}
	for fields, want := range map[string]string{"../x": "is no name for a case", "ok": "has problems"} {
		form := map[string]string{"record": record, "of": "entra-risky-user", "yaml": edit + "wrong: 1\n", "case": fields, "do": "case"}
		if fields != "ok" {
			form["yaml"] = edit
		}
		if response, body := fetch(h, filled(form)); response.StatusCode != 422 || !strings.Contains(body, want) {
			t.Errorf("%s: HTTP %d\n%s", fields, response.StatusCode, body)
		}
	}
}

// benchForm is the workbench's form, filled in.
func benchForm(mapping, record string) *http.Request {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	w.WriteField("mapping", mapping) //nolint:errcheck // it writes to memory
	w.WriteField("record", record)   //nolint:errcheck
	w.Close()
	r := httptest.NewRequest("POST", "http://127.0.0.1:8080/workbench", &body)
	r.Header.Set("Content-Type", w.FormDataContentType())
	return r
}

const signin = `{"id": "a1", "createdDateTime": "2026-03-01T10:00:00Z", "userPrincipalName": "Ann@tenant.example", "ipAddress": "203.0.113.7", "status": {"errorCode": 50126}}`

func TestWorkbench(t *testing.T) {
	h := testPages(t, pageStatus)
	tests := map[string]struct {
		request *http.Request
		code    int
		want    []string
		not     []string
	}{
		"a record": {benchForm("entra-signin", signin), 200, []string{
			`<th scope="row">user_name</th>`, "ann@tenant.example", "mappings/entra-signin.yaml:", "<code>", "203.0.113.7",
			`<option selected>entra-signin</option>`, "Fields of the record", `&#34;userPrincipalName&#34;`,
		}, []string{"Event 1"}},
		"several": {benchForm("entra-signin", signin+"\n"+signin), 200, []string{"Event 1", "Event 2"}, []string{"There are more"}},
		"a list, bounded": {benchForm("entra-signin", "["+strings.Repeat(signin+",", 24)+signin+"]"), 200,
			[]string{"There are more records; the first 20"}, []string{"Event 21"}},
		"hostile": {benchForm("entra-signin", `{"id": "</textarea><script>alert(1)</script>", "userPrincipalName": "<img src=x onerror=alert(2)>", "<b>k": "'\" onmouseover=alert(3)"}`), 200,
			[]string{"&lt;/textarea&gt;&lt;script&gt;", "&lt;img src=x"}, []string{"<script>alert", "<img src=x", "<b>k", `" onmouseover`}},
		"not JSON":        {benchForm("entra-signin", `{"id": `), 422, []string{"not JSON", "{&#34;id&#34;: "}, nil},
		"nothing":         {benchForm("entra-signin", "  "), 422, []string{"There is no record"}, nil},
		"unknown mapping": {benchForm("<b>no", signin), 422, []string{"There is no mapping &#34;&lt;b&gt;no&#34;"}, []string{"<b>no"}},
		"too much":        {benchForm("entra-signin", strings.Repeat(" ", workbenchBytes)+signin), 413, []string{"more than 1 MiB"}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			shows(t, h, test.request, test.code, test.want, test.not)
		})
	}
	t.Run("a plain form", func(t *testing.T) {
		r := httptest.NewRequest("POST", "/workbench", strings.NewReader(url.Values{"mapping": {"entra-signin"}, "record": {signin}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if response, body := fetch(h, r); response.StatusCode != 200 || !strings.Contains(body, "ann@tenant.example") {
			t.Errorf("HTTP %d %s", response.StatusCode, body)
		}
	})
	t.Run("of another site", func(t *testing.T) {
		for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
			r := benchForm("entra-signin", signin)
			r.Header.Set(name, value)
			if response, body := fetch(h, r); response.StatusCode != http.StatusForbidden || strings.Contains(body, "ann@") {
				t.Errorf("%s: %s: HTTP %d", name, value, response.StatusCode)
			}
		}
		r := benchForm("entra-signin", signin)
		r.Header.Set("Origin", "http://127.0.0.1:8080")
		if response, _ := fetch(h, r); response.StatusCode != http.StatusOK {
			t.Errorf("the page's own form: HTTP %d", response.StatusCode)
		}
	})
}

// TestEveryMappingOnTheWorkbench: each takes a record that is not of its kind.
func TestEveryMappingOnTheWorkbench(t *testing.T) {
	if testing.Short() {
		t.Skip("each mapping, one after the other")
	}
	h := testPages(t, pageStatus)
	_, body := fetch(h, httptest.NewRequest("GET", "/workbench", nil))
	options := regexp.MustCompile(`<option(?: selected)?>([^<]*)</option>`).FindAllStringSubmatch(body, -1)
	if len(options) < 5 {
		t.Fatalf("%d mappings to choose from", len(options))
	}
	for _, option := range options {
		if response, body := fetch(h, benchForm(option[1], `{"a": {"b": [1, null, "x"]}}`)); response.StatusCode != 200 || !strings.Contains(body, "event_a_b") {
			t.Errorf("%s: HTTP %d", option[1], response.StatusCode)
		}
	}
}
