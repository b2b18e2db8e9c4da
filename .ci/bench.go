//go:build ignore

// Bench measures what docs/performance.md tells, and prints it as one table:
// each design next to those that it is compared with, measured in the same run. It
// takes a few minutes. Rates depend on what else the machine does; the ratios
// within one run, the processor time and the memory hardly do.
//
//	go run .ci/bench.go         (make bench)
//	go run .ci/bench.go -full   (make bench FULL=1): a million records, 20 million keys, a blob of 200 MB
package main

import (
	"bufio"
	"bytes"
	"flag"
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

// parts are the calls, with sizes that take a few minutes, or with the full ones.
func parts(full bool) []part {
	records, keys, remembered, blob := "200000", "1000000", "2000000", "50"
	if full {
		records, keys, remembered, blob = "1000000", "21000000", "20000000", "200"
	}
	const command = "./cmd/s60-m365-connector"
	return []part{
		{"one record to one event, on one core, 25 computed fields (scan-ratio: in relation to gjson.ValidBytes over the same records in the same run)",
			[]string{"-bench", "Mapping", "-benchtime", "1s", "-cpu", "1", "./engine/transform"},
			[]string{"records/s", "ns/op", "allocs/op", "scan-ratio"}},
		{"the same with the shipped mappings: the three kinds of record that tenants have most of, then all golden records of each mapping in turn",
			[]string{"-bench", "Shipped", "-benchtime", "0.5s", "-cpu", "1", "./golden"},
			[]string{"records/s", "cpu-ns/op", "allocs/op", "scan-ratio"}},
		{"compiling all shipped mappings",
			[]string{"-bench", "Compile$", "-benchtime", "10x", "-cpu", "1", "./golden"},
			[]string{"cpu-ms"}},
		{"events to a destination over loopback, next to a bare Go client that sends the same bodies",
			[]string{"-bench", "Deliver/(object|array|ndjson|nats|kafka)(-bare)?$", "-benchtime", "1s", "./engine/load"},
			[]string{"events/s", "ns/op", "allocs/op"}},
		{"the state, with " + keys + " keys in it",
			[]string{"-bench", "Commit$|Seen|Open", "-benchtime", "200x", "./engine/checkpoint", "-bench-keys", keys},
			[]string{"ns/op", "cpu-ns/op"}},
		{"the binary, from exec to its first request, 700,000 keys in the state",
			[]string{"-bench", "Start$", "-benchtime", "10x", command},
			[]string{"ms-to-first-request", "cpu-ms"}},
		{"the binary, first catch-up with " + records + " records, the simulator in another process on the same cores; then a bare client that sends the same bodies there",
			[]string{"-bench", "EndToEnd", "-benchtime", "1x", command, "-endtoend.records", records},
			[]string{"records/s", "bare/s", "cpu-s/Mrecords", "bare-cpu-s/M", "scans", "peak-MiB"}},
		{"the binary, a normal tenant: 100,000 records to catch up with, then rounds; 700,000 keys in the state",
			[]string{"-bench", "Tenant", "-benchtime", "1x", command},
			[]string{"records", "peak-MiB", "resident-MiB"}},
		{"the binary, where memory could grow",
			[]string{"-bench", "Flat", "-benchtime", "1x", command, "-endtoend.records", records, "-flat.keys", remembered, "-flat.blob", blob},
			[]string{"records", "peak-MiB", "resident-MiB"}},
	}
}

func main() {
	full := flag.Bool("full", false, "the full sizes, which take most of an hour")
	flag.Parse()
	fmt.Printf("%s, %d processors, %s/%s\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	failed := false
	for _, p := range parts(*full) {
		fmt.Printf("\n%s\n\n| | %s |\n|---|%s\n", p.title, strings.Join(p.units, " | "), strings.Repeat("--:|", len(p.units)))
		var out bytes.Buffer
		test := exec.Command("go", append([]string{"test", "-run", "^$", "-benchmem", "-timeout", "0"}, p.args...)...)
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
