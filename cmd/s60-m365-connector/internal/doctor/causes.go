package doctor

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine"
)

// This file tells one cause once, however many feeds meet it.

// cause is what some requirements met alike.
type cause struct {
	Finding
	key   string
	code  int
	kind  string   // of what met it first: token, permission, subscription, feed, destination
	of    []string // which of them
	hosts []string // whose names were not resolved
}

// unresolved is the text of a name that is not resolved, with the name:
// https://pkg.go.dev/net#DNSError
var unresolved = regexp.MustCompile(`lookup ([^\s:]+)(?: on \S+)?: (?:no such host|server misbehaving|.*[Tt]emporary failure in name resolution|.*i/o timeout|.*connection refused)|^(\S+) cannot be resolved: `)

// gather keeps a finding until all is asked. kind and of name the requirement; feeds are
// those that it affects.
func (d *Doctor) gather(kind, of string, f Finding, code int, feeds ...string) {
	key := strings.Join([]string{string(f.Status), engine.CauseKey(f.Cause), f.Remedy}, "\n")
	host := ""
	if m := unresolved.FindStringSubmatch(f.Cause); m != nil && f.Status == Failed {
		host, key = m[1]+m[2], "name resolution"
	}
	i := slices.IndexFunc(d.causes, func(c *cause) bool { return c.key == key })
	if i < 0 {
		i, d.causes = len(d.causes), append(d.causes, &cause{Finding: f, key: key, code: code, kind: kind})
	}
	c := d.causes[i]
	add := func(list *[]string, s string) {
		if s != "" && !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
	add(&c.of, of)
	add(&c.hosts, host)
	for _, feed := range feeds {
		add(&c.Feeds, feed)
	}
}

func (d *Doctor) tell() {
	for _, c := range d.causes {
		f := c.Finding
		switch {
		case len(c.hosts) > 0:
			f.Name = "name resolution"
			f.Cause = strings.Join(c.hosts, ", ") + " cannot be resolved" + f.Cause[max(strings.LastIndex(f.Cause, ": "), 0):]
			f.Remedy = wording.LetResolve
		case len(c.of) < 2:
			f.Name = strings.TrimSpace(c.kind + " " + strings.Join(c.of, ""))
		default:
			f.Name = c.kind + "s"
			f.Cause = engine.BriefCause(f.Cause)
			if c.kind == "feed" { // all of one feed, perhaps
				feed, _, _ := strings.Cut(c.of[0], " ")
				if !slices.ContainsFunc(c.of, func(of string) bool { return of != feed && !strings.HasPrefix(of, feed+" ") }) {
					f.Name = "feed " + feed
				}
			}
		}
		d.note(f, c.code)
	}
	d.causes = nil
}

// ended puts the end of the credential in the place of the refusals that it causes, and
// gives the feeds that it affects.
func (d *Doctor) ended() (feeds []string) {
	d.causes = slices.DeleteFunc(d.causes, func(c *cause) bool {
		if c.kind != "token" || c.code != program.Credentials {
			return false
		}
		feeds = append(feeds, c.Feeds...)
		return true
	})
	return feeds
}

// Affects says whom a finding affects, empty where its name or cause says it.
func (f Finding) Affects() string {
	if f.Status == Passed || f.Status == Skipped || len(f.Feeds) == 0 || len(f.Feeds) == 1 && strings.HasSuffix(f.Name, f.Feeds[0]) {
		return ""
	}
	if len(f.Feeds) == 1 {
		return "Affects " + f.Feeds[0]
	}
	return "Affects " + fmt.Sprintf("%d feeds", len(f.Feeds)) + ": " + strings.Join(f.Feeds, ", ")
}
