package setup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jmespath/go-jmespath"
)

// The test binary is the script's az, too: under that name it answers the few
// commands that the script uses, with the options that the Azure CLI has, its
// JMESPath and its way to print tab-separated values, and passes `az rest` on
// to a tenant of the test.

const (
	tenantURL = "SETUP_TEST_TENANT_URL" // where that tenant listens
	loginFile = "SETUP_TEST_LOGIN"      // holds the id of the tenant that az is signed in to
	azLog     = "SETUP_TEST_AZ_LOG"     // takes one line for each call
	meantFor  = "X-Meant-For"           // the base that a call was for
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "az" {
		os.Exit(az(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// The options of each command: true where it takes a value.
var azOptions = map[string]map[string]bool{
	"cloud show":   {"--query": true, "--output": true, "--only-show-errors": false},
	"cloud set":    {"--name": true, "--only-show-errors": false},
	"account show": {"--query": true, "--output": true, "--only-show-errors": false},
	"login":        {"--allow-no-subscriptions": false, "--output": true, "--only-show-errors": false, "--tenant": true, "--use-device-code": false},
	"rest": {"--method": true, "--url": true, "--resource": true, "--query": true, "--output": true,
		"--only-show-errors": false, "--headers": true, "--body": true},
}

func az(args []string) int {
	log, err := os.OpenFile(os.Getenv(azLog), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return azFail(err.Error())
	}
	fmt.Fprintln(log, strings.Join(args, " "))
	log.Close()

	command := args[0]
	rest := args[1:]
	if command != "rest" && command != "login" {
		command, rest = args[0]+" "+args[1], args[2:]
	}
	known, ok := azOptions[command]
	if !ok {
		return azFail("'" + command + "' is misspelled or not recognized by the system.")
	}
	options := map[string]string{}
	for len(rest) > 0 {
		takesValue, ok := known[rest[0]]
		if !ok || takesValue && len(rest) < 2 {
			return azFail("unrecognized arguments: " + rest[0])
		}
		options[rest[0]] = "true"
		if takesValue {
			options[rest[0]] = rest[1]
			rest = rest[1:]
		}
		rest = rest[1:]
	}

	state := os.Getenv(loginFile)
	switch command {
	case "cloud show":
		name, err := os.ReadFile(state + ".cloud")
		if err != nil {
			name = []byte("AzureCloud")
		}
		return azPrint(map[string]any{"name": string(name)}, options)
	case "cloud set":
		return azSave(state+".cloud", options["--name"])
	case "login":
		tenant := options["--tenant"]
		if tenant == "" {
			tenant = "11111111-2222-4333-8444-555555555555"
		}
		return azSave(state, tenant)
	case "account show":
		tenant, err := os.ReadFile(state)
		if err != nil {
			return azFail("Please run 'az login' to setup account.")
		}
		return azPrint(map[string]any{"tenantId": string(tenant)}, options)
	}
	return azRest(options)
}

func azRest(options map[string]string) int {
	target, err := url.Parse(options["--url"])
	if err != nil {
		return azFail(err.Error())
	}
	base := target.Scheme + "://" + target.Host
	if options["--resource"] != base {
		return azFail("a token for " + options["--resource"] + " would go to " + base)
	}
	request, err := http.NewRequest(strings.ToUpper(options["--method"]), os.Getenv(tenantURL)+target.RequestURI(), strings.NewReader(options["--body"]))
	if err != nil {
		return azFail(err.Error())
	}
	if options["--body"] != "" && options["--headers"] != "Content-Type=application/json" {
		return azFail("a body without its type")
	}
	request.Header.Set(meantFor, base)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return azFail(err.Error())
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return azFail(err.Error())
	}
	if response.StatusCode >= 300 {
		return azFail(http.StatusText(response.StatusCode) + "(" + strings.TrimSpace(string(body)) + ")")
	}
	if len(body) == 0 {
		return 0
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return azFail(err.Error())
	}
	return azPrint(value, options)
}

func azFail(message string) int {
	fmt.Fprintln(os.Stderr, "ERROR: "+message)
	return 1
}

func azSave(file, text string) int {
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return azFail(err.Error())
	}
	return 0
}

// azPrint prints as az does: nothing for null, else what --output asks for.
func azPrint(value any, options map[string]string) int {
	if query := options["--query"]; query != "" {
		found, err := jmespath.Search(query, value)
		if err != nil {
			return azFail("argument --query: invalid jmespath_type value: " + query)
		}
		value = found
	}
	if value == nil {
		return 0
	}
	if options["--output"] == "json" {
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(value); err != nil {
			return azFail(err.Error())
		}
		fmt.Print(out.String())
		return 0
	}
	rows, isList := value.([]any)
	if !isList {
		rows = []any{value}
	}
	for _, row := range rows {
		cells, isList := row.([]any)
		if !isList {
			cells = []any{row}
		}
		var texts []string
		for _, cell := range cells {
			texts = append(texts, azCell(cell))
		}
		fmt.Println(strings.Join(texts, "\t"))
	}
	return 0
}

func azCell(value any) string {
	switch value := value.(type) {
	case nil:
		return "None"
	case string:
		return value
	case bool:
		return strconv.FormatBool(value)
	case []any:
		return strconv.Itoa(len(value))
	case map[string]any:
		return ""
	}
	return fmt.Sprint(value)
}

// The tab-separated form is what the script is written against.
func TestAzPrint(t *testing.T) {
	value := map[string]any{"a": []any{map[string]any{"x": "1", "y": nil}, map[string]any{"x": "2", "y": true}}}
	for _, test := range []struct {
		query, want string
	}{
		{"a[].[x,y]", "1\tNone\n2\ttrue\n"},
		{"a[0].x", "1\n"},
		{"b[0].x", ""},
		{"a[?x=='2'].x", "2\n"},
		{"a[?x=='3'].x", ""},
		{"[[a[0].x,a[1].x]]", "1\t2\n"},
	} {
		got := captureStdout(t, func() {
			if code := azPrint(value, map[string]string{"--query": test.query, "--output": "tsv"}); code != 0 {
				t.Errorf("%s: exit %d", test.query, code)
			}
		})
		if got != test.want {
			t.Errorf("%s prints %q, want %q", test.query, got, test.want)
		}
	}
}

func captureStdout(t *testing.T, do func()) string {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = write
	do()
	os.Stdout = stdout
	write.Close()
	data, err := io.ReadAll(read)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func readAzLog(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return slices.DeleteFunc(strings.Split(string(data), "\n"), func(line string) bool { return line == "" })
}
