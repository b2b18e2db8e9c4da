// Package expression is the language of feeds and mappings: expr-lang
// expressions that are safe with absent and odd data, and bounded in what they
// take.
//
// # How it works
//
// expr's parser makes a tree; the checker (names.go) refuses what the language
// does not know and says what was meant instead. A [Unit] compiles the trees of
// one mapping together to closures (compile.go, conditions.go, loops.go) over a
// [Value], which is passed in registers. A [Machine] holds a record's fields and
// the texts and lists that are made of them; it reads and decodes what an
// expression asks for, once for a record, and allocates nothing in the steady
// state. For records of which more is known beforehand, an expression is compiled anew with that
// (special.go), without what is nil for want of fields that they lack (guess.go). Operators and functions stand once each: operators.go, functions*.go.
// Feeds evaluate single expressions over maps, with [Program.Eval]. A fuzz test
// holds all of it to expr's own machine.
//
// # Absent data
//
// A name that the environment lacks is nil. A function of nil is nil, and so
// are a member or an element of nil, an element that is not there, a key that
// a table lacks, and arithmetic with nil; a + b with nil on a side is nil too.
// Exceptions take nil for what it is: ==, !=, ??, in, words, type, concat,
// max, min, mean and median (which pass over it), and join (which leaves out
// elements that are nil). As a condition (? :, and, or, not, if, a predicate)
// nil is false.
//
// # Comparison
//
// nil == nil is true. Any other comparison with nil, and one of values of
// different types, is false: ==, <, <=, >, >=, in, contains, matches,
// startsWith, endsWith. a != b is not (a == b). Numbers compare by value: 1 ==
// 1.0. Lists and maps are equal when all they hold is.
//
// # Text
//
// A number stands for its digits, exactly as the record has them, where text
// is asked for: in functions of text, in contains, matches, startsWith,
// endsWith, as a key of a map, and in text + number. true and false stand for
// their names there. A list or a map is no text: a function of text fails on
// it, an operator is false, and string(x) gives its compact JSON. Positions
// and lengths (len, indexOf, [from:to]) count characters.
//
// # Conversion
//
// int(x) cuts the fraction of a number and reads a text that holds a number
// and nothing else; of anything else it is nil. A whole number over 64 bits
// stays as it is. float(x) likewise. string(nil) is nil.
//
// # Functions beyond those of expr
//
//	time(x)     RFC 3339 in UTC of the formats that [AppendTime] lists, else nil
//	ip(x)       the bare address of "1.2.3.4:5", "[v6]:port", "::ffff:1.2.3.4", else nil
//	port(x)     the port of the same, or of a number, else nil
//	kebab(x)    "FileAccessedExtended" as file-accessed-extended
//	domain(x)   the domain of an e-mail address, a user name or a URL, else nil
//	json(text)  the value that a JSON text holds, else nil
//	words(…)    the arguments that are neither nil nor "", joined with a space
//
// # Failures
//
// What is left to fail at run: a function of text given a list, a function of
// lists given a text, arithmetic with what is no number, division by zero, a
// condition that is a text or a number, and limits, of each expression on each
// record: 16 MiB of texts and 262,144 elements of lists that it builds, 100,000
// steps of predicates. An expression has at most 2,000 nodes, and three loops
// within each other.
package expression
