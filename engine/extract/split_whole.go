package extract

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// This file splits bodies that no stream can: their path asks for more than names.

// splitWhole is split for paths that need the body as a whole.
func splitWhole(from io.Reader, path string, optional bool, to splitTo) (envelope []byte, err error) {
	whole, err := io.ReadAll(io.LimitReader(from, largestRecord+1))
	if err != nil {
		return nil, &brokenError{err: err}
	}
	if len(whole) > largestRecord {
		return nil, &shapeError{fmt.Sprintf("the body is larger than %d MB and the path %q cannot be followed in a stream; a path of plain names can", largestRecord>>20, path)}
	}
	whole = valid(whole)
	if !gjson.ValidBytes(whole) {
		return nil, &brokenError{err: errors.New("the body is no valid JSON")}
	}
	if len(whole) <= largestEnvelope {
		envelope = whole
	}
	if err := to.check(envelope); err != nil {
		return nil, err
	}
	found := gjson.GetBytes(whole, path)
	switch {
	case found.Raw != "" && !gjson.Valid(found.Raw): // a path can hold a literal of its own
		err = &shapeError{fmt.Sprintf("what the path %q gives is no JSON", path)}
	case found.IsArray():
		err = eachRecord(found, to.take)
	case found.IsObject():
		err = to.take([]byte(found.Raw))
	case !found.Exists() && !optional:
		err = noRecords(path, envelope)
	case found.Exists() && found.Type != gjson.Null:
		err = &shapeError{fmt.Sprintf("the body holds a %s where the feed looks for records (%q)", strings.ToLower(found.Type.String()), path)}
	}
	return envelope, err
}

// noRecords is the error of a body in which the path leads nowhere.
func noRecords(path string, envelope []byte) error {
	return &oddError{fmt.Sprintf("the body holds no records at %q; it holds %s", path, members(envelope))}
}

// members names what an object holds, for a person who looks for something else, and what it says
// of an error.
func members(raw []byte) string {
	const most = 12
	object := gjson.ParseBytes(raw)
	if !object.IsObject() {
		return "no members, as it is no object"
	}
	var names []string
	more := 0
	object.ForEach(func(name, _ gjson.Result) bool {
		if len(names) < most {
			names = append(names, strconv.Quote(transport.OneLine(name.String(), 60)))
		} else {
			more++
		}
		return true
	})
	text := strings.Join(names, ", ")
	switch {
	case len(names) == 0:
		text = "nothing"
	case more > 0:
		text += fmt.Sprintf(" and %d more", more)
	}
	if message := newAnswer(0, nil, raw).message(); message != "" {
		text += ": " + message
	}
	return text
}

func eachRecord(array gjson.Result, take func([]byte) error) error {
	var err error
	array.ForEach(func(_, v gjson.Result) bool {
		switch {
		case v.IsArray():
			err = eachRecord(v, take)
		case v.Type != gjson.Null:
			err = take([]byte(v.Raw))
		}
		return err == nil
	})
	return err
}
