package mappings

import (
	"bytes"
	_ "embed" // the examples
	"encoding/json"
	"sync"
)

// moreExamples are records beside [Severe], a few of different kinds for each mapping, in the same
// form. It is written out of the golden cases.
//
//go:embed examples.ndjson
var moreExamples []byte

// Example is a record by which a mapping can be tried.
type Example struct {
	Name   string
	Record json.RawMessage
}

// Examples are those of a mapping.
func Examples(mapping string) []Example { return examples()[mapping] }

var examples = sync.OnceValue(func() map[string][]Example {
	all := map[string][]Example{}
	for _, list := range [][]byte{moreExamples, Severe} {
		for line := range bytes.Lines(list) {
			var known struct {
				Mapping, Case string
				Record        json.RawMessage
			}
			if err := json.Unmarshal(line, &known); err != nil {
				panic(err) // it is part of the program
			}
			all[known.Mapping] = append(all[known.Mapping], Example{known.Case, known.Record})
		}
	}
	return all
})
