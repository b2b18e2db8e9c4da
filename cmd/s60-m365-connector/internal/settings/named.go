package settings

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/secure60/s60-m365-connector/feeds"
)

// inFeeds is how a feed says by which names it is switched on.
var inFeeds = regexp.MustCompile(`"([^"]+)" in FEEDS`)

// namedFeeds finds names in FEEDS that no file of a feed has or mentions. It serves to tell all problems at once:
// where there are no others, the definitions themselves are asked, which know better.
func (r *environment) namedFeeds(s *Settings) {
	var known []string
	for _, dir := range []fs.FS{feeds.FS, os.DirFS(filepath.Join(s.ConfigDir, "feeds"))} {
		files, _ := fs.Glob(dir, "*.y*ml") // of a folder that is not there, none
		for _, file := range files {
			known = append(known, strings.TrimSuffix(strings.TrimSuffix(file, ".yaml"), ".yml"))
			text, err := fs.ReadFile(dir, file)
			if err != nil {
				return // the definitions tell it
			}
			for _, m := range inFeeds.FindAllStringSubmatch(string(text), -1) {
				known = append(known, m[1])
			}
		}
	}
	for _, name := range r.list("FEEDS") {
		if !slices.Contains(known, name.(string)) {
			r.fail("FEEDS holds %q, and there is no such feed or pack: write some of those that docs/packs.md lists, or that the feeds command shows", name)
		}
	}
}
