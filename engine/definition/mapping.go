package definition

// Mapping says how one kind of record becomes an event. Its expressions are
// held as text with a place: the transform stage compiles them and reports
// what does not compile with [Text.Problem].
type Mapping struct {
	Name        string `key:"name"`
	File        string
	Description string `key:"description"`
	// Include are the mappings whose tables, pairs, fields and cases this one
	// takes in, in file order. Their fields and cases apply, as a group, after
	// the Fields of this mapping and before its Cases. They hold no cycle; one
	// mapping may be reached on several ways.
	Include []*Mapping
	// When says for which records the fields and cases of an included mapping
	// apply. Its Value is empty where the mapping gives none.
	When Text `key:"when"`
	// Pairs are the paths of arrays of {name, value} objects that are spread
	// into fields, path members joined with "_" or ".".
	Pairs []Text `key:"flatten.pairs"`
	// Tables are constant lookups: table name -> key -> scalar (string, bool,
	// int or float64). No name is given twice among a mapping and all that it
	// includes.
	Tables map[string]map[string]any `key:"tables"`
	// Let are values that expressions name: no fields of the event. Their names are as those of tables.
	Let    []MappingField `key:"let"`
	Fields []MappingField `key:"fields"` // in file order
	Cases  []Case         `key:"cases"`
	// Redact, Drop and Sample are in file order; an extending mapping's come after
	// those of its base.
	Redact []Redact `key:"redact"`
	Drop   []Drop   `key:"drop"`
	Sample []Sample `key:"sample"`
	// KnownFields are names of fields of the records, a * at the end standing for any
	// further characters; KnownValues the fields of few values.
	KnownFields []Text  `key:"known.fields"`
	KnownValues []Known `key:"known.values"`
	// Former, FormerTables and FormerLet are the computed fields, tables and values of a shipped
	// mapping, and of what it includes, that this one replaces and does not give: others may name
	// them, and they are nil.
	Former, FormerTables, FormerLet []string
	// Unused is set for a mapping of the user's that no feed names and no mapping
	// includes: it may be meant for one that uses it.
	Unused bool
	// SourceType is what source_type is where no expression gives it: the mapping's
	// name, or that of the one that it extends.
	SourceType string
}

// How a field is redacted.
const (
	RedactRemove    = "remove"
	RedactMask      = "mask"
	RedactPseudonym = "pseudonym"
)

// Redact changes fields of the record before anything reads them.
type Redact struct {
	Fields []Text `key:"fields"` // names of flattened fields; * stands for any run of characters
	When   Text   `key:"when"`   // over the flattened record; Value is "" where the rule always applies
	With   string `key:"with"`
}

// Drop keeps events for which When holds from being delivered; they are
// counted by As.
type Drop struct {
	As   string `key:"as"`
	When Text   `key:"when"` // over the event's fields
}

// Sample lets the share Keep of the events for which When holds pass, told
// apart by the record's key; the others are counted by As.
type Sample struct {
	As   string  `key:"as"`
	When Text    `key:"when"` // over the event's fields
	Keep float64 `key:"keep"` // from 0 to 1
}

// Known says which values of a field the mapping knows.
type Known struct {
	Field Text   `key:"field"`
	Is    Text   `key:"is"` // over the event's fields, for each value once
	Kind  string `key:"kind"`
}

// MappingField is a computed field: its name and the expression of its value.
type MappingField struct {
	Name Text
	Expr Text
}

// Case holds fields that apply to records for which When holds. Every such
// case applies, in order; a later one wins.
type Case struct {
	When   Text           `key:"when"`
	Fields []MappingField `key:"fields"`
}
