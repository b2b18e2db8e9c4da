package transform

import (
	"slices"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// This file makes a plan (plan.go) out of the first record of its kind: what reads
// only the fields that tell the kind, and what is known because of them, is
// evaluated on that record.

// drafting is a plan being made, out of the first record of its kind.
type drafting struct {
	*Mapper
	plan  *plan
	left  []step                            // what the plan asks of each record
	facts *expression.Facts                 // of a special plan
	made  map[*compiled]*expression.Program // special ones
	open  []bool                            // by field: a step of the plan may give it another rule
	state []int8                            // by field: whether it is known
}

const (
	notAsked = iota
	beingAsked
	isKnown
	isOpen
)

// planned is what is known of the kind of the record in hand.
func (m *Mapper) planned() *planned {
	m.planning.mutex.Lock()
	defer m.planning.mutex.Unlock()
	if k := m.planning.kinds[string(m.key)]; k != nil {
		return k
	}
	d := m.draft()
	k := &planned{plan: d.finish(), steady: make([]bool, len(m.m.values))}
	k.special.Store(new([]*plan))
	for i := range m.m.values {
		v := &m.m.values[i]
		k.steady[i] = d.decided(v.value) && !slices.ContainsFunc(v.when, func(when *compiled) bool { return !d.decided(when) })
	}
	if len(m.planning.kinds)%maxPlans == 0 {
		m.planning.kinds, m.planning.special = make(map[string]*planned), 0
	}
	m.planning.kinds[string(m.key)] = k
	return k
}

// newSpecial makes a plan for the records of a kind that have the fields which the record
// in hand has, as far as it matters.
func (m *Mapper) newSpecial() *plan {
	var facts *expression.Facts
	for {
		d := m.draft()
		again := facts != nil
		if again {
			facts.Again(d.fact)
		} else {
			facts = m.machine.NewFacts(d.fact)
		}
		d.facts, d.made = facts, make(map[*compiled]*expression.Program)
		d.plan.programs = make([]*expression.Program, len(m.m.fields))
		p := d.finish()
		p.asked, p.present = facts.Asked, slices.Clone(m.machine.Present())
		if again {
			return p
		}
	}
}

func (m *Mapper) draft() *drafting {
	n := len(m.m.fields)
	return &drafting{
		Mapper: m,
		plan:   &plan{},
		open:   make([]bool, n),
		state:  make([]int8, n),
	}
}

func (d *drafting) finish() *plan {
	m := d.Mapper
	outer := m.plan
	m.plan = d.plan // by which what is known so far is read
	m.winner = m.own[:copy(m.own, m.m.base)]
	d.plan.winner = m.winner
	d.steps()
	d.prune()
	d.compose()
	d.plan.winner = slices.Clone(m.winner)
	d.plan.ask(d.left)
	m.plan = outer
	return d.plan
}

// fact is the value of a name that is the same for all records of a special plan.
func (d *drafting) fact(slot int) (v expression.Value, ok bool) {
	if slot < len(d.m.fields) {
		if ok = d.isKnown(slot); ok {
			v = d.plan.value(d.winner[slot])
		}
		return v, ok
	}
	if slices.Contains(d.m.telling, slot) {
		return d.machine.Field(slot).Kept()
	}
	return v, false
}

// program is an expression as the plan has it.
func (d *drafting) program(e *compiled) *expression.Program {
	if d.facts == nil {
		return e.program
	}
	p := d.made[e]
	if p == nil {
		p = e.program.Special(d.facts)
		d.made[e] = p
	}
	return p
}

// steps decides what can be decided of the steps.
func (d *drafting) steps() {
	type group struct{ at, end int }
	var groups []group // that are not decided
	leave := func(i int) {
		for len(groups) > 0 && groups[len(groups)-1].end <= i {
			g := groups[len(groups)-1]
			groups = groups[:len(groups)-1]
			d.left[g.at].skip = len(d.left) - g.at - 1
		}
	}
	for i := 0; i < len(d.m.steps); i++ {
		leave(i)
		s := &d.m.steps[i]
		when, holds := d.decide(s.when)
		switch {
		case !holds:
			i += s.skip
		case len(when) == 0 && len(groups) == 0:
			d.win(s.rules)
		default:
			if s.skip > 0 && len(when) > 0 {
				groups = append(groups, group{len(d.left), i + 1 + s.skip})
			}
			d.left = append(d.left, step{when: when, rules: s.rules})
			d.opened(s.rules)
		}
	}
	leave(len(d.m.steps))
}

// decide evaluates the conditions that are the same for all records of the kind,
// and gives the others. holds is false if one does not hold.
func (d *drafting) decide(all []*compiled) (rest []*compiled, holds bool) {
	for _, when := range all {
		decided := d.decided(when)
		if d.facts != nil {
			when = &compiled{program: d.program(when), text: when.text}
		}
		if !decided {
			rest = append(rest, when)
			continue
		}
		holds, err := when.program.Holds(d.machine)
		switch {
		case err != nil:
			rest = append(rest, when)
		case !holds:
			if len(rest) > 0 && !sure(rest) {
				return append(rest, when), true // what comes before it may fail, which is told
			}
			return nil, false
		}
	}
	return rest, true
}

// sure says that none of the conditions can fail.
func sure(list []*compiled) bool {
	for _, when := range list {
		if !when.program.Sure() {
			return false
		}
	}
	return true
}

// decided says whether an expression is the same for all records of the kind.
func (d *drafting) decided(e *compiled) bool {
	if !e.program.Pure() {
		return false
	}
	if d.facts != nil {
		_, fixed := d.program(e).Fixed()
		return fixed
	}
	for _, name := range e.program.Names() {
		if field, computed := d.m.fieldOf[name.Name]; computed {
			if !d.isKnown(field) {
				return false
			}
		} else if slot, ok := d.m.unit.Slot(name.Name); !ok || !slices.Contains(d.m.telling, slot) {
			return false
		}
	}
	return true
}

func (d *drafting) opened(rules []int16) {
	for _, r := range rules {
		d.open[d.m.targets[r]] = true
	}
}

// isKnown says whether a field has the same value in all events of the kind, and
// keeps it then.
func (d *drafting) isKnown(field int) bool {
	if d.state[field] == notAsked {
		d.state[field] = beingAsked
		if d.find(field) {
			d.state[field] = isKnown
		} else {
			d.state[field] = isOpen
		}
	}
	return d.state[field] == isKnown
}

func (d *drafting) find(field int) bool {
	if d.open[field] || field == d.m.timestamp {
		return false
	}
	var v expression.Value
	if r := d.winner[field]; r >= 0 {
		rule := &d.m.rules[r]
		if !d.decided(rule.expression) {
			return false
		}
		var err error
		if v, err = d.program(rule.expression).Value(d.machine); err != nil {
			return false
		}
	}
	if v.Nothing() {
		if v = d.fallback[field]; v.Nothing() && d.always[field] {
			return false
		}
	}
	v, ok := v.Kept()
	if ok {
		d.plan.values = append(d.plan.values, v)
		d.winner[field] = int16(noRule - len(d.plan.values))
	}
	return ok
}

// prune takes away rules that cannot win, and what is then asked for nothing.
func (d *drafting) prune() {
	var kept []step // from the last to the first
	clear(d.open)
	after := make([]int, len(d.left)+1) // how many steps are kept from here on
	for i := len(d.left) - 1; i >= 0; i-- {
		s := d.left[i]
		var rules []int16
		for _, r := range s.rules {
			if r > d.winner[d.m.targets[r]] {
				rules = append(rules, r)
			}
		}
		s.rules, s.skip = rules, after[i+1]-after[i+1+s.skip]
		after[i] = after[i+1]
		if len(rules) > 0 || s.skip > 0 || !sure(s.when) {
			kept = append(kept, s)
			after[i]++
			d.opened(rules)
		}
	}
	slices.Reverse(kept)
	d.left = kept
	for field := range d.state { // what was open only for rules that cannot win
		if d.state[field] == isOpen {
			d.state[field] = notAsked
		}
	}
	clear(d.made)
}
