package shared

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// A message of the log is one atomic change of one partition: the length of a head, the head
// in JSON, and the keys, 16 bytes each. Its headers say what a sweep must know, so
// that it reads nothing else:
//
//	S60-Id       store.claim.number: which message of which claim of which opened store
//	S60-Expires  the hour since 1970 at which the keys expire; only with keys
//	S60-Window   the end of the ledger's window; only with an entry
const (
	headerID      = "S60-Id"
	headerExpires = "S60-Expires"
	headerWindow  = "S60-Window"
)

// Format is the newest version of messages that this release reads. It writes the oldest that can
// say a thing: 1, or 2 for what came with it (objects), once every replica that lives
// reads that; see [Store.Commit].
const Format = 2

type kind string

const (
	kindCommit  kind = "commit"
	kindPart    kind = "part"    // keys, and objects of a commit that is still to come
	kindClaim   kind = "claim"   // the session owns the partition from here on
	kindRelease kind = "release" // nobody does
	// A fold says again what earlier messages said: the position, and totals of days. With
	// Before, all windows that end before it are in the totals. What comes before
	// the first message of a complete fold serves only for its keys and for windows not
	// folded yet.
	kindFold kind = "fold"
)

type message struct {
	Version   int                  `json:"v"`
	Kind      kind                 `json:"kind"`
	Feed      string               `json:"feed"`
	Partition string               `json:"partition"`
	Session   string               `json:"session,omitempty"`
	Position  *checkpoint.Position `json:"position,omitempty"`
	Entry     *checkpoint.Entry    `json:"entry,omitempty"`
	Expires   time.Time            `json:"expires,omitzero"`
	Days      []checkpoint.Entry   `json:"days,omitempty"`
	Before    time.Time            `json:"before,omitzero"`
	Forget    time.Time            `json:"forget,omitzero"` // days that end before it leave
	// Rest, of a release, is how long from then on the requests that its holder has just sent still
	// count, see Store.Rest. nil: not known.
	Rest *time.Duration `json:"rest,omitempty"`
	// Work, of a fold, is what earlier messages told of it.
	Work *work `json:"work,omitempty"`

	Objects []checkpoint.Object `json:"objects,omitempty"`
	Part    int                 `json:"part,omitempty"` // of a part its number, from 1; of a commit how many it has

	keys []checkpoint.Key
}

func (m *message) name() partitionName { return partitionName{m.Feed, m.Partition} }

// errNewer: the log holds what only a newer release can read.
var errNewer = errors.New("a newer release of the connector wrote to the shared state; install that release here too")

// encode makes the message as it is published, but for what publishing adds.
func (m *message) encode(stream string) (*nats.Msg, error) {
	if !utf8.ValidString(m.Feed) || !utf8.ValidString(m.Partition) {
		return nil, fmt.Errorf("the name of feed %q, partition %q, is not UTF-8", m.Feed, m.Partition)
	}
	m.Version = 1
	if m.Kind == kindPart || len(m.Objects) > 0 {
		m.Version = 2
	}
	head, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	data := make([]byte, 0, 4+len(head)+len(m.keys)*len(checkpoint.Key{}))
	data = binary.AppendUvarint(data, uint64(len(head)))
	data = append(data, head...)
	for i := range m.keys {
		data = append(data, m.keys[i][:]...)
	}
	msg := &nats.Msg{Subject: subjectOf(stream, m.name()), Data: data, Header: nats.Header{}}
	if len(m.keys) > 0 {
		msg.Header.Set(headerExpires, strconv.FormatInt(max(0, m.Expires.Add(time.Hour-1).Unix()/3600), 10))
	}
	if m.Entry != nil {
		msg.Header.Set(headerWindow, m.Entry.To.UTC().Format(time.RFC3339Nano))
	}
	return msg, nil
}

// decodeMessage reads what encode made. What it accepts can be applied to a view.
func decodeMessage(stream, subject string, data []byte) (*message, error) {
	length, size := binary.Uvarint(data)
	if size <= 0 || length > uint64(len(data)-size) {
		return nil, errors.New("its head is not whole")
	}
	head, rest := data[size:size+int(length)], data[size+int(length):]
	m := new(message)
	err := json.Unmarshal(head, m)
	switch {
	case m.Version > Format:
		return nil, errNewer
	case err != nil:
		return nil, fmt.Errorf("its head does not parse: %w", err)
	case m.Version < 1:
		return nil, errors.New("its head has no version")
	}
	switch m.Kind {
	case kindCommit, kindPart, kindClaim, kindRelease, kindFold:
	default:
		return nil, fmt.Errorf("its kind %q is unknown", m.Kind)
	}
	if subjectOf(stream, m.name()) != subject {
		return nil, fmt.Errorf("it speaks of %s, which has another subject", m.name())
	}
	if m.Part < 0 || m.Part > 1_000_000 {
		return nil, fmt.Errorf("its part %d is not a number of parts", m.Part)
	}
	if m.Entry != nil && (m.Entry.Feed != m.Feed || m.Entry.Partition != m.Partition) {
		return nil, errors.New("its ledger entry is of another partition")
	}
	for i := range m.Days {
		if m.Days[i].Feed != m.Feed || m.Days[i].Partition != m.Partition {
			return nil, errors.New("a day of its ledger is of another partition")
		}
	}
	if len(rest)%len(checkpoint.Key{}) != 0 {
		return nil, fmt.Errorf("its keys have %d bytes, which is not a multiple of %d", len(rest), len(checkpoint.Key{}))
	}
	if len(rest) > 0 {
		m.keys = make([]checkpoint.Key, len(rest)/len(checkpoint.Key{}))
		for i := range m.keys {
			m.keys[i] = checkpoint.Key(rest[i*len(checkpoint.Key{}):])
		}
	}
	return m, nil
}

// subjectOf is the subject of a partition's messages.
func subjectOf(stream string, name partitionName) string {
	return stream + "." + token(name[0]) + "." + token(name[1])
}

// token makes any text one token of a subject: what is not a letter, a digit, - or _ is
// written %XX, and nothing at all, which a token cannot be, as %.
func token(text string) string {
	if text == "" {
		return "%"
	}
	var b strings.Builder
	for _, c := range []byte(text) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
