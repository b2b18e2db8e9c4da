package mappings

import _ "embed"

// Severe are records whose events have a source_severity of medium or more, one a line:
// {"mapping": …, "case": …, "record": …}. It is written out of the golden cases.
//
//go:embed severe.ndjson
var Severe []byte
