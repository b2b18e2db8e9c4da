package definition

// Pos is a place in a file. Line and Column count from 1; Column counts
// characters.
type Pos struct {
	File   string
	Line   int
	Column int
}

// Problem is something wrong in a definition file.
type Problem struct {
	Pos
	Length  int    // characters to underline, at least 1
	Message string // what is wrong and what would be right
	Source  string // the whole source line
}

// Text is a YAML scalar that knows its place in the file.
type Text struct {
	Value string
	// unexported: place and the map from an offset in Value to the file
}

// Problem is a problem at a span of the text: offset and length in characters
// within Value. A length of 0 underlines the whole text.
func (t Text) Problem(offset, length int, message string) Problem {
	return Problem{Message: message}
}

// Pos is where the text starts.
func (t Text) Pos() Pos { return Pos{} }
