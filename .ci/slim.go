//go:build ignore

// slim prints flags for `go build` that let the linker leave out methods that
// nothing calls.
//
// The linker keeps every exported method of every type as soon as a program
// looks methods up by a name that is not a constant. Three of our dependencies
// do so, for features that the connector does not use: expr calls methods of
// values (the language of feeds and mappings forbids it), text/template calls
// methods of its data (the pages use fields), kong looks for hooks by name (a
// handful of names). The flags name copies in which these places, and nothing
// else, are replaced by ones that the linker can see through: about 9 MB less. A
// build without them behaves the same.
//
// An edit that does not match exactly ends the program: a new version of a
// dependency must be looked at.
//
//	go build $(go run .ci/slim.go) ./cmd/s60-m365-connector
package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

type edit struct{ file, old, new string }

const (
	expr     = "github.com/expr-lang/expr"
	kong     = "github.com/alecthomas/kong"
	standard = "" // the standard library
)

var edits = map[string][]edit{
	expr: {
		{"vm/runtime/runtime.go", "method := v.MethodByName(methodName)", "method := reflect.Value{}; _ = methodName"},
		{"vm/runtime/runtime.go", "method := v.Method(method.Index)", "method := reflect.Value{}"},
		{"builtin/lib.go", "method := v.MethodByName(methodName)", "method := reflect.Value{}; _ = methodName"},
		{"checker/nature/nature.go", "method := n.Type.Method(i)", "method := reflect.Method{}; break"},
		{"checker/nature/utils.go", "rm := s.rType.Method(s.idx)", "rm := reflect.Method{}"},
		{"checker/info.go", "if m, ok := base.MethodByName(name.Value); ok {", "if m, ok := (reflect.Method{}), false; ok {"},
		{"compiler/compiler.go", "if _, ok = callee.Node.Type().MethodByName(prop.Value); ok && callee", "if ok = prop == nil; ok && callee"},
	},
	kong: {
		{"callbacks.go", "method := value.MethodByName(name)", "method := methodNamed(value, name)"},
		{"callbacks.go", "method = value.Addr().MethodByName(name)", "method = methodNamed(value.Addr(), name)"},
		{"callbacks.go", "return value.MethodByName(name)", "return methodNamed(value, name)"},
		{"callbacks.go", "return value.Addr().MethodByName(name)", "return methodNamed(value.Addr(), name)"},
		{"callbacks.go", "method, ok := t.MethodByName(name)", "method, ok := typeMethodNamed(t, name)"},
		{"callbacks.go", "func getMethod(", hooks + "\nfunc getMethod("},
		{"context.go", "for i := 0; i < p.NumMethod(); i++ {", "for i := 0; i < 0; i++ {"},
		{"context.go", "methodt := t.Method(i)", "methodt := reflect.Method{}"},
		{"context.go", "method := p.Method(i)", "method := reflect.Value{}"},
	},
	standard: {
		{"text/template/exec.go", "if method := ptr.MethodByName(fieldName); method.IsValid() {", "if method := (reflect.Value{}); method.IsValid() {"},
	},
}

// hooks are kong's own, by constant names.
var hooks = func() string {
	var value, typ strings.Builder
	for _, name := range []string{"Run", "BeforeReset", "BeforeResolve", "BeforeApply", "AfterApply", "AfterRun"} {
		fmt.Fprintf(&value, "\tcase %q:\n\t\treturn v.MethodByName(%q)\n", name, name)
		fmt.Fprintf(&typ, "\tcase %q:\n\t\treturn t.MethodByName(%q)\n", name, name)
	}
	return "func methodNamed(v reflect.Value, name string) reflect.Value {\n\tswitch name {\n" + value.String() + "\t}\n\tpanic(\"kong looks for the method \" + name)\n}\n\n" +
		"func typeMethodNamed(t reflect.Type, name string) (reflect.Method, bool) {\n\tswitch name {\n" + typ.String() + "\t}\n\tpanic(\"kong looks for the method \" + name)\n}\n"
}()

func main() {
	flags, err := slim()
	if err != nil {
		fmt.Fprintln(os.Stderr, "slim:", err)
		os.Exit(1)
	}
	fmt.Println(strings.Join(flags, " "))
}

// slim writes the copies, unless they are there from an earlier build. Modules
// are copied whole and named by a go.mod of their own, the standard library's
// file by an overlay.
func slim() (flags []string, err error) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		return nil, err
	}
	sum, err := os.ReadFile("go.sum")
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("slim-%x", sha256.Sum256(fmt.Appendf(nil, "%s %s %s %v", runtime.Version(), mod, sum, edits)))[:21]
	final := filepath.Join(os.TempDir(), name)
	flags = []string{"-modfile=" + filepath.Join(final, "go.mod"), "-overlay=" + filepath.Join(final, "overlay.json")}
	if _, err := os.Stat(final); err == nil {
		return flags, nil
	}
	dir, err := os.MkdirTemp("", "slim-new-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	replace := map[string]string{}
	for module, list := range edits {
		root, err := where(module)
		if err != nil {
			return nil, err
		}
		texts, err := edited(root, list)
		if err != nil {
			return nil, err
		}
		to := filepath.Join(dir, strings.ReplaceAll(module, "/", "_"))
		if module == standard {
			to = filepath.Join(dir, "standard")
		} else {
			if err := os.CopyFS(to, os.DirFS(root)); err != nil {
				return nil, err
			}
			mod = fmt.Appendf(mod, "\nreplace %s => %s\n", module, filepath.Join(final, filepath.Base(to)))
		}
		for file, text := range texts {
			path := filepath.Join(to, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return nil, err
			}
			if err := os.Remove(path); err != nil && module != standard { // a copy of what is read-only
				return nil, err
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				return nil, err
			}
			if module == standard {
				replace[filepath.Join(root, file)] = filepath.Join(final, "standard", file)
			}
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	for name, data := range map[string][]byte{"go.mod": mod, "go.sum": sum, "overlay.json": overlay} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	if err := os.Rename(dir, final); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return flags, nil
}

// edited are the texts of the files under root that the edits change.
func edited(root string, list []edit) (map[string]string, error) {
	texts := map[string]string{}
	for _, e := range list {
		text, ok := texts[e.file]
		if !ok {
			data, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				return nil, err
			}
			text = string(data)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return nil, fmt.Errorf("%s of %s holds %q %d times, not once: look at what has changed there", e.file, root, e.old, n)
		}
		texts[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	return texts, nil
}

// where is the folder of a module, or of the standard library's sources.
func where(module string) (string, error) {
	args := []string{"list", "-m", "-f", "{{.Dir}}", module}
	if module == standard {
		args = []string{"env", "GOROOT"}
	}
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	root := strings.TrimSpace(string(out))
	if module == standard {
		root = filepath.Join(root, "src")
	}
	return root, nil
}
