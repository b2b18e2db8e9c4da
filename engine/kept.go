package engine

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// What the state keeps of an object is what its mapping lets others see: a secret that a rule redacts is
// not on the disk either. That such a field changed must show all the same, so a digest of its value is kept
// beside it: of 32 bits, by which a change goes unseen once in four billion times, and which fits millions of
// card numbers, so that no guess is confirmed by it; under the key of pseudonyms where there is one, and salted
// with the object, so that two of the same value do not show it.

// kept is an object as the state keeps it.
type kept struct {
	object  []byte
	digests map[string]string // of the values that rules changed, by flat name

	digest func(name, value string) string
}

// digestsFirst begins a state that has digests, before the object: a line of JSON. No object
// begins so, and one that nothing redacts is kept as it came.
const digestsFirst = 0x01

// keep is a listed object as the state is to keep it.
func (s *source) keep(id string, raw []byte) kept {
	k := kept{object: raw, digest: s.digest(id)}
	if !s.mapper().Redacts() {
		return k
	}
	k.object = s.mapper().Redacted(raw)
	shown := flat(k.object)
	for name, value := range flat(raw) {
		if shown[name] != value {
			if k.digests == nil {
				k.digests = map[string]string{}
			}
			k.digests[name] = k.digest(name, value)
		}
	}
	return k
}

// keptAs is a state as it was kept, which may have been before the rules were as they are.
func (s *source) keptAs(id string, state []byte) kept {
	if len(state) == 0 || state[0] != digestsFirst {
		return s.keep(id, state)
	}
	line, object, _ := bytes.Cut(state[1:], []byte("\n"))
	k := s.keep(id, object)
	var digests map[string]string
	if json.Unmarshal(line, &digests) == nil {
		for name, digest := range k.digests { // what is redacted since
			if digests[name] == "" {
				digests[name] = digest
			}
		}
		k.digests = digests
	}
	return k
}

// bytes is what the state holds of the object.
func (k *kept) bytes() []byte {
	if len(k.digests) == 0 {
		return bytes.Clone(k.object)
	}
	line, _ := json.Marshal(k.digests) // texts can always be written
	return append(append(append([]byte{digestsFirst}, line...), '\n'), k.object...)
}

// same reports whether a field is what it was. a and b are what two states show of it, "" for nothing.
func (k *kept) same(now *kept, name, a, b string) bool {
	was, is := k.digests[name], now.digests[name]
	if was == "" && is == "" {
		return a == b
	}
	if was == "" && a != "" { // a rule has been added, or taken away
		was = k.digest(name, a)
	}
	if is == "" && b != "" {
		is = k.digest(name, b)
	}
	return was == is
}

// digest tells values of the fields of an object apart, and tells nothing of them.
func (s *source) digest(id string) func(name, value string) string {
	return func(name, value string) string {
		return s.mapper().Fingerprint(s.in.p.feed.Name, id, name, value)
	}
}

// remembered finds what the state has of an object or row, by the name under which it keeps it: the id,
// or a hash of one that a rule redacts, whose values are at the paths. One that was kept before the rule was is
// named anew.
func (s *source) remembered(ctx context.Context, id string, raw []byte, paths []string) (name string, state []byte, known bool, err error) {
	p := s.in.p
	state, known, err = p.engine.Store.Object(p.feed.Name, p.account, id)
	if err != nil || !s.mapper().Redacts() || objectID(s.mapper().Redacted(raw), paths) == id {
		return id, state, known, err
	}
	key := checkpoint.KeyOf(p.feed.Name, "object", id)
	name = "sha256:" + hex.EncodeToString(key[:])
	former := state
	state, again, err := p.engine.Store.Object(p.feed.Name, p.account, name)
	switch {
	case err != nil || !known:
		return name, state, again, err
	case !again:
		state = former
		if err := s.in.packer.also(ctx, &checkpoint.Object{ID: name, State: former}); err != nil {
			return name, nil, false, err
		}
	}
	return name, state, true, s.in.packer.also(ctx, &checkpoint.Object{ID: id})
}
