package setup

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jmespath/go-jmespath"
)

const (
	tenantURL = "SETUP_TEST_TENANT_URL" // where that tenant listens
	azLog     = "SETUP_TEST_AZ_LOG"     // takes one line for each call
	meantFor  = "X-Meant-For"           // the base that a call was for
)

// azureCLI answers for the az of a workplace the few commands that the script uses, with the options
// that the Azure CLI has, its JMESPath and its way to print tab-separated values, and passes `az rest` on
// to a tenant of the test.
type azureCLI struct {
	log    string // file of the calls
	tenant string // URL
	cloud  string
	login  string // id of the tenant that az is signed in to
}

// azScript hands its arguments to the test that waits at the port, and ends as it is told.
const azScript = `#!/usr/bin/env bash
exec 3<>/dev/tcp/127.0.0.1/%d
printf '%%s\0' $# "$@" >&3
IFS= read -r code <&3
IFS= read -r -d '' printed <&3
[ "$code" = 0 ] || exec >&2
printf %%s "$printed"
exit "$code"
`

// startAzureCLI puts az into a folder of the PATH.
func startAzureCLI(t *testing.T, folder string, a *azureCLI) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	if err := os.WriteFile(filepath.Join(folder, "az"), fmt.Appendf(nil, azScript, listener.Addr().(*net.TCPAddr).Port), 0o755); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // the test has ended
			}
			a.serve(connection)
		}
	}()
}

// serve answers one call: the number of arguments and each of them, a NUL behind each, then the exit code, a line, and what is printed.
func (a *azureCLI) serve(connection net.Conn) {
	defer connection.Close()
	r := bufio.NewReader(connection)
	text := func() string {
		text, _ := r.ReadString(0) // what broke off is a command that nobody knows
		return strings.TrimSuffix(text, "\x00")
	}
	count, _ := strconv.Atoi(text())
	args := make([]string, count)
	for i := range args {
		args[i] = text()
	}
	printed, err := a.call(args)
	if err != nil {
		fmt.Fprintf(connection, "1\nERROR: %v\n", err)
		return
	}
	fmt.Fprint(connection, "0\n"+printed)
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

func (a *azureCLI) call(args []string) (printed string, err error) {
	log, err := os.OpenFile(a.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	fmt.Fprintln(log, strings.Join(args, " "))
	log.Close()

	args = append(args, "", "")
	command := args[0]
	rest := args[1 : len(args)-2]
	if command != "rest" && command != "login" {
		command, rest = args[0]+" "+args[1], args[2:len(args)-2]
	}
	known, ok := azOptions[command]
	if !ok {
		return "", fmt.Errorf("'%s' is misspelled or not recognized by the system.", command)
	}
	options := map[string]string{}
	for len(rest) > 0 {
		takesValue, ok := known[rest[0]]
		if !ok || takesValue && len(rest) < 2 {
			return "", fmt.Errorf("unrecognized arguments: %s", rest[0])
		}
		options[rest[0]] = "true"
		if takesValue {
			options[rest[0]] = rest[1]
			rest = rest[1:]
		}
		rest = rest[1:]
	}

	switch command {
	case "cloud show":
		return azPrint(map[string]any{"name": cmp.Or(a.cloud, "AzureCloud")}, options)
	case "cloud set":
		a.cloud = options["--name"]
		return "", nil
	case "login":
		a.login = cmp.Or(options["--tenant"], "11111111-2222-4333-8444-555555555555")
		return "", nil
	case "account show":
		if a.login == "" {
			return "", errors.New("Please run 'az login' to setup account.")
		}
		return azPrint(map[string]any{"tenantId": a.login}, options)
	}
	return a.rest(options)
}

func (a *azureCLI) rest(options map[string]string) (printed string, err error) {
	target, err := url.Parse(options["--url"])
	if err != nil {
		return "", err
	}
	base := target.Scheme + "://" + target.Host
	if options["--resource"] != base {
		return "", fmt.Errorf("a token for %s would go to %s", options["--resource"], base)
	}
	request, err := http.NewRequest(strings.ToUpper(options["--method"]), a.tenant+target.RequestURI(), strings.NewReader(options["--body"]))
	if err != nil {
		return "", err
	}
	if options["--body"] != "" && options["--headers"] != "Content-Type=application/json" {
		return "", errors.New("a body without its type")
	}
	request.Header.Set(meantFor, base)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode >= 300 {
		return "", fmt.Errorf("%s(%s)", http.StatusText(response.StatusCode), strings.TrimSpace(string(body)))
	}
	if len(body) == 0 {
		return "", nil
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return "", err
	}
	return azPrint(value, options)
}

// azPrint prints as az does: nothing for null, else what --output asks for.
func azPrint(value any, options map[string]string) (printed string, err error) {
	if query := options["--query"]; query != "" {
		if value, err = jmespath.Search(query, value); err != nil {
			return "", fmt.Errorf("argument --query: invalid jmespath_type value: %s", query)
		}
	}
	if value == nil {
		return "", nil
	}
	if options["--output"] == "json" {
		text, err := json.MarshalIndent(value, "", "  ")
		return string(text) + "\n", err
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
		printed += strings.Join(texts, "\t") + "\n"
	}
	return printed, nil
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
		got, err := azPrint(value, map[string]string{"--query": test.query, "--output": "tsv"})
		if err != nil || got != test.want {
			t.Errorf("%s prints %q, %v, want %q", test.query, got, err, test.want)
		}
	}
}
