package transform

import "slices"

// This file ends the draft of a plan: it makes the parts of the event out of what is decided.

// compose finds the parts of the event.
func (d *drafting) compose() {
	var text []byte // of all parts
	read := d.m.read
	if d.facts != nil {
		read = d.facts.Read
		d.reads(read)
	}
	for field, r := range d.winner {
		if !d.open[field] && r == noRule && !d.always[field] {
			continue
		}
		if d.isKnown(field) {
			text = d.appendField(text, field, d.m.read[field])
			continue
		}
		p := part{end: int32(len(text)), field: int16(field), slot: -1, of: -1, steady: !d.open[field], read: read[field]}
		if d.facts != nil && r >= 0 {
			d.plan.programs[field] = d.program(d.m.rules[r].expression)
		}
		if !d.always[field] {
			p.may = d.facts == nil
			if slot, ok := d.copies(field); ok {
				p.slot = int32(slot)
			}
		}
		d.plan.parts = append(d.plan.parts, p)
	}
	d.plan.parts, d.plan.text = slices.Clip(d.plan.parts), string(text)
	d.plan.asking = -1
	if d.facts != nil {
		d.alone()
	}
}

// reads notes the computed fields that are read beside what the rules of a special plan read.
func (d *drafting) reads(read []bool) {
	clear(read)
	for _, name := range inDefaultMessage {
		if field, ok := d.m.fieldOf[name]; ok {
			read[field] = true
		}
	}
	note := func(list ...*compiled) {
		for _, e := range list {
			for _, name := range e.program.Names() {
				if field, ok := d.m.fieldOf[name.Name]; ok {
					read[field] = true
				}
			}
		}
	}
	for _, s := range d.left {
		note(s.when...)
		for _, r := range s.rules {
			note(d.m.rules[r].expression)
		}
	}
	for _, list := range [][]filter{d.m.drops, d.m.samples} {
		for _, f := range list {
			note(f.when...)
		}
	}
	for _, v := range d.m.values {
		note(v.value, v.is)
		note(v.when...)
	}
}

// copies is the field of the record that a field of the event always is.
func (d *drafting) copies(field int) (slot int, ok bool) {
	if r := d.winner[field]; r >= 0 && !d.open[field] && field != d.m.message && field != d.m.timestamp && d.fallback[field].Nothing() {
		return d.program(d.m.rules[r].expression).Field()
	}
	return 0, false
}
