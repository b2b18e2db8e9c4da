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
