//go:build ignore

// Size says what each direct dependency costs in the binary: the machine code
// of all packages that are in it only because of that dependency, scaled to the
// size of the stripped file, since tables and data grow with the code. Two that
// bring the same package are each charged nothing for it.
//
// It also says whether the linker could drop unused methods. A single reachable
// call of reflect's MethodByName with a name that is not constant makes it keep
// every exported method of every type, here a third of the file.
//
//	go run .ci/size.go ./cmd/s60-m365-connector
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

type goPackage struct {
	ImportPath string
	Imports    []string
	ImportMap  map[string]string
	Standard   bool
	Module     *struct {
		Path string
		Main bool
	}
}

// module is the dependency that a package belongs to, "" for our own and the
// standard library.
func (p *goPackage) module() string {
	if p == nil || p.Module == nil || p.Module.Main {
		return ""
	}
	return p.Module.Path
}

type graph map[string]*goPackage

// reach gives the packages that root imports, directly or not, when those of
// the module without are taken away.
func (g graph) reach(root, without string) map[string]bool {
	seen, queue := map[string]bool{}, []string{root}
	for len(queue) > 0 {
		path := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		p := g[path]
		if seen[path] || p == nil || without != "" && p.module() == without {
			continue
		}
		seen[path] = true
		for _, imported := range p.Imports {
			if mapped, ok := p.ImportMap[imported]; ok {
				imported = mapped
			}
			queue = append(queue, imported)
		}
	}
	return seen
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: go run .ci/size.go PACKAGE")
	}
	target := os.Args[1]
	dir, err := os.MkdirTemp("", "size")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	full, stripped := filepath.Join(dir, "full"), filepath.Join(dir, "stripped")
	run("go", "build", "-trimpath", "-o", full, target)
	dump := run("go", "build", "-trimpath", "-ldflags", "-s -w -dumpdep", "-o", stripped, target)
	info, err := os.Stat(stripped)
	if err != nil {
		log.Fatal(err)
	}

	packages := graph{}
	decoder := json.NewDecoder(bytes.NewReader(run("go", "list", "-deps", "-json=ImportPath,Imports,ImportMap,Standard,Module", target)))
	root := ""
	for {
		p := new(goPackage)
		if err := decoder.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			log.Fatal(err)
		}
		packages[p.ImportPath] = p
		root = p.ImportPath // the target comes last
	}
	code, total := codeSizes(full, root)
	megabytes := func(bytes int) float64 { return float64(bytes) / float64(total) * float64(info.Size()) / 1e6 }

	everything := packages.reach(root, "")
	direct := map[string]bool{}
	for path := range everything {
		if p := packages[path]; p.module() == "" && !p.Standard {
			for _, imported := range p.Imports {
				if module := packages[imported].module(); module != "" {
					direct[module] = true
				}
			}
		}
	}
	type cost struct {
		module     string
		all, alone int
	}
	var costs []cost
	for module := range direct {
		left, c := packages.reach(root, module), cost{module: module}
		for path := range everything {
			if left[path] {
				continue
			}
			c.all += code[path]
			if packages[path].module() == module {
				c.alone += code[path]
			}
		}
		costs = append(costs, c)
	}
	slices.SortFunc(costs, func(a, b cost) int { return cmp.Or(cmp.Compare(b.all, a.all), cmp.Compare(a.module, b.module)) })

	fmt.Printf("%.2f MB stripped\n\n%8s %8s  %s\n", float64(info.Size())/1e6, "MB", "itself", "because of")
	for _, c := range costs {
		fmt.Printf("%8.2f %8.2f  %s\n", megabytes(c.all), megabytes(c.alone), c.module)
	}

	keepers := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^(\S+) <ReflectMethod>`).FindAllSubmatch(dump, -1) {
		// What package reflect has of it is there in every program, and harmless.
		if name := string(match[1]); !strings.HasPrefix(name, "reflect.") {
			keepers[name] = true
		}
	}
	if len(keepers) == 0 {
		fmt.Println("\nUnused methods are dropped.")
		return
	}
	fmt.Println("\nUnused methods are kept, because of:")
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range keepers {
			if !yield(name) {
				return
			}
		}
	}) {
		fmt.Println("  " + name)
	}
}

// codeSizes gives the bytes of machine code for each package of a binary, and
// their sum.
func codeSizes(binary, root string) (sizes map[string]int, total int) {
	sizes = map[string]int{}
	scanner := bufio.NewScanner(bytes.NewReader(run("go", "tool", "nm", "-size", binary)))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 4 || fields[2] != "T" && fields[2] != "t" || fields[3] == "runtime.text" || fields[3] == "runtime.etext" {
			continue
		}
		size, err := strconv.Atoi(fields[1])
		if err != nil {
			log.Fatalf("go tool nm: %q: %v", scanner.Text(), err)
		}
		// The package ends at the first dot behind the last slash; type parameters hold slashes, too.
		name, _, _ := strings.Cut(fields[3], "[")
		name, _, _ = strings.Cut(name, "(")
		slash := strings.LastIndexByte(name, '/')
		if dot := strings.IndexByte(name[slash+1:], '.'); dot >= 0 {
			name = name[:slash+1+dot]
		}
		name = strings.ReplaceAll(name, "%2e", ".")
		if name == "main" {
			name = root
		}
		sizes[name] += size
		total += size
	}
	return sizes, total
}

// run gives what a command writes: its output, or for the linker's dump, which
// goes to the other stream, that.
func run(name string, args ...string) []byte {
	command := exec.Command(name, args...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		log.Fatalf("%s: %v\n%s", strings.Join(command.Args, " "), err, stderr.String())
	}
	return append(stdout.Bytes(), stderr.Bytes()...)
}
