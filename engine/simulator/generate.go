package simulator

import "time"

// begin fills in everything of a record that follows from its id and the time
// it happened: who, where, and on what device.
func (w *world) begin(r *record, id recordID, guid [36]byte, at time.Time) {
	seed := mix(w.seed ^ uint64(id.feed)<<56 ^ uint64(id.class)<<52 ^ id.index)
	*r = record{w: w, seed: seed, id: id, guid: guid, at: at, created: at}
	at.AppendFormat(r.stamp[:0], "2006-01-02T15:04:05")
	n := uint64(len(w.people))
	// The smaller of two draws: some people work far more than others.
	r.user = &w.people[min(mix(seed^1)%n, mix(seed^2)%n)]
	r.other = &w.people[mix(seed^3)%n]
	r.robot = &w.robots[mix(seed^4)%uint64(len(w.robots))]
	r.app = &w.apps[mix(seed^5)%uint64(len(w.apps))]
	r.rank = mix(seed^6) >> 8
	r.place = r.user.place
	r.ip = r.user.ip
	if mix(seed^7)%8 == 0 {
		r.ip = r.user.ip6
	}
}

// signIn renders one sign-in of the given kind.
func (w *world) signIn(dst []byte, feed string, r *record, beta bool) []byte {
	switch feed {
	case SignInsServicePrincipal:
		r.ip, r.place = w.people[r.rank%5].ip, &company.Cities[0]
	case SignInsManagedIdentity:
		r.robot = &w.boxes[r.rank%uint64(len(w.boxes))]
		r.ip, r.place = "192.0.2.250", &company.Cities[5]
	}
	set := signInsBeta[feed]
	if !beta {
		set = signInsV1
	}
	t := set.ok
	switch chance := mix(r.seed^10) % 100; {
	case chance < 12:
		t = set.failed
	case chance < 14:
		t = set.risky
	}
	if r.version < 0 {
		t = set.pending
	}
	return t.append(dst, r, 0)
}
