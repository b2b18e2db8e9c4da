package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/expression"
	"github.com/secure60/s60-m365-connector/engine/load"
)

// This file reads TENANTS_DIR: a YAML file for each tenant, whose settings override those
// of the environment. A problem never shows a value, which may be a secret.

// Tenant is one of several, as its file says.
type Tenant struct {
	Name     string
	file     tenantFile
	Problems settings.Problems // of the file
	// Settings are those of the file, or of the last one without problems; nil
	// where there never was one. As long as the pointer is the same, so are they.
	Settings *settings.Settings
}

type tenantFile struct {
	path string
	data []byte
	err  error // why it was not read
}

func (f tenantFile) same(g tenantFile) bool {
	failed := f.err != nil
	return f.path == g.path && bytes.Equal(f.data, g.data) && failed == (g.err != nil) && (!failed || f.err.Error() == g.err.Error())
}

// tenantsDir reads the folder, again and again. It is for one goroutine.
type tenantsDir struct {
	path string
	env  map[string]string // the defaults of all tenants
	set  *definition.Set   // whose feeds may be switched; nil: it is not asked whether they exist

	watch   *folderWatch  // nil: nobody waits
	read    bool          // at least once
	within  time.Duration // when to look again though nobody tells of a change
	looked  map[string]tenantFile
	tenants map[string]Tenant
}

// look reads the folder, and gives the tenants by name. A change counts once two
// looks in a row have seen it, as a file may still be being written. If the folder cannot be
// read, the tenants are those of the last look.
func (d *tenantsDir) look() ([]Tenant, error) {
	d.watch.renew(d.path) // before it is read, so that nothing is missed
	files, err := tenantFiles(d.path)
	if err != nil {
		d.within = lookAgain
		return d.list(), err
	}
	d.watch.report()
	known := d.tenants
	d.tenants, d.within = map[string]Tenant{}, lookAnyway
	names := slices.AppendSeq(slices.Collect(maps.Keys(known)), maps.Keys(files))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		file, here := files[name]
		before, was := d.looked[name]
		old, had := known[name]
		settled := !d.read || here == was && file.same(before)
		if !settled {
			d.within = lookAgain
		}
		switch {
		case had && (!settled || here && file.same(old.file) && old.Problems == nil):
			d.tenants[name] = old
		case here && settled:
			// What a file names may have been mended, too: one with problems is read again.
			t := d.tenant(name, file)
			if old.Settings != nil && (t.Problems != nil || reflect.DeepEqual(t.Settings, old.Settings)) {
				t.Settings = old.Settings
			}
			d.tenants[name] = t
		}
	}
	d.looked, d.read = files, true
	d.refuseTwins(known)
	list := d.list()
	if slices.ContainsFunc(list, func(t Tenant) bool { return t.Problems != nil }) {
		d.within = min(d.within, lookMended)
	}
	return list, nil
}

func (d *tenantsDir) list() []Tenant {
	list := make([]Tenant, 0, len(d.tenants))
	for _, name := range slices.Sorted(maps.Keys(d.tenants)) {
		list = append(list, d.tenants[name])
	}
	return list
}

// largestTenant is more than a tenant's file can need; what is larger is refused.
const largestTenant = 1 << 20

// tenantFiles reads the files of the folder, by the tenant's name. Hidden files and
// those that are not YAML are left out: secrets may lie there too, and Kubernetes mounts have hidden folders.
func tenantFiles(dir string) (map[string]tenantFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string]tenantFile{}
	for _, entry := range entries {
		extension := filepath.Ext(entry.Name())
		if strings.HasPrefix(entry.Name(), ".") || extension != ".yaml" && extension != ".yml" {
			continue
		}
		name := strings.TrimSuffix(entry.Name(), extension)
		path := filepath.Join(dir, entry.Name())
		if other, ok := files[name]; ok {
			files[name] = tenantFile{path: path, err: fmt.Errorf("has the same name as %s: remove one of them", other.path)}
			continue
		}
		file := readTenantFile(path)
		if errors.Is(file.err, os.ErrNotExist) {
			if entry.Type()&os.ModeSymlink == 0 { // gone since the folder was read
				continue
			}
			file.err = errors.New("it is a link to a file that is not there")
		}
		files[name] = file
	}
	return files, nil
}

func readTenantFile(path string) tenantFile {
	file := tenantFile{path: path}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		file.err = err
		return file
	case !info.Mode().IsRegular() && !info.IsDir():
		file.err = errors.New("it is no regular file") // a pipe would be waited for, and with it all tenants
		return file
	}
	f, err := os.Open(path)
	if err != nil {
		file.err = err
		return file
	}
	defer f.Close()
	file.data, file.err = io.ReadAll(io.LimitReader(f, largestTenant+1))
	return file
}

var tenantName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

func (d *tenantsDir) tenant(name string, file tenantFile) Tenant {
	t := Tenant{Name: name, file: file}
	fail := func(problem string) { t.Problems = append(t.Problems, file.path+": "+problem) }
	switch {
	case file.err != nil:
		fail(fmt.Sprintf("cannot be read: %v", wording.Underlying(file.err)))
		return t
	case !tenantName.MatchString(name):
		fail("the name of a tenant holds letters, digits, ., _ and - only, 100 at most: give the file another name")
		return t
	}
	own, process := settings.Names()
	parsed, problems := definition.ParseTenant(file.path, file.data, definition.TenantOptions{Settings: own, Process: process})
	if parsed == nil {
		for _, p := range problems {
			t.Problems = append(t.Problems, p.String())
		}
		return t
	}
	s, err := settings.Read(d.environment(parsed), false)
	if list, ok := errors.AsType[settings.Problems](err); ok {
		for _, problem := range list {
			problems = append(problems, placed(problem, parsed, file.path))
		}
	} else if d.set != nil {
		if list, ok := errors.AsType[settings.Problems](definitions.NamedFeeds(s, d.set)); ok {
			problems = append(problems, placed(list.Error(), parsed, file.path))
		}
	}
	switched := map[string]bool{}
	for feed, choice := range parsed.Feeds {
		switched[feed] = choice.On
		if d.set != nil && d.set.Feed(feed) == nil {
			problems = append(problems, choice.Feed.Problem(0, 0, noFeed(feed, d.set)))
		}
	}
	definition.Sort(problems)
	for _, p := range problems {
		t.Problems = append(t.Problems, p.String())
	}
	if t.Problems == nil {
		s.Tenant, s.Switched = name, switched
		t.Settings = s
	}
	return t
}

func noFeed(name string, set *definition.Set) string {
	var known []string
	for _, f := range set.Feeds {
		known = append(known, f.Name)
	}
	if near := expression.Nearest(name, known); near != "" {
		return fmt.Sprintf("there is no feed %q: did you mean %q?", name, near)
	}
	return fmt.Sprintf("there is no feed %q: write some of %s", name, strings.Join(known, ", "))
}

var leadingSetting = regexp.MustCompile(`^[A-Z][A-Z0-9_]+`)

// quotedValue is where a problem of the settings quotes one.
var quotedValue = regexp.MustCompile(`^([A-Z][A-Z0-9_]+ is) "(?:[^"\\]|\\.)*"`)

// placed is a problem of the settings at its place in the file, if the setting
// that it begins with stands there. The value is left out: it may be a secret that was
// written into another setting.
func placed(problem string, file *definition.Tenant, path string) definition.Problem {
	problem = quotedValue.ReplaceAllString(problem, "$1 …")
	if text, ok := file.Settings[leadingSetting.FindString(problem)]; ok {
		return text.Problem(0, 0, problem)
	}
	return definition.Problem{Pos: definition.Pos{File: path}, Message: problem}
}

// alternatives are settings of which one takes the place of the others.
var alternatives = [][][]string{
	{{"CLIENT_SECRET"}, {"CLIENT_SECRET_FILE"}, {"CLIENT_CERTIFICATE_FILE"}, {"FEDERATED_TOKEN_FILE"}, {"MANAGED_IDENTITY"}},
	{{"PROJECT_ID", "TOKEN", "TOKEN_FILE"}, {"S60_COLLECTOR_BASE"}, {"OUTPUT", "OUTPUT_CREDENTIALS_FILE"}},
	{{"TOKEN"}, {"TOKEN_FILE"}},
}

// environment is the process's environment with a tenant's settings over it. If the file has a
// credential, a destination or a cloud, the process's other settings for that are left out.
// Paths are relative to the file's folder.
func (d *tenantsDir) environment(file *definition.Tenant) map[string]string {
	env := maps.Clone(d.env)
	delete(env, "TENANTS_DIR")
	given := func(names []string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return file.Settings[name].Value != "" })
	}
	for _, group := range alternatives {
		if !slices.ContainsFunc(group, given) {
			continue
		}
		for _, names := range group {
			if given(names) {
				continue
			}
			for _, name := range names {
				delete(env, name)
			}
		}
	}
	if given([]string{"MS_CLOUD"}) {
		for _, base := range []string{"MS_LOGIN_BASE", "MS_MANAGE_BASE", "MS_GRAPH_BASE", "MS_DEFENDER_BASE"} {
			delete(env, base)
		}
	}
	for name, text := range file.Settings {
		value := strings.TrimSpace(text.Value)
		isPath := strings.HasSuffix(name, "_FILE") || name == "OUTPUT" && value != "-" && !load.IsAddress(value)
		if isPath && value != "" && !filepath.IsAbs(value) {
			value = filepath.Join(d.path, value)
		}
		env[name] = value
	}
	return env
}

// refuseTwins refuses tenants that would deliver the same records to the same place, or
// write to the same file. Of two, the one that already runs stays, else the first by name.
func (d *tenantsDir) refuseTwins(known map[string]Tenant) {
	// Who is refused runs on as before, which may be in the way of another.
	for d.refuseTwin(known) {
	}
}

// refuseTwin reports whether a tenant that is refused goes back to earlier settings.
func (d *tenantsDir) refuseTwin(known map[string]Tenant) (back bool) {
	list := slices.DeleteFunc(d.list(), func(t Tenant) bool { return t.Settings == nil })
	slices.SortStableFunc(list, func(a, b Tenant) int {
		fresh := func(t Tenant) int {
			if t.Settings == known[t.Name].Settings {
				return 0
			}
			return 1
		}
		return fresh(a) - fresh(b)
	})
	first := map[string]Tenant{}
	for _, t := range list {
		s := t.Settings
		what, key := "the same TENANT_ID and destination", strings.ToLower(s.TenantID)+"\n"+s.DestinationText()
		if s.Output != "" && s.Output != "-" {
			what, key = "the same OUTPUT", s.DestinationText()
		}
		other, twin := first[key]
		if !twin {
			first[key] = t
			continue
		}
		t.Problems = settings.Problems{fmt.Sprintf("%s: has %s as %s: remove one of the two, or change it", t.file.path, what, other.file.path)}
		t.Settings = known[t.Name].Settings
		d.tenants[t.Name] = t
		if t.Settings != nil && t.Settings != s {
			return true
		}
	}
	return false
}

// Tenants reads TENANTS_DIR for a command that does not follow it.
func Tenants(process *settings.Settings, env map[string]string, set *definition.Set) ([]Tenant, error) {
	dir := tenantsDir{path: process.TenantsDir, env: env, set: set}
	list, err := dir.look()
	if err != nil {
		return nil, program.Exit(program.Usage, fmt.Errorf("TENANTS_DIR: %w", err))
	}
	return list, nil
}
