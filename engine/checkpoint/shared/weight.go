package shared

import (
	"math"
	"math/bits"
	"time"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// work is how much there was to do for a partition, as the log tells it; by the servers' clock.
type work struct {
	Weight  int       `json:"weight,omitempty"` // see Store.Weight
	Recent  float64   `json:"recent,omitempty"` // records of the last hour when it was counted: each counts for less by the hour, as 1/e
	Sent    int64     `json:"sent,omitempty"`   // records ever, by then
	Counted time.Time `json:"counted,omitzero"` // with the last position; of none, zero
}

// mostRecent keeps what the log says, whatever it says, within what can be counted.
const mostRecent = 1 << 30

// after is the work once the log has another position. Before the first one nothing
// is known of the last hour, and the mean of all hours stands for it.
func (w work) after(p *checkpoint.Position, at time.Time) work {
	sent := max(p.Forwarded, 0)
	if w.Counted.IsZero() {
		w.Recent = float64(sent) / max(p.Cursor.Sub(p.Start).Hours(), 1)
	} else {
		w.Recent = w.Recent*math.Exp(-max(at.Sub(w.Counted).Hours(), 0)) + float64(max(sent-w.Sent, 0))
	}
	w.Recent = min(max(w.Recent, 0), mostRecent)
	w.Sent, w.Counted = sent, at
	// The weight is a power of two, and stays for as long as it is about right: it seldom changes,
	// as a partition that moves is a pause. Asking weighs as much as 64 records.
	of := 64 + w.Recent
	if known := float64(w.Weight); of < known*5/16 || of >= known*5/4 {
		w.Weight = 1 << bits.Len(uint(of))
	}
	return w
}
