//go:build ignore

// Bench measures what docs/performance.md tells, and prints it as one table:
// each design next to those that it is compared with, measured in the same run. It
// takes a few minutes. Rates depend on what else the machine does; the ratios
// within one run, the processor time and the memory hardly do.
//
//	go run .ci/bench.go
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// part is one call of go test, and what of it is told.
type part struct {
	title string
	args  []string
	units []string // in the order of the columns
}

var parts = []part{
	{"one record to one event, on one core (scan: gjson.ValidBytes over the same records)",
		[]string{"-bench", "Mapping", "-benchtime", "1s", "-cpu", "1", "./engine/transform"},
		[]string{"records/s", "ns/op", "allocs/op", "scan-ratio"}},
	{"events to a destination over loopback, next to a bare Go client that sends the same bodies",
		[]string{"-bench", "Deliver/(object|array|ndjson)(-bare)?$", "-benchtime", "1s", "./engine/load"},
		[]string{"events/s", "ns/op", "allocs/op"}},
	{"the state, with a million keys in it; make it 21 million with -bench-keys",
		[]string{"-bench", "Commit$|Seen|Open", "-benchtime", "200x", "./engine/checkpoint", "-bench-keys", "1000000"},
		[]string{"ns/op", "cpu-ns/op"}},
	{"the binary, from exec to its first request, 700,000 keys in the state",
		[]string{"-bench", "Start$", "-benchtime", "10x", "./cmd/s60-m365-connector"},
		[]string{"ms-to-first-request"}},
	{"the binary, first catch-up, the simulator in another process on the same cores",
		[]string{"-bench", "EndToEnd", "-benchtime", "1x", "./cmd/s60-m365-connector", "-endtoend.records", "300000"},
		[]string{"records/s", "cpu-s/Mrecords", "peak-MiB"}},
	{"the binary, a normal tenant: 100,000 records to catch up with, then rounds; 700,000 keys in the state",
		[]string{"-bench", "Tenant", "-benchtime", "1x", "./cmd/s60-m365-connector"},
		[]string{"peak-MiB", "resident-MiB"}},
}

func main() {
	fmt.Printf("%s, %d processors, %s/%s\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	failed := false
	for _, p := range parts {
		fmt.Printf("\n%s\n\n| | %s |\n|---|%s\n", p.title, strings.Join(p.units, " | "), strings.Repeat("--:|", len(p.units)))
		var out bytes.Buffer
		test := exec.Command("go", append([]string{"test", "-run", "^$", "-benchmem"}, p.args...)...)
		test.Stdout, test.Stderr = &out, &out
		err := test.Run()
		for lines := bufio.NewScanner(bytes.NewReader(out.Bytes())); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
				continue
			}
			values := map[string]string{}
			for i := 2; i+1 < len(fields); i += 2 {
				values[fields[i+1]] = fields[i]
			}
			row := "| " + strings.TrimPrefix(fields[0], "Benchmark") + " |"
			for _, unit := range p.units {
				row += " " + values[unit] + " |"
			}
			fmt.Println(row)
		}
		if err != nil {
			failed = true
			fmt.Printf("\n%v:\n%s", err, out.String())
		}
	}
	if failed {
		os.Exit(1)
	}
}
