package author

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// Comparison counts what other definitions change of events.
type Comparison struct {
	Events, changed int
	Fields          map[string]*FieldChange
}

// FieldChange is what becomes of one field.
type FieldChange struct {
	name                   string
	added, removed, differ int
	before, after          string // an example
}

func (f FieldChange) all() int { return f.added + f.removed + f.differ }

// Add compares the event of a record with what it becomes.
func (c *Comparison) Add(before, after *transform.Mapper, record []byte) error {
	event, _ := before.Append(nil, record)
	was, err := EventFields(event)
	if err != nil {
		return err
	}
	event, _ = after.Append(nil, record)
	is, err := EventFields(event)
	if err != nil {
		return err
	}
	differ := Differing(was, is)
	if c.Events++; len(differ) > 0 {
		c.changed++
	}
	for _, name := range differ {
		a, had := was[name]
		b, has := is[name]
		f := c.Fields[name]
		if f == nil {
			f = &FieldChange{name: name, before: "-", after: "-"}
			if had {
				f.before = shortValue(a)
			}
			if has {
				f.after = shortValue(b)
			}
			c.Fields[name] = f
		}
		switch {
		case !had:
			f.added++
		case !has:
			f.removed++
		default:
			f.differ++
		}
	}
	return nil
}

func shortValue(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		text = fmt.Append(nil, v)
	}
	return wording.Shorten(wording.Visible(string(text)))
}

// Print shows the fields, those that change most often first.
func (c *Comparison) Print(w io.Writer) error {
	list := slices.SortedFunc(maps.Values(c.Fields), func(a, b *FieldChange) int {
		return cmp.Or(cmp.Compare(b.all(), a.all()), cmp.Compare(a.name, b.name))
	})
	if len(list) > 0 {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "FIELD\tCHANGED\tADDED\tREMOVED\tFOR EXAMPLE\tBECOMES")
		for _, f := range list {
			fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%s\t%s\n", f.name, f.differ, f.added, f.removed, f.before, f.after)
		}
		if err := table.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	_, err := fmt.Fprintf(w, "%d of %d %s become others, in %d %s\n", c.changed, c.Events, wording.Plural(c.Events, "event"), len(list), wording.Plural(len(list), "field"))
	return err
}
