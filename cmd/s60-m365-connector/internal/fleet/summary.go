package fleet

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Summary writes what this run did: a line for each feed, of several tenants behind their names.
func (f *Fleet) Summary(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	tenant := ""
	if f.Many() {
		tenant = "TENANT\t"
	}
	fmt.Fprintf(table, "%sFEED\tDELIVERED\tREPEATED\tFILTERED\tREFUSED\tSTATE\n", tenant)
	for _, m := range f.List() {
		if m.Connector == nil {
			continue
		}
		for _, feed := range m.Connector.Engine.Status().ByFeed() {
			name := ""
			if f.Many() {
				name = m.Name + "\t"
			}
			fmt.Fprintf(table, "%s%s\t%d\t%d\t%d\t%d\t%s\n", name, feed.Feed, feed.Delivered(), feed.Duplicate(), feed.Filtered(), feed.DeadLettered, feed.State)
		}
	}
	table.Flush() //nolint:errcheck // what the terminal does not take is lost anyhow
}
