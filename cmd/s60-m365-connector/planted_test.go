package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/testkit"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// planted is in every text of every record; around it stands what encodings change.
const planted = "zq7plantedsecret"

const plantedText = "\"<é>&/+ " + planted + " 4711"

// plantedForms are what is searched for: the secret as it is, which is also how URLs and JSON have it, in
// three alignments of base64, in hex, as UTF-16 escapes, and backwards is nobody's way to write.
var plantedForms = func() (forms []string) {
	forms = append(forms, planted, strings.ToUpper(planted), hex.EncodeToString([]byte(planted)), strings.ToUpper(hex.EncodeToString([]byte(planted))))
	for before := range 3 {
		whole := base64.RawStdEncoding.EncodeToString([]byte("xx"[:before%3] + planted))
		from := []int{0, 2, 3}[before] // what the bytes before it have a part in
		forms = append(forms, whole[from:len(whole)-3])
	}
	var escaped, percent strings.Builder
	for _, c := range planted {
		fmt.Fprintf(&escaped, `\u%04x`, c)
		fmt.Fprintf(&percent, "%%%02x", c)
	}
	return append(forms, escaped.String(), percent.String(), strings.ToUpper(percent.String()))
}()

// openMembers are those that say what kind of record it is: with a secret in them, none would be mapped as what
// it is.
var openMembers = []string{"Name", "name", "Key", "key", "Operation", "Workload", "RecordType", "@odata.type", "activityDisplayName", "operationName", "category", "ActionType", "TableName", "ResultStatus",
	"AzureActiveDirectoryEventType", "riskState", "riskEventType", "status", "severity", "provisioningAction", "activityOperationType"}

// plantIn puts the secret into every text of a value, also within JSON that is a text.
func plantIn(v any) any {
	switch v := v.(type) {
	case string:
		var inner any
		if strings.HasPrefix(v, "{") || strings.HasPrefix(v, "[") {
			if json.Unmarshal([]byte(v), &inner) == nil {
				text, err := json.Marshal(plantIn(inner))
				if err == nil {
					return string(text)
				}
			}
		}
		if len(v) > 10 && v[4] == '-' && v[7] == '-' { // a time
			return v
		}
		return plantedText + v
	case []any:
		for i := range v {
			v[i] = plantIn(v[i])
		}
	case map[string]any:
		for name := range v {
			if !slices.Contains(openMembers, name) {
				v[name] = plantIn(v[name])
			}
		}
	}
	return v
}

// plantation is a service whose records are full of secrets, and a destination that keeps what it gets.
type plantation struct {
	records map[string][]json.RawMessage // by mapping

	mu       sync.Mutex
	got      bytes.Buffer
	listed   map[string]int // records, by mapping: how often
	rounds   int            // of the snapshot
	poisoned int
}

func (p *plantation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	answer := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v) //nolint:errcheck // it is gone
	}
	secret := func(more string) string { return plantedText + more }
	kind, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch kind {
	case "planted": // what came is listed once more, and is known; more often it would only take time
		list := []json.RawMessage{}
		if p.listed[name]++; p.listed[name] <= 2 || !p.came(name) {
			list = p.records[name]
		}
		answer(map[string]any{"value": list})
	case "snapshot": // what is listed changes twice, and is gone
		p.rounds++
		list := []any{map[string]any{"id": secret("id"), "owner": secret(fmt.Sprint(p.rounds)), "list": []any{map[string]any{"v": secret(fmt.Sprint(p.rounds))}}, "n": 1}}
		if p.rounds > 2 {
			list = []any{}
		}
		answer(map[string]any{"value": list})
	case "delta":
		answer(map[string]any{"value": []any{map[string]any{"id": secret("id"), "v": secret("")}}, "@odata.deltaLink": "http://" + r.Host + "/delta/x?$deltatoken=1"})
	case "items":
		answer(map[string]any{"value": []any{map[string]any{"uri": "http://" + r.Host + "/blob/1", "at": time.Now().UTC().Format(time.RFC3339), "item": "1"}}})
	case "blob":
		answer(p.records["o365-management"][:20])
	case "damaged":
		fmt.Fprintf(w, `{"value":[{"plantKey":"d1","a":%[1]q "b":1},{"plantKey":"d2","a":%[1]q}, {"plantKey":"d3","a":%[1]q,}]}`, planted)
	case "keyless":
		answer(map[string]any{"value": []any{map[string]any{"other": secret("")}, map[string]any{"other": secret("2")}}})
	case "elsewhere":
		answer(map[string]any{"data": []any{map[string]any{"plantKey": secret("")}}})
	case "ingest":
		body, _ := io.ReadAll(r.Body) // what there is of it
		if bytes.Contains(body, []byte(`"event_plantKey":"k-13"`)) {
			p.poisoned++
			http.Error(w, "no such field: "+string(body), http.StatusBadRequest)
			return
		}
		p.got.Write(body)
		p.got.WriteByte('\n')
	default: // the token
		answer(map[string]any{"token_type": "Bearer", "expires_in": 3600, "access_token": "of-a-test"})
	}
}

// came says whether records of a mapping have come.
func (p *plantation) came(mapping string) bool {
	return bytes.Contains(p.got.Bytes(), []byte(`"source_name":"planted-`+mapping+`"`))
}

// done says whether everything has come that is to come.
func (p *plantation) done() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.records {
		if !p.came(name) {
			return false
		}
	}
	for _, sign := range []string{`"event_change":"removed"`, `"source_name":"a-delta"`, `"source_name":"a-blob"`, `"event_changed":`} {
		if !bytes.Contains(p.got.Bytes(), []byte(sign)) {
			return false
		}
	}
	return p.poisoned > 0
}

// goldenRecords are the records of the golden cases, by mapping, with secrets and a key of their own.
func goldenRecords(t *testing.T, defs *definitions.Compiled) (records map[string][]json.RawMessage, first map[string]string) {
	t.Helper()
	records, first = map[string][]json.RawMessage{}, map[string]string{}
	files, err := filepath.Glob(filepath.Join(testkit.Root(t), "golden", "*", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		mapping, one := filepath.Base(filepath.Dir(file)), filepath.Base(file)
		if defs.Mappings[mapping] == nil || strings.HasSuffix(file, definitions.GoldenSuffix) || one == "hostile.json" || one == "other-shapes.json" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		var v map[string]any
		if d.Decode(&v) != nil {
			continue
		}
		v = plantIn(v).(map[string]any)
		v["plantKey"] = fmt.Sprintf("k-%d", len(records[mapping]))
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		records[mapping] = append(records[mapping], raw)
		first[mapping] = string(raw)
	}
	return records, first
}

// secretFields are the fields of the record in which events of a mapping have the secret.
func secretFields(t *testing.T, m *transform.Mapping, records []json.RawMessage) []string {
	t.Helper()
	found := map[string]bool{}
	mapper := m.NewMapper()
	for _, raw := range records {
		event, _ := mapper.Append(nil, raw)
		var fields map[string]any
		if err := json.Unmarshal(event, &fields); err != nil {
			t.Fatal(err)
		}
		for name, value := range fields {
			if strings.HasPrefix(name, "event_") && strings.Contains(fmt.Sprint(value), planted) {
				found[name] = true
			}
		}
	}
	var list []string
	for name := range found {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// TestPlantedRecords plants a secret in every text of the records of every family, redacts the fields that
// have it, and searches everything that the program writes, shows and keeps, in every form.
func TestPlantedRecords(t *testing.T) {
	startsTheProgram(t)
	s, err := settings.Read(map[string]string{"OUTPUT": "-", "TENANT_ID": "11111111-2222-4333-8444-555555555555", "CLIENT_ID": "11111111-2222-4333-8444-666666666666", "CLIENT_SECRET": "of-a-test"}, false)
	if err != nil {
		t.Fatal(err)
	}
	defs, problems := definitions.Load(s, t.TempDir())
	if defs == nil {
		t.Fatal(problems)
	}
	p := &plantation{listed: map[string]int{}}
	var first map[string]string
	p.records, first = goldenRecords(t, defs)
	if len(p.records) < 10 {
		t.Fatalf("records of %d mappings", len(p.records))
	}
	server := httptest.NewServer(p)
	defer server.Close()

	files := map[string]string{"key": "a key that is long enough to be one", "mappings/all.yaml": "name: all\nredact:\n  - {fields: [event_id, event_owner, event_list, event_v, event_other, event_a], when: 'event_n != 2', with: mask}\nfields:\n  message_text: words(\"it is\", event_owner, event_before_owner)\n"}
	ways := []string{"remove", "mask", "pseudonym"}
	for mapping, records := range p.records {
		rules := make([][]string, len(ways))
		for i, name := range secretFields(t, defs.Mappings[mapping](), records) {
			rules[i%len(ways)] = append(rules[i%len(ways)], name)
		}
		text := fmt.Sprintf("name: %[1]s\nextends: %[1]s\nredact:\n", mapping)
		for i, with := range ways {
			when := ""
			if i == 1 {
				when = "when: 'event_plantKey startsWith \"k\"', "
			}
			if len(rules[i]) > 0 {
				text += fmt.Sprintf("  - {fields: [%s], %swith: %s}\n", strings.Join(rules[i], ", "), when, with)
			}
		}
		files["mappings/"+mapping+".yaml"] = text
		files["feeds/planted-"+mapping+".yaml"] = plantedFeed("planted-"+mapping, mapping, "planted/"+mapping, "")
	}
	files["feeds/a-snapshot.yaml"] = plantedFeed("a-snapshot", "all", "snapshot/x", "snapshot: {id: id}")
	files["feeds/a-delta.yaml"] = plantedFeed("a-delta", "all", "delta/x", "key: id")
	files["feeds/a-blob.yaml"] = plantedFeed("a-blob", "o365-management", "items/x", "cursor: {field: at}\nexpand: {url: uri, key: item, records: \"@this\"}\nkey: plantKey\nwindow: {max: 24h, overlap: 1h, retention: 7d}")
	for _, odd := range []string{"damaged", "keyless", "elsewhere"} {
		files["feeds/"+odd+".yaml"] = plantedFeed(odd, "all", odd+"/x", "")
	}
	config := testkit.Folder(t, files)
	listen, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	w := newWritten(t)
	env := append(os.Environ(), "STATE_DIR="+w.state, "CONFIG_DIR="+config, "LISTEN_ADDR="+listen, "LOG_LEVEL=DEBUG", "POLLING_INTERVAL_MINUTES=0.03", "ENABLE_GRAPH=false", "ENABLE_MGMT_ACTIVITY=false",
		"TENANT_ID=11111111-2222-4333-8444-555555555555", "CLIENT_ID=11111111-2222-4333-8444-666666666666", "CLIENT_SECRET=of-a-test", "PROJECT_ID=1", "TOKEN=of-a-test", "DELIVERY_FORMAT=ndjson",
		"PSEUDONYM_KEY_FILE="+filepath.Join(config, "key"), "MS_LOGIN_BASE="+server.URL+"/login", "MS_GRAPH_BASE="+server.URL, "S60_INGEST_BASE="+server.URL, "GOTRACEBACK=all")
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(program.Name, args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = env, &w.out, &w.out
		return cmd
	}
	began := time.Now()
	run := command("run")
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !p.done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			run.Process.Kill() //nolint:errcheck // it has ended
			t.Fatalf("not everything came\n%.20000s", w.out.String())
		}
	}
	var pages bytes.Buffer
	textarea := regexp.MustCompile(`(?s)<textarea.*?</textarea>`) // holds what somebody has just pasted into it
	for _, path := range []string{"/", "/metrics", "/status.json", "/ledger.json", "/healthz", "/workbench"} {
		pages.WriteString(fetched(t, func() (*http.Response, error) { return http.Get("http://" + listen + path) }))
	}
	for i, mapping := range slices.Sorted(maps.Keys(first)) {
		if i%4 > 0 {
			continue // the workbench redacts all in one way
		}
		form := url.Values{"mapping": {mapping}, "record": {first[mapping]}}
		text := fetched(t, func() (*http.Response, error) { return http.PostForm("http://"+listen+"/workbench", form) })
		if !strings.Contains(text, "event_plantKey") {
			t.Errorf("the workbench shows no event of %s", mapping)
		}
		pages.WriteString(textarea.ReplaceAllString(text, ""))
	}
	t.Logf("everything came and was shown after %v", time.Since(began))
	run.Process.Signal(syscall.SIGQUIT) //nolint:errcheck // it has ended
	run.Wait()                          //nolint:errcheck // it fails: that was a crash, with the stacks of all goroutines
	if !strings.Contains(w.out.String(), "goroutine ") {
		t.Error("no goroutines were shown")
	}
	env = append(env, "LISTEN_ADDR=")
	var commands sync.WaitGroup
	also := func(stdin string, args ...string) {
		cmd := command(args...)
		cmd.Stdin = strings.NewReader(stdin)
		commands.Go(func() { cmd.Run() }) //nolint:errcheck // some report what is wrong
	}
	for _, args := range [][]string{{"feeds", "--ledger"}, {"feeds", "--json"}, {"try", "planted-entra-signin"}, {"try", "planted-o365-management", "--records", "20"}, {"replay"}} {
		also("", args...)
	}
	also(first["o365-management"], "map", "--mapping", "o365-management", "--explain")
	also(first["entra-signin"], "map", "--mapping", "entra-signin", "--stats")
	commands.Wait()
	searched := 0
	search := func(where, text string) {
		searched += len(text)
		for _, form := range plantedForms {
			if i := strings.Index(text, form); i >= 0 {
				t.Errorf("%s holds %q: …%s…", where, form, text[max(0, i-300):min(len(text), i+100)])
				return
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	search("the destination", p.got.String())
	search("the output", w.out.String())
	search("a page", pages.String())
	search("a file of the state", stateFiles(t, w.state))
	search("the state", stateValues(t, filepath.Join(w.state, "state")))
	for _, met := range []string{"the record is no JSON", "refused events for good", "k-13", "dead letter"} {
		if !strings.Contains(w.out.String()+stateFiles(t, w.state), met) {
			t.Errorf("the run did not meet %q: this test shows nothing about it", met)
		}
	}
	t.Logf("searched %d bytes", searched)
}

// plantedFeed is a feed of the plantation.
func plantedFeed(name, mapping, path, rest string) string {
	query := ""
	paging := "paging: {style: odata}"
	switch {
	case strings.HasPrefix(rest, "snapshot"):
	case name == "a-delta":
		paging = "paging: {style: odata, delta: true}"
	default:
		query = ", query: {from: \"${window.from}\", to: \"${window.to}\"}"
	}
	if rest == "" {
		rest = "cursor: {field: at}\nkey: plantKey\nwindow: {max: 24h, overlap: 1h, retention: 7d}"
	}
	return fmt.Sprintf("name: %s\nenabled: \"true\"\nauth: {scope: \"${MS_GRAPH_BASE}/.default\"}\nrequest: {url: \"${MS_GRAPH_BASE}/%s\"%s}\n%s\nrecords: value\n%s\nmapping: %s\n", name, path, query, paging, rest, mapping)
}

// fetched is an answer of the program, with its headers. What a busy machine was too slow for is asked again.
func fetched(t *testing.T, get func() (*http.Response, error)) string {
	t.Helper()
	answer, err := get()
	for deadline := time.Now().Add(patience); err != nil && time.Now().Before(deadline); time.Sleep(time.Second) {
		answer, err = get()
	}
	if err != nil {
		t.Error(err)
		return ""
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || len(text) == 0 {
		t.Errorf("%s: %d bytes, %v", answer.Request.URL, len(text), err)
	}
	return fmt.Sprintf("\n%v %s\n", answer.Header, text)
}

// stateFiles is all that stands in a folder.
func stateFiles(t *testing.T, dir string) string {
	t.Helper()
	var all bytes.Buffer
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// stateValues are all keys and values of a state, which its files may hold compressed.
func stateValues(t *testing.T, dir string) string {
	t.Helper()
	db, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatTableFormatV6, ReadOnly: true, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	var text bytes.Buffer
	for ok := all.First(); ok; ok = all.Next() {
		text.Write(all.Key())
		text.Write(all.Value())
	}
	if text.Len() == 0 {
		t.Error("the state is empty")
	}
	return text.String()
}

// quiet says nothing of how a state is opened.
type quiet struct{}

func (quiet) Infof(string, ...any)              {}
func (quiet) Errorf(string, ...any)             {}
func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
