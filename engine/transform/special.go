package transform

// This file keeps the special plans. Most records of a kind have the same fields, and lack the same of those that the
// mapping reads: with that, most of what a rule asks is answered beforehand, and the rules are compiled anew
// without it (expression.Program.Special). This costs as much as mapping some hundred records, and some memory; so it is done for records
// that come often, once for all mappers, and not without end.

const (
	maxSpecial = 512 // plans of a mapping
	mostOfKind = 4   // plans of a kind
	toSpecial  = 16  // records of a kind without one, until the next gets one: what comes often is met soon
	leastShare = 64  // one in so many records must be of the kind and without one: more plans in turn are slow, as no cache holds them
)

// fits says whether a special plan is one for the record in hand.
func (m *Mapper) fits(p *plan) bool { return p.asked.Same(p.present, m.machine.Present()) }

// fitting is the plan for the record in hand, which is of kind k.
func (m *Mapper) fitting(k *kind) *plan {
	if k.last != nil && m.fits(k.last) {
		return k.last
	}
	for _, p := range *k.special.Load() {
		if m.fits(p) {
			k.last = p
			return p
		}
	}
	if k.misses++; k.misses%toSpecial == 0 {
		if m.records-k.counted <= toSpecial*leastShare {
			m.specialize(k)
		}
		k.counted = m.records
	}
	return k.plan
}

// specialize sees to it that the next record that is like the one in hand, which is of kind k, finds a special plan,
// if there is to be one.
func (m *Mapper) specialize(k *kind) {
	s := m.planning
	if !s.mutex.TryLock() {
		return // another is about it
	}
	defer s.mutex.Unlock()
	list := *k.special.Load()
	if s.special >= maxSpecial || len(list) >= mostOfKind {
		return
	}
	for _, p := range list {
		if m.fits(p) {
			return
		}
	}
	list = append(list[:len(list):len(list)], m.newSpecial())
	k.special.Store(&list)
	s.special++
}
