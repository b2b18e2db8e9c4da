//go:build ignore

// Bench measures what docs/performance.md tells, and prints it as one table:
// each design next to those that it is compared with, measured in the same run. It
// takes a few minutes. Rates depend on what else the machine does; the ratios
// within one run, the processor time and the memory hardly do.
//
//	go run .ci/bench.go             (make bench)
//	go run .ci/bench.go -full       (make bench FULL=1): a million records, 20 million keys, a blob of 200 MB
//	go run .ci/bench.go -base REV   (make bench BASE=REV): each part of that commit too, right before; cells are old → new
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// part is one call of go test, and what of it is told.
type part struct {
	title string
	args  []string
	units []string // in the order of the columns
	lines string   // the lines of the output with this in them are told as they are, instead of a table
}

// parts are the calls, with sizes that take a few minutes, or with the full ones.
func parts(full bool) []part {
	records, keys, remembered, blob, network := "200000", "1000000", "2000000", "50", "60000"
	if full {
		records, keys, remembered, blob, network = "1000000", "21000000", "20000000", "200", "300000"
	}
	const command = "./cmd/s60-m365-connector"
	return []part{
		{title: "one record to one event, on one core, 25 computed fields (scan-ratio: in relation to gjson.ValidBytes over the same records in the same run)",
			args:  []string{"-bench", "Mapping", "-benchtime", "1s", "-cpu", "1", "./engine/transform"},
			units: []string{"records/s", "ns/op", "allocs/op", "scan-ratio"}},
		{title: "the same with the shipped mappings: the three kinds of record that tenants have most of, then all golden records of each mapping in turn",
			args:  []string{"-bench", "Shipped", "-benchtime", "0.5s", "-cpu", "1", "./golden"},
			units: []string{"records/s", "cpu-ns/op", "allocs/op", "scan-ratio"}},
		{title: "compiling all shipped mappings",
			args:  []string{"-bench", "Compile$", "-benchtime", "10x", "-cpu", "1", "./golden"},
			units: []string{"cpu-ms"}},
		{title: "events to a destination over loopback, next to a bare Go client that sends the same bodies",
			args:  []string{"-bench", "Deliver/(object|array|ndjson|nats|kafka)(-bare)?$", "-benchtime", "1s", "./engine/load"},
			units: []string{"events/s", "ns/op", "allocs/op"}},
		{title: "the state, with " + keys + " keys in it",
			args:  []string{"-bench", "Commit$|Seen|Open", "-benchtime", "200x", "./engine/checkpoint", "-bench-keys", keys},
			units: []string{"ns/op", "cpu-ns/op"}},
		{title: "the binary, from exec to its first request, 700,000 keys in the state",
			args:  []string{"-bench", "Start$", "-benchtime", "10x", command},
			units: []string{"ms-to-first-request", "cpu-ms"}},
		{title: "the binary, first catch-up with " + records + " records, the simulator in another process on the same cores; then a bare client that sends the same bodies there",
			args:  []string{"-bench", "EndToEnd", "-benchtime", "1x", command, "-endtoend.records", records},
			units: []string{"records/s", "bare/s", "cpu-s/Mrecords", "bare-cpu-s/M", "scans", "peak-MiB"}},
		{title: "the binary to a destination that is a round trip away, next to a bare client with 16 connections (as objects: as many as the connector came to have open) and a collector as people write them; connector-ratio: the connector's rate in relation to theirs",
			args:  []string{"-bench", "Network", "-benchtime", "1x", command, "-network.records", network},
			units: []string{"records/s", "connector-ratio", "cpu-s/Mrecords", "peak-MiB", "connections", "records/request"}},
		{title: "from listed to delivered, 20,000 sign-ins and as many audit records in two hours, in virtual time; first with the default interval, then with a minute",
			args:  []string{"-run", "^TestFresh$", "-v", command + "/internal/fleet", "-fresh.records", "20000"},
			lines: "freshness_test.go"},
		{title: "the binary, a normal tenant: 100,000 records to catch up with, then rounds; 700,000 keys in the state",
			args:  []string{"-bench", "Tenant", "-benchtime", "1x", command},
			units: []string{"records", "peak-MiB", "resident-MiB"}},
		{title: "the binary, where memory could grow",
			args:  []string{"-bench", "Flat", "-benchtime", "1x", command, "-endtoend.records", records, "-flat.keys", remembered, "-flat.blob", blob},
			units: []string{"records", "peak-MiB", "resident-MiB"}},
	}
}

func main() {
	full := flag.Bool("full", false, "the full sizes, which take most of an hour")
	base := flag.String("base", "", "a commit to compare with")
	flag.Parse()
	fmt.Printf("%s, %d processors, %s/%s\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	if err := bench(parts(*full), *base); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// bench measures the parts and prints them. Its error joins those of parts.
func bench(list []part, base string) (all error) {
	old := ""
	if base != "" {
		dir, err := os.MkdirTemp("", "bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		old = filepath.Join(dir, "old")
		if out, err := exec.Command("git", "worktree", "add", "--detach", old, base).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		defer exec.Command("git", "worktree", "remove", "--force", old).Run()
	}
	for _, p := range list {
		fmt.Printf("\n%s\n\n", p.title)
		var before []row
		if old != "" {
			before, _ = p.measure(old) // a benchmark that is new is not there
		}
		rows, err := p.measure(".")
		p.print(before, rows)
		if err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", p.title, err))
		}
	}
	return all
}

// row is a benchmark's: its name, and its values by their units. A line that is told as it is has no values.
type row struct {
	name   string
	values map[string]string
}

// measure runs a part in a tree.
func (p part) measure(dir string) (rows []row, err error) {
	args := append([]string{"test", "-benchmem", "-timeout", "0"}, p.args...)
	if p.lines == "" {
		args = append([]string{"test", "-run", "^$", "-benchmem", "-timeout", "0"}, p.args...)
	}
	test := exec.Command("go", args...)
	test.Dir = dir
	out, err := test.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w:\n%s", err, out)
	}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case p.lines != "":
			if _, told, ok := strings.Cut(lines.Text(), p.lines); ok {
				rows = append(rows, row{name: told[strings.Index(told, " ")+1:]})
			}
		case len(fields) >= 4 && strings.HasPrefix(fields[0], "Benchmark"):
			r := row{strings.TrimPrefix(fields[0], "Benchmark"), map[string]string{}}
			for i := 2; i+1 < len(fields); i += 2 {
				r.values[fields[i+1]] = fields[i]
			}
			rows = append(rows, r)
		}
	}
	return rows, err
}

// print prints a part, with what it was before where that is known.
func (p part) print(before, rows []row) {
	if p.lines != "" {
		for _, r := range before {
			fmt.Println("before:", r.name)
		}
		for _, r := range rows {
			fmt.Println(r.name)
		}
		return
	}
	fmt.Printf("| | %s |\n|---|%s\n", strings.Join(p.units, " | "), strings.Repeat("--:|", len(p.units)))
	for _, r := range rows {
		line := "| " + r.name + " |"
		was := slices.IndexFunc(before, func(b row) bool { return b.name == r.name })
		for _, unit := range p.units {
			cell := r.values[unit]
			if was >= 0 && before[was].values[unit] != "" {
				cell = before[was].values[unit] + " → " + cell
			}
			line += " " + cell + " |"
		}
		fmt.Println(line)
	}
}
