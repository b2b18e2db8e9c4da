package definition

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

func (o *object) cursor(node *yaml.Node) *Cursor {
	c := o.object("cursor", o.pairs["cursor"].key, node)
	out := &Cursor{Field: c.path("field", c.must("field")).Value, Format: "rfc3339"}
	if t := c.word("format", c.take("format")); t.Value != "" {
		out.Format = t.Value
		c.checkFormat(t)
	}
	c.done()
	return out
}

func (o *object) checkFormat(t Text) {
	if slices.Contains([]string{"rfc3339", "unix", "unix_ms"}, t.Value) {
		return
	}
	// A window is in whole seconds of UTC. A layout that loses any of that would
	// ask for another window than the one that is accounted for.
	moment := time.Date(2031, 7, 24, 19, 48, 53, 0, time.UTC)
	back, err := time.Parse(t.Value, moment.Format(t.Value))
	if err != nil || !back.Equal(moment) {
		o.at(t, `%q is neither rfc3339, unix, unix_ms nor a Go time layout down to the second: write it as 2006-01-02T15:04:05 would be`, t.Value)
	}
}

func (o *object) window(node *yaml.Node) *Window {
	w := o.object("window", o.pairs["window"].key, node)
	out := &Window{
		Max:       w.duration("max", w.take("max"), defaultMax, time.Second),
		Delay:     w.duration("delay", w.take("delay"), 0, 0),
		Overlap:   w.duration("overlap", w.take("overlap"), 0, 0),
		Retention: w.duration("retention", w.take("retention"), defaultRetention, time.Minute),
	}
	w.done()
	if out.Overlap >= out.Max {
		at := w.pairs["overlap"].value
		if at == nil {
			at = w.key
		}
		if at != nil {
			w.node(at, `"overlap" (%s) must be smaller than "max" (%s): else a window would never reach beyond what was read before`, short(out.Overlap), short(out.Max))
		}
	}
	for _, key := range []string{"max", "overlap", "delay"} {
		d := map[string]time.Duration{"max": out.Max, "overlap": out.Overlap, "delay": out.Delay}[key]
		if w.has(key) && d > out.Retention {
			w.node(w.pairs[key].value, "%q (%s) must not be longer than \"retention\" (%s), how far back the service keeps data", key, short(d), short(out.Retention))
		}
	}
	return out
}

// reconcile reads the second look. A feed with windows that does not speak of
// it has one of a day, once a day; every: 0s turns it off.
func (o *object) reconcile(node *yaml.Node, w *Window) *Reconcile {
	const day = 24 * time.Hour
	if node == nil {
		if w == nil {
			return nil
		}
		return &Reconcile{Every: day, Depth: min(day, w.Retention)}
	}
	c := o.object("reconcile", o.pairs["reconcile"].key, node)
	out := &Reconcile{
		Every: c.duration("every", c.take("every"), day, 0),
		Depth: c.duration("depth", c.take("depth"), day, time.Minute),
	}
	c.done()
	switch {
	case w == nil:
		o.node(o.pairs["reconcile"].key, `"reconcile" needs a window: without one every poll reads all`)
		return nil
	case out.Depth > w.Retention && c.has("depth"):
		c.node(c.pairs["depth"].value, "\"depth\" (%s) must not be longer than \"retention\" (%s), how far back the service keeps data", short(out.Depth), short(w.Retention))
	case out.Every == 0:
		return nil
	}
	out.Depth = min(out.Depth, w.Retention)
	return out
}

// short writes a duration without its zero units.
func short(d time.Duration) string {
	if d > 0 && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (o *object) rateLimit(node *yaml.Node, feed string) (*RateLimit, *yaml.Node) {
	l := o.object("rate_limit", o.pairs["rate_limit"].key, node)
	out := &RateLimit{
		Requests: l.count("requests", l.must("requests"), 1, 1),
		Per:      l.duration("per", l.must("per"), time.Second, time.Millisecond),
		Bucket:   feed, // a budget of its own
	}
	at := node
	if bucket := l.take("bucket"); bucket != nil {
		if t := l.word("bucket", bucket); t.Value != "" {
			out.Bucket, at = t.Value, bucket
		}
	}
	l.done()
	return out, at
}
