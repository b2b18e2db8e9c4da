package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
)

// eventKeys are the parts of an event that the judge needs, as they stand in
// the JSON, without their quotes.
type eventKeys struct {
	id, lower, intra []byte // event_Id, event_id, event_IntraSystemId
	clocks           [3][]byte
	operation        []byte
	members          int
	flaw             string // what a flat event must not have; "" for none
}

// clockNames are the properties that tell versions of a row apart.
var clockNames = [3]string{"event_lastUpdatedDateTime", "event_riskLastUpdatedDateTime", "event_lastUpdateDateTime"}

var errNotJSON = errors.New("the event is not a JSON object")

// scanEvent reads the keys of one event in one pass. An event is one flat JSON
// object of scalars; a nested value is noted and skipped.
func scanEvent(b []byte) (k eventKeys, err error) {
	k, next := scanObject(b, skipSpace(b, 0))
	if next < 0 || skipSpace(b, next) != len(b) {
		return k, errNotJSON
	}
	return k, nil
}

// scanObject reads the keys of the object that begins at i; next is -1 if there is none.
func scanObject(b []byte, i int) (k eventKeys, next int) {
	if i >= len(b) || b[i] != '{' {
		return k, -1
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return k, i + 1
	}
	for {
		name, next := scanString(b, i)
		if next < 0 {
			return k, -1
		}
		i = skipSpace(b, next)
		if i >= len(b) || b[i] != ':' {
			return k, -1
		}
		i = skipSpace(b, i+1)
		if i >= len(b) {
			return k, -1
		}
		var value []byte
		switch b[i] {
		case '"':
			value, next = scanString(b, i)
		case '{', '[':
			k.flaw = "a nested value"
			value, next = scanNested(b, i)
		default:
			value, next = scanScalar(b, i)
		}
		if next < 0 {
			return k, -1
		}
		k.members++
		k.note(name, value)
		i = skipSpace(b, next)
		if i >= len(b) {
			return k, -1
		}
		if b[i] == '}' {
			return k, i + 1
		}
		if b[i] != ',' {
			return k, -1
		}
		i = skipSpace(b, i+1)
	}
}

func (k *eventKeys) note(name, value []byte) {
	if len(name) == 0 || name[0] == '_' {
		k.flaw = "a name that is reserved"
		return
	}
	switch string(name) {
	case "event_Id":
		k.id = value
	case "event_id":
		k.lower = value
	case "event_IntraSystemId":
		k.intra = value
	case "operation":
		k.operation = value
	case clockNames[0]:
		k.clocks[0] = value
	case clockNames[1]:
		k.clocks[1] = value
	case clockNames[2]:
		k.clocks[2] = value
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// scanString reads the string that begins at i; next is -1 if there is none.
func scanString(b []byte, i int) (inside []byte, next int) {
	if i >= len(b) || b[i] != '"' {
		return nil, -1
	}
	start := i + 1
	for j := start; ; {
		q := bytes.IndexByte(b[j:], '"')
		if q < 0 {
			return nil, -1
		}
		q += j
		slashes := 0
		for q-1-slashes >= start && b[q-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return b[start:q], q + 1
		}
		j = q + 1
	}
}

func scanScalar(b []byte, i int) (value []byte, next int) {
	start := i
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] > ' ' {
		i++
	}
	value = b[start:i]
	switch string(value) {
	case "true", "false", "null":
		return value, i
	}
	if !isNumber(value) {
		return nil, -1
	}
	return value, i
}

// isNumber reports whether text is a JSON number.
func isNumber(b []byte) bool {
	i := 0
	digits := func() bool {
		start := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > start
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	whole := i
	if !digits() || b[whole] == '0' && i > whole+1 {
		return false
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return false
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(b)
}

func scanNested(b []byte, i int) (value []byte, next int) {
	dec := json.NewDecoder(bytes.NewReader(b[i:]))
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return nil, -1
	}
	return raw, i + int(dec.InputOffset())
}
