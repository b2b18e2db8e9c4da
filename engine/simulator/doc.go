// Package simulator is a Microsoft 365 tenant and a Secure60 endpoint over real
// HTTP on loopback, for the demo, the whole-session tests, the chaos runs and
// the performance runs.
//
// It is held to what Microsoft and Secure60 document, not to what our own
// engine happens to send: it imports no other package of this module, checks
// every token it issued, evaluates the filters it is sent, and notes as a
// violation what a real service would tolerate silently but a well-behaved
// client must not do.
//
// # Services
//
// [Start] opens six listeners, so that token scopes and host checks are real:
// login, the Office 365 Management Activity API, Microsoft Graph, Defender for
// Endpoint, Secure60 ingest, and a Secure60 collector. A seventh, foreign, host
// belongs to nobody: a token that arrives there is a leak, and is reported.
//
// # Records
//
// Records are made up by a seeded generator. A record is a function of (seed,
// feed, index, time), so millions need no storage: blobs and pages are rendered
// as they are asked for. People, addresses and domains are reserved for
// documentation (RFC 5737, RFC 3849, RFC 2606). What records look like is data: the files of
// records/; endpoints of Graph are the rows of endpoints in graph.go.
//
// # The judge
//
// Record ids are a keyed permutation of (feed, index). The destination turns an
// id back into its index and counts, so [Simulator.Report] can say exactly which
// records were offered and which were lost or delivered twice, at one byte a
// record.
//
// Everything exported may be used from several goroutines. Another process can
// use the control endpoints beneath /_simulator/ of the login host, see
// [Main]; times are real unless [Options].Now says otherwise.
//
// # Faults
//
// [Simulator.Inject] makes a service misbehave: resets, truncated bodies, HTML,
// throttling, expired secrets, links to other hosts and more; see [Fault].
package simulator
