package definition

// Mapping says how one kind of record becomes an event. Its expressions are
// held as text with a place: the transform stage compiles them and reports
// what does not compile with [Text.Problem].
type Mapping struct {
	Name        string
	File        string
	Description string
	// Include are the mappings whose tables, pairs, fields and cases this one
	// takes in, in file order. Their fields and cases apply, as a group, after
	// the Fields of this mapping and before its Cases. They hold no cycle; one
	// mapping may be reached on several ways.
	Include []*Mapping
	// When says for which records the fields and cases of an included mapping
	// apply. Its Value is empty where the mapping gives none.
	When Text
	// Pairs are the paths of arrays of {name, value} objects that are spread
	// into fields, path members joined with "_" or ".".
	Pairs []Text
	// Tables are constant lookups: table name -> key -> scalar (string, bool,
	// int or float64). No name is given twice among a mapping and all that it
	// includes.
	Tables map[string]map[string]any
	Fields []MappingField // in file order
	Cases  []Case
	// Redact, Drop and Sample are in file order; an extending mapping's come after
	// those of its base.
	Redact []Redact
	Drop   []Drop
	Sample []Sample
	// Former are the computed fields of a shipped mapping that this one replaces
	// and does not give: others may name them, and they are nil.
	Former []string
	// Own is set for a mapping of the user's.
	Own bool
}

// How a field is redacted.
const (
	RedactRemove    = "remove"
	RedactMask      = "mask"
	RedactPseudonym = "pseudonym"
)

// Redact changes fields of the record before anything reads them.
type Redact struct {
	Fields []Text // names of flattened fields; * stands for any run of characters
	When   Text   // over the flattened record; Value is "" where the rule always applies
	With   string
}

// Drop keeps events for which When holds from being delivered; they are
// counted by As.
type Drop struct {
	As   string
	When Text // over the event's fields
}

// Sample lets the share Keep of the events for which When holds pass, told
// apart by the record's key; the others are counted by As.
type Sample struct {
	As   string
	When Text    // over the event's fields
	Keep float64 // from 0 to 1
}

// MappingField is a computed field: its name and the expression of its value.
type MappingField struct {
	Name Text
	Expr Text
}

// Case holds fields that apply to records for which When holds. Every such
// case applies, in order; a later one wins.
type Case struct {
	When   Text
	Fields []MappingField
}
