package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// This file holds the commands of sessions that watch a connector, and that
// change the tenant under it.

// changeTenant changes what the tenant has: tenant roles A,B,… or
// tenant licence Free|P1|P2.
func changeTenant(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: tenant roles|licence VALUE")
	}
	sim := simulatorOf(ts)
	switch args[0] {
	case "roles":
		sim.SetRoles(strings.Split(args[1], ",")...)
	case "licence":
		ts.Check(sim.SetLicence(args[1]))
	default:
		ts.Fatalf("a tenant has no %s", args[0])
	}
}

// get asks LISTEN_ADDR until it answers with the status, and the body holds the
// text if one is given: get /readyz 200 FILE [TEXT]. The body goes to the file.
func get(ts *testscript.TestScript, neg bool, args []string) { ask(ts, http.Get, args) }

// postForm does the same with an empty form.
func postForm(ts *testscript.TestScript, neg bool, args []string) {
	ask(ts, func(url string) (*http.Response, error) { return http.PostForm(url, nil) }, args)
}

func ask(ts *testscript.TestScript, by func(url string) (*http.Response, error), args []string) {
	if len(args) != 3 && len(args) != 4 {
		ts.Fatalf("usage: get|post PATH STATUS FILE [TEXT]")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	text := append(args, "")[3]
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		response, err := by("http://" + ts.Getenv("LISTEN_ADDR") + args[0])
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		ts.Check(err)
		if response.StatusCode == want && bytes.Contains(body, []byte(text)) {
			ts.Check(os.WriteFile(ts.MkAbs(args[2]), body, 0o600))
			return
		}
		last = response.Status + "\n" + string(body)
	}
	ts.Fatalf("%s never answered %d with %q; the last answer: %s", args[0], want, text, last)
}
