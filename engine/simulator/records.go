package simulator

import (
	"cmp"
	"embed"
	"io/fs"
	"maps"
	"net/http"
	"sync"

	"gopkg.in/yaml.v3"
)

//go:embed records
var recordFiles embed.FS

var (
	// catalogues are the kinds of records of the feeds that have several, and named the
	// records that have a name; parts are what records are put together from.
	catalogues map[string]catalogue
	named      map[string]*template
	parts      map[string]string

	signInsV1   signInShapes
	signInsBeta map[string]signInShapes

	objects   map[string][]object
	endpoints []endpoint
	company   cast
)

// readFiles reads the records before the first tenant starts. The program that collects
// has a simulator in it, too, and is not to pay for it at each start.
var readFiles = sync.OnceFunc(func() {
	readRecords()
	for path, list := range objects {
		for i := range list {
			list[i].row = compile(list[i].Record, func(part string) string { panic("simulator: " + path + " has no part " + part) })
		}
	}
	for i := range endpoints {
		e := &endpoints[i]
		e.Service, e.Method = cmp.Or(e.Service, "graph"), cmp.Or(e.Method, http.MethodGet)
	}
	signInsV1 = shapesOf(SignInsInteractive, "v1")
	signInsBeta = map[string]signInShapes{}
	for _, feed := range []string{SignInsInteractive, SignInsNonInteractive, SignInsServicePrincipal, SignInsManagedIdentity} {
		signInsBeta[feed] = shapesOf(feed, "beta")
	}
})

// calm is put before a feed's name for its kinds without those that are alarming.
const calm = "calm "

// kindsOf are the kinds of a feed's records in this world.
func (w *world) kindsOf(feed string) catalogue {
	if w.calm {
		return catalogues[calm+feed]
	}
	return catalogues[feed]
}

// catalogue picks kinds by weight.
type catalogue []*template // each once per unit of its weight

func (c catalogue) pick(h uint64) *template { return c[h%uint64(len(c))] }

// append renders a record, of a kind that its seed picks unless it is told of an attack: first is the
// line its members begin with.
func (c catalogue) append(dst []byte, r *record, first int) []byte {
	t := r.told
	if t == nil {
		t = c.pick(mix(r.seed ^ 8))
	}
	return t.append(dst, r, first)
}

// readRecords reads the files of records. What is wrong in them is wrong in the program.
func readRecords() {
	catalogues, named, parts = map[string]catalogue{}, map[string]*template{}, map[string]string{}
	names, err := fs.Glob(recordFiles, "records/*.yaml")
	for _, name := range names {
		var file struct {
			Parts   map[string]string
			Records map[string]string
			Kinds   map[string][]struct {
				Weight       int
				Alarming     bool // a rule of detections would fire on it
				Name, Record string
			}
			Objects   *map[string][]object
			Endpoints *[]endpoint
			World     *cast
		}
		file.Objects, file.Endpoints, file.World = &objects, &endpoints, &company // one file has each
		text, _ := recordFiles.ReadFile(name)
		if err = yaml.Unmarshal(text, &file); err != nil {
			break
		}
		maps.Copy(parts, file.Parts)
		part := func(part string) string {
			if file.Parts[part] == "" {
				panic("simulator: " + name + " has no part " + part)
			}
			return file.Parts[part]
		}
		for key, record := range file.Records {
			named[key] = compile(record, part)
		}
		for feed, list := range file.Kinds {
			for _, kind := range list {
				t := named[kind.Name]
				if t == nil {
					t = compile(kind.Record, part)
				}
				for range kind.Weight {
					catalogues[feed] = append(catalogues[feed], t)
					if !kind.Alarming {
						catalogues[calm+feed] = append(catalogues[calm+feed], t)
					}
				}
			}
		}
	}
	if err != nil {
		panic("simulator: the files of records: " + err.Error())
	}
}

// signInShapes are the forms that sign-ins of one kind take.
type signInShapes struct{ ok, pending, failed, risky *template }

// shapesOf are those of a feed, which its file has in part: what is missing is as a failed one,
// or one that went well.
func shapesOf(feed, api string) (s signInShapes) {
	first := func(shapes ...string) *template {
		for _, shape := range shapes {
			if t := named[feed+" "+api+" "+shape]; t != nil {
				return t
			}
		}
		return nil
	}
	return signInShapes{
		ok: first("ok"), pending: first("pending", "failed", "ok"), failed: first("failed", "ok"), risky: first("risky", "ok"),
	}
}
