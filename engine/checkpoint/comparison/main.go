// Command comparison measures embedded stores at the checkpoint's task: to remember the
// 16-byte keys of a week, and to look keys up, most of which are new. Each store runs in processes
// of its own, so that memory and start are its own too.
//
//	go run . -keys 21000000 -stores checkpoint,bbolt,sqlite -dir /var/tmp/comparison
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// store is what each candidate offers of itself here.
type store interface {
	// commit makes all keys durable, or none.
	commit(keys [][16]byte, hour uint32) error
	seen(key [16]byte) (bool, error)
	close() error
}

var stores = map[string]func(dir string) (store, error){
	"checkpoint": openCheckpoint,
	"bbolt":      openBolt,
	"sqlite":     openSQLite,
}

type measured struct {
	Keys      int           // stored in the end
	FillRate  float64       // keys/s over all of the fill, batches of 1000
	FillCPU   time.Duration // processor time for each key of it
	Rate1000  float64       // keys/s at full size, batches of 1000
	Rate100   float64       // keys/s at full size, batches of 100
	Commit100 time.Duration // one commit of 100 at full size, the median
	Negative  cost          // one look-up of a new key
	Positive  cost          // one look-up of a known key
	RSSAnon   int           // MiB after look-ups
	RSSFile   int           // MiB of mapped files, after look-ups
	Peak      int           // MiB, highest of the process
	Disk      int           // MiB
	Open      time.Duration // in a new process
	OpenRSS   int           // MiB, after opening and 100,000 look-ups of new keys
}

// cost of one operation: how long it took, and the processor time of the process for
// it, which other work on the machine distorts less.
type cost struct{ Wall, CPU time.Duration }

func (c cost) String() string {
	return fmt.Sprintf("%v (%v)", c.Wall.Round(10*time.Nanosecond), c.CPU.Round(10*time.Nanosecond))
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var (
	keys    = flag.Int("keys", 1_000_000, "how many keys to store")
	names   = flag.String("stores", "checkpoint,bbolt,sqlite", "which stores, comma-separated")
	dir     = flag.String("dir", filepath.Join(os.TempDir(), "comparison"), "where; emptied first, removed afterwards")
	limit   = flag.Duration("limit", 5*time.Minute, "longest fill of one store; it is measured at the size it has then")
	keep    = flag.Bool("keep", false, "leave the files")
	phase   = flag.String("phase", "", "internal: what the child process does")
	stored  = flag.Int("stored", 0, "internal: how many keys there are")
	restful = flag.Duration("rest", 3*time.Second, "pause between filling and measuring, for work in the background")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if *phase != "" {
		m, err := child()
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(m)
	}
	fmt.Printf("%d keys of 16 random bytes, values of 4; every commit durable; %s, %d CPUs, GOGC=%s\n\n", *keys, runtime.Version(), runtime.NumCPU(), gogc())
	fmt.Println("| store | keys | fill keys/s (CPU a key) | at full size: keys/s by 1000 | by 100 | commit of 100 | look-up new (CPU) | look-up known (CPU) | RSS own + mapped, peak MiB | disk MiB | open | RSS then |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for name := range strings.SplitSeq(*names, ",") {
		if stores[name] == nil {
			return fmt.Errorf("no store %q", name)
		}
		place := filepath.Join(*dir, name)
		if err := os.RemoveAll(place); err != nil {
			return err
		}
		if err := os.MkdirAll(place, 0o700); err != nil {
			return err
		}
		m, err := inChild(name, "fill", 0)
		if err != nil {
			return err
		}
		if m.Disk, err = size(place); err != nil {
			return err
		}
		o, err := inChild(name, "open", m.Keys)
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %d | %.0f (%v) | %.0f | %.0f | %v | %v | %v | %d + %d, %d | %d | %v | %d |\n", name, m.Keys, m.FillRate, m.FillCPU, m.Rate1000, m.Rate100,
			m.Commit100.Round(10*time.Microsecond), m.Negative, m.Positive, m.RSSAnon, m.RSSFile, m.Peak, m.Disk, o.Open.Round(100*time.Microsecond), o.OpenRSS)
		if !*keep {
			if err := os.RemoveAll(place); err != nil {
				return err
			}
		}
	}
	return nil
}

func gogc() string {
	if v := os.Getenv("GOGC"); v != "" {
		return v
	}
	return "100"
}

func inChild(name, phase string, stored int) (m measured, err error) {
	c := exec.Command(os.Args[0], "-keys", strconv.Itoa(*keys), "-stores", name, "-dir", *dir, "-limit", limit.String(),
		"-rest", restful.String(), "-phase", phase, "-stored", strconv.Itoa(stored))
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return m, fmt.Errorf("%s %s: %w", name, phase, err)
	}
	return m, json.Unmarshal(out, &m)
}

// key is the nth key; the same in each process.
func key(n int) (k [16]byte) {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(n))
	r := rand.NewChaCha8(seed)
	binary.LittleEndian.PutUint64(k[:], r.Uint64())
	binary.LittleEndian.PutUint64(k[8:], r.Uint64())
	return k
}

func child() (m measured, err error) {
	place := filepath.Join(*dir, *names)
	start := time.Now()
	s, err := stores[*names](place)
	if err != nil {
		return m, err
	}
	m.Open = time.Since(start)
	if *phase == "open" {
		err = func() error {
			for i := range 100_000 {
				if ok, err := s.seen(key(*keys*2 + i)); ok || err != nil {
					return fmt.Errorf("a new key: %v %w", ok, err)
				}
			}
			return nil
		}()
		anon, file, _ := memory()
		m.OpenRSS = anon + file
		return m, errors.Join(err, s.close())
	}
	if err := fill(s, &m); err != nil {
		return m, err
	}
	time.Sleep(*restful)
	const lookups = 200_000
	if m.Negative, err = lookUp(s, lookups, false, func(i int) int { return *keys*2 + i }); err != nil {
		return m, err
	}
	if m.Positive, err = lookUp(s, lookups, true, func(i int) int { return int(uint64(i) * 2_654_435_761 % uint64(m.Keys)) }); err != nil {
		return m, err
	}
	var anon, file int
	anon, file, m.Peak = memory()
	m.RSSAnon, m.RSSFile = anon, file
	return m, s.close()
}

func fill(s store, m *measured) error {
	batch := make([][16]byte, 1000)
	start, used := time.Now(), cpu()
	last, lastKeys := start, 0
	for m.Keys < *keys && time.Since(start) < *limit {
		for i := range batch {
			batch[i] = key(m.Keys + i)
		}
		if err := s.commit(batch, uint32(490_000+m.Keys/125_000)); err != nil {
			return err
		}
		m.Keys += len(batch)
		// The rate at full size is that of the last tenth.
		if m.Keys >= *keys/10*9 && lastKeys == 0 || time.Since(last) > *limit/10 {
			last, lastKeys = time.Now(), m.Keys
		}
	}
	m.FillCPU = ((cpu() - used) / time.Duration(m.Keys)).Round(10 * time.Nanosecond)
	m.FillRate = float64(m.Keys) / time.Since(start).Seconds()
	if m.Keys > lastKeys {
		m.Rate1000 = float64(m.Keys-lastKeys) / time.Since(last).Seconds()
	} else {
		m.Rate1000 = m.FillRate
	}
	batch = batch[:100]
	var each []time.Duration
	start = time.Now()
	for time.Since(start) < 5*time.Second {
		for i := range batch {
			batch[i] = key(m.Keys + i)
		}
		t := time.Now()
		if err := s.commit(batch, 490_200); err != nil {
			return err
		}
		each = append(each, time.Since(t))
		m.Keys += len(batch)
	}
	m.Rate100 = float64(len(each)*100) / time.Since(start).Seconds()
	m.Commit100 = median(each)
	return nil
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func lookUp(s store, n int, want bool, which func(i int) int) (c cost, err error) {
	ks := make([][16]byte, n)
	for i := range ks {
		ks[i] = key(which(i))
	}
	start, used := time.Now(), cpu()
	for _, k := range ks {
		if ok, err := s.seen(k); err != nil || ok != want {
			return c, fmt.Errorf("seen %v, want %v: %w", ok, want, err)
		}
	}
	return cost{time.Since(start) / time.Duration(n), (cpu() - used) / time.Duration(n)}, nil
}

// memory of this process as the kernel counts it, in MiB: its own, of mapped files, and the peak of both.
func memory() (anon, file, peak int) {
	debug.FreeOSMemory() // what the collector would return anyway
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, 0
	}
	field := func(name string) int {
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == name {
				n, _ := strconv.Atoi(f[1])
				return n >> 10
			}
		}
		return 0
	}
	return field("RssAnon:"), field("RssFile:"), field("VmHWM:")
}

func size(dir string) (int, error) {
	var n int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return int(n >> 20), err
}
