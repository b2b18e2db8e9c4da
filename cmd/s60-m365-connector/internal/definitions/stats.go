package definitions

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// weight is how many events there were of something, and their bytes.
type weight struct{ events, bytes int }

type weights map[string]weight

func (w weights) add(name string, size int) {
	was := w[name]
	w[name] = weight{was.events + 1, was.bytes + size}
}

// Stats says which operations records come to and what they weigh, and what the rules
// of the mapping hold back of them.
func Stats(mapper *transform.Mapper, in io.Reader, name string, out, notes io.Writer) error {
	operations, rules := weights{}, weights{}
	var all weight
	var event []byte
	err := EachRecord(in, func(_ int, record []byte) error {
		event, _ = mapper.Append(event[:0], record)
		size := len(event) + 1
		all = weight{all.events + 1, all.bytes + size}
		operations.add(gjson.GetBytes(event, "operation").String(), size)
		if rule := mapper.Filtered(record); rule != nil {
			rules.add(rule.As, size)
		}
		return nil
	}, name, notes)
	if err != nil {
		return err
	}
	if err := operations.print(out, "OPERATION", all); err != nil || len(rules) == 0 {
		return err
	}
	fmt.Fprintln(out)
	return rules.print(out, "HELD BACK BY", all)
}

// print prints the heaviest first.
func (w weights) print(out io.Writer, title string, all weight) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, of weight) {
		fmt.Fprintf(table, "%d\t%.1f %%\t%d\t%.1f %%\t  %s\n", of.events, partOf(of.events, all.events), of.bytes, partOf(of.bytes, all.bytes), name)
	}
	fmt.Fprintf(table, "EVENTS\t\tBYTES\t\t  %s\n", title)
	for _, name := range slices.SortedFunc(maps.Keys(w), func(a, b string) int {
		return cmp.Or(cmp.Compare(w[b].bytes, w[a].bytes), cmp.Compare(a, b))
	}) {
		row(wording.Visible(name), w[name])
	}
	row("all", all)
	return table.Flush()
}

func partOf(part, whole int) float64 { return 100 * float64(part) / float64(max(whole, 1)) }
