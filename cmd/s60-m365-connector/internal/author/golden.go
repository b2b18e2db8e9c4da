package author

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/cases"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/definitions"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/engine/transform"
)

// goldenTime is the time of collection in golden cases: the timestamp of
// records that have none of their own.
var goldenTime = cases.Start

// goldenCase is a record, and the event that it must become.
type goldenCase struct{ Mapping, Name, record, Golden string }

// GoldenCases finds the cases under a folder.
func GoldenCases(root string) ([]goldenCase, error) {
	files, err := filepath.Glob(filepath.Join(root, "*", "*.json"))
	if err != nil {
		return nil, err
	}
	var cases []goldenCase
	for _, file := range files {
		if strings.HasSuffix(file, definitions.GoldenSuffix) {
			continue
		}
		name := strings.TrimSuffix(file, ".json")
		cases = append(cases, goldenCase{
			Mapping: filepath.Base(filepath.Dir(file)), Name: filepath.Base(name), record: file, Golden: name + definitions.GoldenSuffix,
		})
	}
	return cases, nil
}

// CompileStill compiles a mapping for which time stands still: records without a time of
// their own get [goldenTime].
func CompileStill(defs *definitions.Compiled, s *settings.Settings, name string) (*transform.Mapping, error) {
	m := defs.Set.Mapping(name)
	if m == nil {
		return nil, fmt.Errorf("there is no mapping %q", name)
	}
	compiled, problems := transform.Compile(m, Still(s))
	if definition.Invalid(problems) {
		return nil, errors.New(problems[0].String())
	}
	return compiled, nil
}

// Still are the options of a mapping for which time stands still.
func Still(s *settings.Settings) transform.Options {
	return transform.Options{Constants: definitions.Constants(s.Environment), Now: func() time.Time { return goldenTime }, PseudonymKey: s.PseudonymKey}
}

// Event is what the record of the case becomes, as golden files hold it: of one that a rule
// holds back, the name of the rule.
func (c goldenCase) Event(mapping *transform.Mapping) ([]byte, error) {
	record, err := os.ReadFile(c.record)
	if err != nil {
		return nil, err
	}
	if !json.Valid(record) {
		return nil, fmt.Errorf("%s is not JSON", c.record)
	}
	return GoldenEvent(mapping, c.Mapping, record)
}

// GoldenEvent is the event of a record as golden files hold it.
func GoldenEvent(mapping *transform.Mapping, name string, record []byte) ([]byte, error) {
	mapper := mapping.NewMapper(transform.Constant{Name: "source_name", Value: name})
	raw, _ := mapper.Append(nil, record)
	if rule := mapper.Filtered(record); rule != nil {
		return fmt.Appendf(nil, "{\n  \"not_delivered\": %q\n}\n", rule.As), nil
	}
	fields, err := EventFields(raw)
	if err != nil {
		return nil, err
	}
	text, err := encode(fields, "  ")
	return []byte(text), err
}

// EventFields decodes an event without losing a digit.
func EventFields(event []byte) (fields map[string]any, err error) {
	d := json.NewDecoder(bytes.NewReader(event))
	d.UseNumber()
	err = d.Decode(&fields)
	return fields, err
}

// Differing are the names of the fields in which two events differ, in order.
func Differing(was, is map[string]any) []string {
	all := map[string]any{}
	maps.Copy(all, was)
	maps.Copy(all, is)
	maps.DeleteFunc(all, func(name string, _ any) bool {
		_, had := was[name]
		_, has := is[name]
		return had == has && reflect.DeepEqual(was[name], is[name])
	})
	return slices.Sorted(maps.Keys(all))
}

// Compare tells how the event differs from the one on file, field by field.
func (c goldenCase) Compare(event []byte) error {
	golden, err := os.ReadFile(c.Golden)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("it has no %s: check the event with map, then write it with test --update", filepath.Base(c.Golden))
	}
	if err != nil {
		return err
	}
	if bytes.Equal(golden, event) {
		return nil
	}
	want, err := EventFields(golden)
	if err != nil {
		return fmt.Errorf("%s is not JSON: %w", c.Golden, err)
	}
	got, err := EventFields(event)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, name := range Differing(want, got) {
		if was, had := want[name]; had {
			writeField(&text, "-", name, was)
		}
		if is, has := got[name]; has {
			writeField(&text, "+", name, is)
		}
	}
	if text.Len() == 0 {
		return nil // only the layout of the file differs
	}
	return errors.New(strings.TrimSuffix(text.String(), "\n"))
}

func writeField(w io.Writer, sign, name string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		text = []byte(fmt.Sprint(value))
	}
	fmt.Fprintf(w, "%s %s: %s\n", sign, name, text)
}
