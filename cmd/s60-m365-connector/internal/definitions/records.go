package definitions

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
)

// EachRecord reads records in any of the forms people have them: a JSON array,
// one object, several objects, one object a line, or an answer of Microsoft
// Graph with its records under "value". n counts from 1.
func EachRecord(in io.Reader, use func(n int, record []byte) error, name string) error {
	reader := bufio.NewReaderSize(in, 1<<16)
	if bom, err := reader.Peek(3); err == nil && bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		reader.Discard(3) //nolint:errcheck // they were peeked
	}
	dec := jsontext.NewDecoder(reader, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	n := 0
	for {
		switch kind := dec.PeekKind(); kind {
		case '[', ']':
			if _, err := dec.ReadToken(); err != nil {
				return unreadable(name, n, err)
			}
			continue
		}
		value, err := dec.ReadValue()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return unreadable(name, n, err)
		}
		value = bytes.ToValidUTF8(value, []byte("\ufffd"))
		for _, record := range unwrapped(value) {
			n++
			if err := use(n, record); err != nil {
				return err
			}
		}
	}
}

// unwrapped are the records of an answer of Microsoft Graph, or the record
// itself.
func unwrapped(value []byte) [][]byte {
	list := gjson.GetBytes(value, "value")
	if !list.IsArray() || !gjson.GetBytes(value, `@odata\.context`).Exists() {
		return [][]byte{value}
	}
	var records [][]byte
	for _, record := range list.Array() {
		records = append(records, []byte(record.Raw))
	}
	return records
}

func unreadable(name string, n int, err error) error {
	return fmt.Errorf("%s: after %d %s: not JSON: %w", name, n, wording.Plural(n, "record"), err)
}
