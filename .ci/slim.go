//go:build ignore

// slim prints flags for `go build` that leave out of the binary what nothing of
// the connector uses, which is half of it.
//
// The flags name copies of dependencies and of files of the standard library, in
// which a few places, and nothing else, are replaced. A build without them does
// the same, and is the one that tests and debuggers see. What each edit takes
// away cannot be reached by a setting; where a mistake could lead there, the
// edited place says so and does not go on.
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
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// edit replaces old, which is in the file so many times. Behind "…" in old
// comes what ends the replaced text.
type edit struct {
	file, old, new string
	times          int
}

const (
	expr     = "github.com/expr-lang/expr"
	franz    = "github.com/twmb/franz-go"
	kong     = "github.com/alecthomas/kong"
	nats     = "github.com/nats-io/nats.go"
	pebble   = "github.com/cockroachdb/pebble/v2"
	common   = "github.com/prometheus/common"
	model    = "github.com/prometheus/client_model"
	standard = "" // the standard library
)

var edits = map[string][]edit{
	// The linker keeps every exported method of every type as soon as a program
	// looks methods up by a name that is not a constant, 9 MB of them. Three do so:
	// expr calls methods of values, which the language of feeds and mappings
	// forbids; kong looks for hooks by name, of which there is a handful; and
	// text/template, below, calls methods of its data, and the pages use fields.
	expr: {
		{"vm/runtime/runtime.go", "method := v.MethodByName(methodName)", "method := reflect.Value{}; _ = methodName", 1},
		{"vm/runtime/runtime.go", "method := v.Method(method.Index)", "method := reflect.Value{}", 1},
		{"builtin/lib.go", "method := v.MethodByName(methodName)", "method := reflect.Value{}; _ = methodName", 1},
		{"checker/nature/nature.go", "method := n.Type.Method(i)", "method := reflect.Method{}; break", 1},
		{"checker/nature/utils.go", "rm := s.rType.Method(s.idx)", "rm := reflect.Method{}", 1},
		{"checker/info.go", "if m, ok := base.MethodByName(name.Value); ok {", "if m, ok := (reflect.Method{}), false; ok {", 1},
		{"compiler/compiler.go", "if _, ok = callee.Node.Type().MethodByName(prop.Value); ok && callee", "if ok = prop == nil; ok && callee", 1},
	},
	kong: {
		{"callbacks.go", "method := value.MethodByName(name)", "method := methodNamed(value, name)", 1},
		{"callbacks.go", "method = value.Addr().MethodByName(name)", "method = methodNamed(value.Addr(), name)", 1},
		{"callbacks.go", "return value.MethodByName(name)", "return methodNamed(value, name)", 1},
		{"callbacks.go", "return value.Addr().MethodByName(name)", "return methodNamed(value.Addr(), name)", 1},
		{"callbacks.go", "method, ok := t.MethodByName(name)", "method, ok := typeMethodNamed(t, name)", 1},
		{"callbacks.go", "func getMethod(", hooks + "\nfunc getMethod(", 1},
		{"context.go", "for i := 0; i < p.NumMethod(); i++ {", "for i := 0; i < 0; i++ {", 1},
		{"context.go", "methodt := t.Method(i)", "methodt := reflect.Method{}", 1},
		{"context.go", "method := p.Method(i)", "method := reflect.Value{}", 1},
	},
	// /metrics is text only: the wire formats, and with them the protobuf library,
	// stay out. The model's messages become plain structs, which print as JSON.
	common: {
		{"expfmt/encode.go", "\t\"google.golang.org/protobuf/encoding/protodelim\"\n\t\"google.golang.org/protobuf/encoding/prototext\"\n", "", 1},
		{"expfmt/encode.go", "\t\"mime\"\n", "", 1},
		{"expfmt/encode.go", "\tcase TypeProtoDelim:…\tcase TypeTextPlain:", "\tcase TypeTextPlain:", 1},
		{"expfmt/encode.go", "\tcase TypeOpenMetrics:…\tpanic(", "\t}\n\tpanic(", 1},
		{"expfmt/decode.go", "\t\"google.golang.org/protobuf/encoding/protodelim\"\n", "", 1},
		{"expfmt/decode.go", "\t\"bufio\"\n", "", 1},
		{"expfmt/decode.go", "\t\treturn &protoDecoder{…\tcase TypeProtoText,", "\t\tfallthrough\n\tcase TypeProtoText,", 1},
		{"expfmt/decode.go", "// protoDecoder implements…// errDecoder is", "// errDecoder is", 1},
	},
	model: {
		{"go/metrics.pb.go", "import (…)", "import (\n\t\"encoding/json\"\n\n\ttimestamppb \"google.golang.org/protobuf/types/known/timestamppb\"\n)", 1},
		{"go/metrics.pb.go", "const (\n\t// Verify that…)\n\ntype", "type", 1},
		{"go/metrics.pb.go", "return protoimpl.X.EnumStringOf(x.Descriptor(), protoreflect.EnumNumber(x))", "return MetricType_name[int32(x)]", 1},
		{"go/metrics.pb.go", "func (MetricType) Descriptor() …type LabelPair", "type LabelPair", 1},
		{"go/metrics.pb.go", "\tstate         protoimpl.MessageState\n\tsizeCache     protoimpl.SizeCache\n\tunknownFields protoimpl.UnknownFields\n\n", "", 12},
		{"go/metrics.pb.go", "\tif protoimpl.UnsafeEnabled {\n…\n\t}\n", "", 12},
		{"go/metrics.pb.go", "return protoimpl.X.MessageStringOf(x)", "return text(x)", 12},
		{"go/metrics.pb.go", ") ProtoReflect() protoreflect.Message {…\n}\n", ") ProtoReflect() {}\n", 12},
		{"go/metrics.pb.go", ") Descriptor() ([]byte, []int) {…\n}\n", ") Descriptor() {}\n", 12},
		{"go/metrics.pb.go", "var File_io_prometheus_client_metrics_proto …_depIdxs = nil\n}\n", "func text(v any) string {\n\tdata, err := json.Marshal(v)\n\tif err != nil {\n\t\treturn err.Error()\n\t}\n\treturn string(data)\n}\n", 1},
	},
	// The connector produces and does not consume, has the client's own metrics off,
	// and compresses with what the client takes by itself, snappy. The edits in
	// order: requests that are split over brokers, all of consumers and
	// administrators; metrics; leaving a group and closing fetches, which have not
	// begun; codecs that only a consumer needs; groups; fetching; lz4 and zstd;
	// offsets to begin at.
	franz: {
		{"pkg/kgo/client.go", "\tcase *kmsg.ListOffsetsRequest, // key 2\n…\treturn cl.handleShardedReq(ctx, req)\n\n", "", 1},
		{"pkg/kgo/client.go", "\tgo cl.pushMetrics()\n", "\tcl.metrics.ctxCancel()\n", 1},
		{"pkg/kgo/client.go", "\tif c.g != nil || c.s != nil {\n\t\trerr = …sessCloseCancel()\n", "", 1},
		{"pkg/kgo/client.go", "\t\tsns.source.maybeConsume() // same\n", "", 1},
		{"pkg/kgo/client.go", "\tcl.PollFetches(nil)\n", "", 1},
		{"pkg/kgo/client.go", "\tswitch d := cfg.decompressor.(type) {…\n\t}\n", "", 1},
		{"pkg/kgo/config.go", "\t\t\tCooperativeStickyBalancer(),\n", "\t\t\tnil,\n", 1},
		{"pkg/kgo/consumer.go", "\tif len(cl.cfg.shareGroup) > 0 {\n\t\tc.initShare()…\t\tc.initGroup()\n\t}\n", "\tc.initDirect()\n", 1},
		{"pkg/kgo/metadata.go", "cl.consumer.doOnMetadataUpdate()", "", 2},
		{"pkg/kgo/source.go", "func (s *source) maybeConsume() {…\n}\n", "func (s *source) maybeConsume() {}\n", 1},
		{"pkg/kgo/consumer_share.go", "func (s *source) maybeShareConsume() {…\n}\n", "func (s *source) maybeShareConsume() {}\n", 1},
		{"pkg/kgo/compression.go", "\t\tcase CodecLz4:\n\t\t\tlevel := …c.zstdPool = sync.Pool{New: fn}\n", "\t\tcase CodecLz4, CodecZstd:\n\t\t\treturn nil, errors.New(\"this build compresses with gzip and snappy only\")\n", 1},
		{"pkg/kgo/compression.go", "\tcase CodecLz4:\n\t\tlz := c.lz4Pool.Get().(*lz4.Writer)\n\t\tdefer…out = dst.Bytes()\n", "", 1},
		{"pkg/kgo/compression.go", "\tcase CodecZstd:\n\t\tzstdEnc := …EncodeAll(src, dst.Bytes())\n", "", 1},
		{"pkg/kgo/compression.go", "\tcase CodecLz4:\n\t\tlz := c.lz4Pool.Get().(*lz4.Writer)\n\t\tsc.w…func() { c.zstdPool.Put(ze) }\n", "", 1},
		{"pkg/kgo/consumer.go", "func (l listOrEpochLoads) loadWithSession(s *consumerSession, why string) {…\n}\n", "func (l listOrEpochLoads) loadWithSession(s *consumerSession, why string) {}\n", 1},
	},
	// Addresses are nats:// and tls://.
	nats: {
		{"nats.go", "return nc.wsInitHandshake(u)", "return errors.New(\"nats: this build speaks no WebSocket\")", 1},
	},
	// The state's tables are never compressed and of the newest format, none is
	// ingested or kept remotely, and there is one log (engine/checkpoint/open.go). A
	// state that says otherwise is not ours.
	pebble: {
		{"internal/compression/compression.go", "\tcase Zstd:\n\t\treturn getZstdCompressor(int(s.Level))\n\tcase MinLZ:\n\t\treturn getMinlzCompressor(int(s.Level))\n", "", 1},
		{"internal/compression/compression.go", "\tcase Zstd:\n\t\treturn getZstdDecompressor()\n\tcase MinLZ:\n\t\treturn minlzDecompressor{}\n", "", 1},
		{"wal/wal.go", "m = new(failoverManager)", "panic(\"this build keeps no second log\")", 1},
		{"sstable/writer.go", "return newRowWriter(writable, o)", "panic(\"this build writes no tables of old formats\")", 1},
		{"objstorage/objstorageprovider/remote.go", "\tcatalog, contents, err := remoteobjcat.Open(p.st.FS, p.st.FSDirName)", "\tvar catalog *remoteobjcat.Catalog\n\tvar contents remoteobjcat.CatalogContents\n\terr := errors.New(\"this build keeps no remote tables\")", 1},
		{"compaction.go", "return d.runCopyCompaction(jobID, c)", "panic(\"this build keeps no remote tables\")", 1},
		{"compaction.go", "ve, err = d.runIngestFlush(c)", "panic(\"this build ingests no tables\")", 1},
		{"open.go", "entry, err = d.replayIngestedFlushable(&b, base.DiskFileNum(ll.Num))", "err = base.CorruptionErrorf(\"the log names a table to ingest, and this build ingests none\")", 1},
	},
	// SortFunc sorts with the code of package sort, generated from the same
	// template: the same steps in the same order, by index, compiled once and not
	// for each type. What serves pages and metrics has no TLS, so no HTTP/2; the
	// client keeps it.
	standard: {
		{"slices/sort.go", "pdqsortCmpFunc(x, 0, n, bits.Len(uint(n)), cmp)", "pdqsort_func(byIndex(x, cmp), 0, n, bits.Len(uint(n)))", 1},
		{"slices/sort.go", "stableCmpFunc(x, len(x), cmp)", "stable_func(byIndex(x, cmp), len(x))", 1},
		{"slices/sort.go", "// SortFunc sorts", byIndex + "\n// SortFunc sorts", 1},
		{"sort/zsortfunc.go as slices/zsortfunc.go", "package sort\n", "package slices\n", 1},
		{"net/http/server.go", "conf := &http2Server{}\n\ts.nextProtoErr = http2ConfigureServer(s, conf)", "", 1},
		{"text/template/exec.go", "if method := ptr.MethodByName(fieldName); method.IsValid() {", "if method := (reflect.Value{}); method.IsValid() {", 1},
	},
}

// replaced are modules of which a small part is used; the folders hold that part,
// and say what is different. Pebble makes its errors with the one, the metrics'
// library takes pointers and timestamps from the other.
var replaced = map[string]string{
	"github.com/cockroachdb/errors": ".ci/slim/errors",
	"google.golang.org/protobuf":    ".ci/slim/protobuf",
}

// cold are packages that run seldom or wait for others: nothing is inlined into
// their functions, which makes them smaller and changes nothing else.
var cold = []string{
	"github.com/secure60/s60-m365-connector/cmd/...",
	"github.com/secure60/s60-m365-connector/engine/definition",
	"github.com/secure60/s60-m365-connector/engine/simulator",
	kong,
	expr + "/checker/...",
	expr + "/compiler",
	expr + "/parser/...",
	"github.com/prometheus/...",
	"gopkg.in/yaml.v3",
	"crypto/x509/...",
	"encoding/asn1",
	"html/template",
	"text/template/...",
}

// byIndex lets the sort of package sort, which is compiled once, take the place
// of the one that is compiled for each type.
const byIndex = `type lessSwap struct {
	Less func(i, j int) bool
	Swap func(i, j int)
}

func byIndex[S ~[]E, E any](x S, cmp func(a, b E) int) lessSwap {
	return lessSwap{
		func(i, j int) bool { return cmp(x[i], x[j]) < 0 },
		func(i, j int) { x[i], x[j] = x[j], x[i] },
	}
}
`

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
	hash := sha256.New()
	fmt.Fprintf(hash, "%s %s %s %v", runtime.Version(), mod, sum, edits)
	for _, source := range slices.Sorted(maps.Values(replaced)) {
		if err := filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			fmt.Fprintf(hash, "%s %d %s", path, len(text), text)
			return err
		}); err != nil {
			return nil, err
		}
	}
	name := fmt.Sprintf("slim-%x", hash.Sum(nil))[:21]
	final := filepath.Join(os.TempDir(), name)
	flags = []string{"-modfile=" + filepath.Join(final, "go.mod"), "-overlay=" + filepath.Join(final, "overlay.json")}
	for _, pattern := range cold {
		flags = append(flags, "-gcflags="+pattern+"=-l")
	}
	if _, err := os.Stat(final); err == nil {
		return flags, nil
	}
	dir, err := os.MkdirTemp("", "slim-new-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	replace := map[string]string{}
	for module, source := range replaced {
		to := strings.ReplaceAll(module, "/", "_")
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(source)); err != nil {
			return nil, err
		}
		mod = fmt.Appendf(mod, "\nreplace %s => %s\n", module, filepath.Join(final, to))
	}
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
		source, file, copied := strings.Cut(e.file, " as ")
		if !copied {
			file = source
		}
		text, ok := texts[file]
		if !ok {
			data, err := os.ReadFile(filepath.Join(root, source))
			if err != nil {
				return nil, err
			}
			text = string(data)
		}
		first, last, spans := strings.Cut(e.old, "…")
		if n := strings.Count(text, first); n != e.times {
			return nil, fmt.Errorf("%s of %s holds %q %d times, not %d: look at what has changed there", e.file, root, first, n, e.times)
		}
		var changed strings.Builder
		for range e.times {
			before, after, found := strings.Cut(text, first)
			if spans && found {
				_, after, found = strings.Cut(after, last)
			}
			if !found {
				return nil, fmt.Errorf("%s of %s: what begins with %q does not end with %q: look at what has changed there", e.file, root, first, last)
			}
			changed.WriteString(before + e.new)
			text = after
		}
		texts[file] = changed.String() + text
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
