package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"
)

// What is stored, by the first byte of the name:
//
//	m                                   meta: the format's version
//	p feed partition                    a Position, JSON
//	k key                               4 bytes: the hour since 1970 at which it expires
//	l feed partition from to            an Entry of one window, JSON
//	d feed partition day complete       an Entry that totals a day's windows, JSON
//	s feed partition id                 an Object's state
//
// Texts carry their length, times sort as they follow each other, so the windows
// of a partition lie in order of time.
const (
	metaSpace     = 'm'
	positionSpace = 'p'
	keySpace      = 'k'
	windowSpace   = 'l'
	daySpace      = 'd'
	objectSpace   = 's'
)

// formatVersion is what this release writes. A release that changes the layout
// raises it and brings what older releases wrote up to it; what a newer release
// wrote is set aside.
const formatVersion = 1

type meta struct {
	Version int       `json:"version"`
	Created time.Time `json:"created"`
}

// partitionName begins every name of a partition in a space.
func partitionName(space byte, feed, partition string) []byte {
	return appendText(appendText([]byte{space}, feed), partition)
}

// cutPartition reads what partitionName put in front of a name.
func cutPartition(name []byte) (feed, partition string, err error) {
	feed, rest, ok := cutText(name[1:])
	partition, _, ok2 := cutText(rest)
	if !ok || !ok2 {
		return "", "", fmt.Errorf("no feed and partition in the name %q", name)
	}
	return feed, partition, nil
}

func windowName(e *Entry) []byte {
	b := partitionName(windowSpace, e.Feed, e.Partition)
	return appendTime(appendTime(b, e.From), e.To)
}

// dayName keeps the total of complete windows apart from that of the others: a
// difference in the former is an alarm, in the latter it is to be expected.
func dayName(e *Entry) []byte {
	b := appendTime(partitionName(daySpace, e.Feed, e.Partition), e.From)
	if e.Complete {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendTime appends t in 12 bytes that sort as times do.
func appendTime(b []byte, t time.Time) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.Unix())^1<<63)
	return binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))
}

// hoursUp is the first full hour, counted from 1970, that does not lie before t: a key
// is remembered at least until t.
func hoursUp(t time.Time) uint32 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	if s <= 0 {
		return 0
	}
	return uint32(min((s+3599)/3600, 1<<32-1))
}

func hourTime(h uint32) time.Time { return time.Unix(int64(h)*3600, 0).UTC() }

func decodeExpiry(v []byte) (time.Time, error) {
	if len(v) != 4 {
		return time.Time{}, fmt.Errorf("a key's expiry has %d bytes, want 4", len(v))
	}
	return hourTime(binary.BigEndian.Uint32(v)), nil
}

// decodeJSON reads a stored value; one that does not parse was not written by this
// program and is damage.
func decodeJSON[T any](name, v []byte) (T, error) {
	var t T
	if err := json.Unmarshal(v, &t); err != nil {
		return t, fmt.Errorf("the value under %q does not parse: %w", name, err)
	}
	return t, nil
}
