package lease

import (
	"cmp"
	"slices"
)

// Partition names what is held: one feed, or one value of its for_each.
type Partition struct{ Feed, Value string }

func (p Partition) String() string {
	if p.Value == "" {
		return p.Feed
	}
	return p.Feed + " " + p.Value
}

// assign says which member is to hold each partition, so that the members' loads, sums of the
// weights of what they hold, are as even as moves of single partitions make them, with no more moves
// than that asks for. Of what may move alike, that of the feed of which the giver holds most
// beyond the taker does: a feed is spread. Whoever knows the same partitions, members, owners and
// weights comes to the same result, so that replicas need not talk about it; where they know different
// things for a moment, the claims decide.
func assign(partitions []Partition, members []string, owner func(Partition) string, weight func(Partition) int) map[Partition]string {
	if len(members) == 0 {
		return nil
	}
	a := assignment{weight: weight, load: map[string]int{}, feeds: map[string]map[string]int{}, target: make(map[Partition]string, len(partitions))}
	for _, m := range members {
		a.load[m], a.feeds[m] = 0, map[string]int{}
	}
	members = slices.Sorted(slices.Values(members))
	// Heavy ones first, which are harder to place.
	partitions = slices.Clone(partitions)
	slices.SortFunc(partitions, func(p, q Partition) int {
		return cmp.Or(cmp.Compare(weight(q), weight(p)), cmp.Compare(p.Feed, q.Feed), cmp.Compare(p.Value, q.Value))
	})
	var free []Partition
	for _, p := range partitions {
		if m := owner(p); a.feeds[m] != nil {
			a.give(p, m)
		} else {
			free = append(free, p)
		}
	}
	for _, p := range free {
		a.give(p, slices.MinFunc(members, func(m, n string) int {
			return cmp.Or(cmp.Compare(a.load[m], a.load[n]), cmp.Compare(a.feeds[m][p.Feed], a.feeds[n][p.Feed]))
		}))
	}
	byLoad := func(m, n string) int { return cmp.Compare(a.load[m], a.load[n]) }
	for range len(partitions) {
		if !a.even(partitions, slices.MaxFunc(members, byLoad), slices.MinFunc(members, byLoad)) {
			break
		}
	}
	return a.target
}

type assignment struct {
	weight func(Partition) int
	load   map[string]int            // by member
	feeds  map[string]map[string]int // by member and feed: how many partitions
	target map[Partition]string
}

func (a *assignment) give(p Partition, m string) {
	if from, ok := a.target[p]; ok {
		a.load[from] -= a.weight(p)
		a.feeds[from][p.Feed]--
	}
	a.target[p] = m
	a.load[m] += a.weight(p)
	a.feeds[m][p.Feed]++
}

// even moves the partition that makes two loads most even. It reports false where none makes
// them more even.
func (a *assignment) even(partitions []Partition, from, to string) bool {
	apart := a.load[from] - a.load[to]
	best, left, spread := -1, apart, 0
	for i, p := range partitions {
		if a.target[p] != from {
			continue
		}
		after := apart - 2*a.weight(p)
		after = max(after, -after)
		beyond := a.feeds[from][p.Feed] - a.feeds[to][p.Feed]
		if after < left || after == left && best >= 0 && beyond > spread {
			best, left, spread = i, after, beyond
		}
	}
	if best < 0 {
		return false
	}
	a.give(partitions[best], to)
	return true
}
