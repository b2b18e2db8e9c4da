package definitions

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transform"
	"github.com/secure60/s60-m365-connector/mappings"
)

// Blinding warns of rules that would hold back what the documentation promises a
// source_severity of medium or more for: a detection would go blind in silence.
func Blinding(d *Compiled) (problems []definition.Problem) {
	if !slices.ContainsFunc(d.Set.Mappings(), func(m *definition.Mapping) bool { return len(m.Drop)+len(m.Sample) > 0 }) {
		return nil
	}
	type blinded struct {
		rule  transform.Rule
		cases []string
	}
	var list []*blinded
	for line := range bytes.Lines(mappings.Severe) {
		var known struct {
			Mapping, Case string
			Record        json.RawMessage
		}
		if err := json.Unmarshal(line, &known); err != nil {
			panic(err) // it is part of the program
		}
		named := d.Mappings[known.Mapping]
		if named == nil {
			continue
		}
		mapping := named()
		if len(mapping.Filters()) == 0 {
			continue
		}
		mapper := mapping.NewMapper(transform.Constant{Name: "source_name", Value: d.SourceName(known.Mapping)})
		mapper.Append(nil, known.Record)
		for _, rule := range mapper.Holding() {
			i := slices.IndexFunc(list, func(b *blinded) bool { return b.rule == rule })
			if i < 0 {
				list, i = append(list, &blinded{rule: rule}), len(list)
			}
			list[i].cases = append(list[i].cases, known.Case)
		}
	}
	for _, b := range list {
		shown := strings.Join(b.cases[:min(len(b.cases), 3)], ", ")
		if more := len(b.cases) - 3; more > 0 {
			shown += fmt.Sprintf(" and %d more", more)
		}
		p := b.rule.When.Problem(0, 0, fmt.Sprintf("%s would hold back events that have a source_severity of medium or more, on which detections rely: %s. Narrow the condition", b.rule.As, shown))
		p.Warning = true
		problems = append(problems, p)
	}
	return problems
}
