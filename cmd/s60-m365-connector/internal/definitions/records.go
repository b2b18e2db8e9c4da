package definitions

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
)

// EachRecord reads records in any of the forms people have them: a JSON array,
// one object, several objects, one object a line, or an answer of an endpoint with its records
// under "value". n counts from 1. What would surprise somebody is said to notes: that there was none, or
// that the one record looks like an answer with records in it.
func EachRecord(in io.Reader, use func(n int, record []byte) error, name string, notes io.Writer) error {
	reader := bufio.NewReaderSize(in, 1<<16)
	if bom, err := reader.Peek(3); err == nil && bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		reader.Discard(3) //nolint:errcheck // they were peeked
	}
	dec := jsontext.NewDecoder(reader, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	n, found := 0, "nothing"
	for {
		switch kind := dec.PeekKind(); kind {
		case '[', ']':
			if _, err := dec.ReadToken(); err != nil {
				return unreadable(name, n, err)
			}
			found = "an empty list"
			continue
		}
		value, err := dec.ReadValue()
		if errors.Is(err, io.EOF) {
			if n == 0 {
				fmt.Fprintf(notes, "%s holds %s: no record, and so no event; give records as JSON: a list, one object a line, or an answer with its records under \"value\"\n", name, found)
			}
			return nil
		}
		if err != nil {
			return unreadable(name, n, err)
		}
		value = bytes.ToValidUTF8(value, []byte("\ufffd"))
		records, wrapped, note := unwrapped(value)
		if wrapped {
			found = "an answer whose \"value\" is an empty list"
		}
		if note != "" {
			fmt.Fprintf(notes, "%s, record %d: %s\n", name, n+1, note)
		}
		for _, record := range records {
			n++
			if err := use(n, record); err != nil {
				return err
			}
		}
	}
}

// unwrapped are the records of an answer that has them under "value" and is nothing else, as those of
// Microsoft Graph are; or the record itself, with what is to be said of it if it is nearly one.
func unwrapped(value []byte) (records [][]byte, wrapped bool, note string) {
	whole := gjson.ParseBytes(value)
	list := whole.Get("value")
	if !whole.IsObject() || !list.IsArray() {
		return [][]byte{value}, false, ""
	}
	var others []string
	whole.ForEach(func(name, _ gjson.Result) bool {
		if name.String() != "value" && !strings.HasPrefix(name.String(), "@") {
			others = append(others, name.String())
		}
		return true
	})
	objects := 0
	for _, record := range list.Array() {
		records = append(records, []byte(record.Raw))
		if record.IsObject() {
			objects++
		}
	}
	switch {
	case len(others) == 0 && objects == len(records):
		return records, true, ""
	case objects == 0 || objects < len(records):
		return [][]byte{value}, false, ""
	}
	return [][]byte{value}, false, fmt.Sprintf("it has a list \"value\" of %d %s beside %s, and is taken for one record; if it is an answer with records in it, give the list alone: jq .value",
		objects, wording.Plural(objects, "object"), wording.Shorten(strings.Join(others, ", ")))
}

func unreadable(name string, n int, err error) error {
	return fmt.Errorf("%s: after %d %s: not JSON: %s", name, n, wording.Plural(n, "record"), strings.TrimPrefix(err.Error(), "jsontext: "))
}
