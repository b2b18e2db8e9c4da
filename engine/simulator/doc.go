// Package simulator is a Microsoft 365 tenant and a Secure60 endpoint over real
// HTTP on loopback, for the demo, the sessions, chaos and performance runs. It
// promises two things. It answers as Microsoft and Secure60 document, not as our own
// engine happens to expect: it imports no other package of this module, checks
// every token that it issued, evaluates the filters that it is sent or refuses them, and notes as a
// violation what a real service would tolerate and a well-behaved client does not
// do. And [Simulator.Report] says exactly which records were on offer, and which
// were lost or came twice.
//
// # How it works
//
// [Start] opens a listener for each service (simulator.go, bases.go), so that token scopes and
// host checks are real; a further host, foreign, belongs to nobody: a token that arrives there is a
// leak. What records look like, who the people are and which endpoints Graph has is
// data, in records/. A record is a function of seed, feed, index and time (world.go, timeline.go,
// template.go, slots.go): blobs (blobs.go, content.go) and pages (stream.go, table.go, page.go) are
// rendered when they are asked for, so millions need no storage. Record ids are a keyed
// permutation of feed and index (ids.go): the destination (secure60.go) turns an id back and
// counts, at one byte a record (report.go). [Simulator.Inject] makes a service
// misbehave (fault.go, damage.go). Another process uses the control endpoints (control.go)
// beneath /_simulator/ of the login host, see [Main].
//
// Everything exported may be used from several goroutines. Times are real unless
// [Options].Now says otherwise. People, addresses and domains are reserved for
// documentation (RFC 5737, RFC 3849, RFC 2606).
package simulator
