// Package timestamppb has the timestamps of Google's protobuf library without
// their wire format.
package timestamppb

import (
	"fmt"
	"time"
)

// Timestamp is a moment: seconds since 1970 and the nanoseconds after them.
type Timestamp struct {
	Seconds int64 `json:"seconds,omitempty"`
	Nanos   int32 `json:"nanos,omitempty"`
}

// New is the timestamp of a time.
func New(t time.Time) *Timestamp {
	return &Timestamp{Seconds: t.Unix(), Nanos: int32(t.Nanosecond())}
}

// AsTime is the time in UTC; that of nil is the beginning of 1970.
func (x *Timestamp) AsTime() time.Time {
	if x == nil {
		return time.Unix(0, 0).UTC()
	}
	return time.Unix(x.Seconds, int64(x.Nanos)).UTC()
}

// CheckValid refuses what is outside the years 1 to 9999, as the format does.
func (x *Timestamp) CheckValid() error {
	switch first, last := int64(-62135596800), int64(253402300799); {
	case x == nil:
		return fmt.Errorf("no timestamp")
	case x.Seconds < first || x.Seconds > last:
		return fmt.Errorf("the timestamp %d s is outside the years 1 to 9999", x.Seconds)
	case x.Nanos < 0 || x.Nanos >= 1e9:
		return fmt.Errorf("the timestamp has %d nanoseconds, not 0 to 999999999", x.Nanos)
	}
	return nil
}
