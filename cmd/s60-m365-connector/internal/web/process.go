package web

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"strconv"
	"strings"
)

// This file writes the numbers of the process that each program for Prometheus has, under
// the names that their dashboards ask for. They are read from the runtime and from /proc;
// what a system does not tell is not served.
// https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics

// runtimeNumbers are numbers of the Go runtime, each the sum of some of its metrics.
var runtimeNumbers = []struct {
	name, kind, help string
	of               []string
}{
	{"go_gc_gogc_percent", gauge, "How far the heap may grow between collections, in percent.", []string{"/gc/gogc:percent"}},
	{"go_gc_gomemlimit_bytes", gauge, "The limit of memory that the runtime keeps to.", []string{"/gc/gomemlimit:bytes"}},
	{"go_goroutines", gauge, "Number of goroutines that currently exist.", []string{"/sched/goroutines:goroutines"}},
	{"go_memstats_alloc_bytes", gauge, "Bytes of objects on the heap, those that wait for collection included.", []string{"/memory/classes/heap/objects:bytes"}},
	{"go_memstats_alloc_bytes_total", counter, "Bytes allocated since the start, freed ones included.", []string{"/gc/heap/allocs:bytes"}},
	{"go_memstats_frees_total", counter, "Objects freed since the start.", []string{"/gc/heap/frees:objects", "/gc/heap/tiny/allocs:objects"}},
	{"go_memstats_heap_idle_bytes", gauge, "Bytes of the heap that wait to be used.", []string{"/memory/classes/heap/released:bytes", "/memory/classes/heap/free:bytes"}},
	{"go_memstats_heap_inuse_bytes", gauge, "Bytes of the heap that are in use.", []string{"/memory/classes/heap/objects:bytes", "/memory/classes/heap/unused:bytes"}},
	{"go_memstats_heap_objects", gauge, "Objects on the heap.", []string{"/gc/heap/objects:objects"}},
	{"go_memstats_heap_released_bytes", gauge, "Bytes of the heap that were given back to the system.", []string{"/memory/classes/heap/released:bytes"}},
	{"go_memstats_mallocs_total", counter, "Objects allocated since the start.", []string{"/gc/heap/allocs:objects", "/gc/heap/tiny/allocs:objects"}},
	{"go_memstats_next_gc_bytes", gauge, "Size of the heap at which the next collection begins.", []string{"/gc/heap/goal:bytes"}},
	{"go_memstats_stack_inuse_bytes", gauge, "Bytes of stacks.", []string{"/memory/classes/heap/stacks:bytes"}},
	{"go_memstats_sys_bytes", gauge, "Bytes taken from the system.", []string{"/memory/classes/total:bytes"}},
	{"go_sched_gomaxprocs_threads", gauge, "How many threads may run Go code at once.", []string{"/sched/gomaxprocs:threads"}},
}

// process writes what is true of the process, whoever's tenants it serves.
func (x *exposition) process() {
	one := func(name, kind, help string, value float64) {
		x.head(name, kind, help)
		x.number(name, value, nil, nil)
	}
	x.head("go_info", gauge, "1, with the version of Go as a label.")
	x.number("go_info", 1, []string{"version"}, []string{runtime.Version()})
	for _, n := range runtimeNumbers {
		samples := make([]runtimemetrics.Sample, len(n.of))
		for i, name := range n.of {
			samples[i].Name = name
		}
		runtimemetrics.Read(samples)
		sum, known := 0.0, true
		for _, s := range samples {
			if known = known && s.Value.Kind() == runtimemetrics.KindUint64; known {
				sum += float64(s.Value.Uint64())
			}
		}
		if known {
			one(n.name, n.kind, n.help, sum)
		}
	}
	const pauses = "go_gc_duration_seconds"
	gc := debug.GCStats{}
	debug.ReadGCStats(&gc)
	x.head(pauses, "summary", "Pauses of the garbage collector since the start.")
	x.number(pauses+"_sum", gc.PauseTotal.Seconds(), nil, nil)
	x.number(pauses+"_count", float64(gc.NumGC), nil, nil)
	for _, n := range ofSystem() {
		one(n.name, n.kind, n.help, n.value)
	}
}

type systemNumber struct {
	name, kind, help string
	value            float64
}

// ticks are the units a second of the times in /proc. Linux promises 100 to programs,
// whatever the kernel counts in.
const ticks = 100

// ofSystem are the numbers that Linux tells of a process (proc_pid_stat(5)); none elsewhere.
func ofSystem() []systemNumber {
	var list []systemNumber
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return nil
	}
	// The second field is the program's name in brackets, which may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	field := func(n int) float64 { // as the manual counts them, from 1
		if n-3 >= len(fields) {
			return 0
		}
		v, _ := strconv.ParseFloat(fields[n-3], 64)
		return v
	}
	list = append(list,
		systemNumber{"process_cpu_seconds_total", counter, "Processor time spent, of user and system, in seconds.", (field(14) + field(15)) / ticks},
		systemNumber{"process_resident_memory_bytes", gauge, "Memory that is resident, in bytes.", field(24) * float64(os.Getpagesize())},
		systemNumber{"process_virtual_memory_bytes", gauge, "Virtual memory, in bytes.", field(23)},
		systemNumber{"process_threads", gauge, "Threads of the system.", field(20)},
	)
	if all, err := os.ReadFile("/proc/stat"); err == nil {
		if _, rest, ok := strings.Cut(string(all), "\nbtime "); ok {
			boot, _, _ := strings.Cut(rest, "\n")
			if seconds, err := strconv.ParseFloat(boot, 64); err == nil {
				list = append(list, systemNumber{"process_start_time_seconds", gauge, "When the process was started, in seconds since 1970.", seconds + field(22)/ticks})
			}
		}
	}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		list = append(list, systemNumber{"process_open_fds", gauge, "Open file descriptors.", float64(len(open))})
	}
	if limits, err := os.ReadFile("/proc/self/limits"); err == nil {
		if _, rest, ok := strings.Cut(string(limits), "Max open files"); ok {
			if of := strings.Fields(rest); len(of) > 0 {
				most, err := strconv.ParseFloat(of[0], 64)
				if err != nil {
					most = math.Inf(1) // "unlimited"
				}
				list = append(list, systemNumber{"process_max_fds", gauge, "How many file descriptors may be open.", most})
			}
		}
	}
	return list
}
