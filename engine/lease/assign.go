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

// assign says which member is to hold each partition. Loads differ by one at most, and
// no more moves than that asks for: a member keeps what it holds up to its
// part. Whoever knows the same partitions, members and owners comes to the same
// result, so that replicas need not talk about it; where they know different
// things for a moment, the claims decide.
func assign(partitions []Partition, members []string, owner func(Partition) string) map[Partition]string {
	if len(members) == 0 {
		return nil
	}
	partitions = slices.Clone(partitions)
	slices.SortFunc(partitions, func(a, b Partition) int { return cmp.Or(cmp.Compare(a.Feed, b.Feed), cmp.Compare(a.Value, b.Value)) })
	load := map[string]int{}
	for _, m := range members {
		load[m] = 0
	}
	for _, p := range partitions {
		if _, alive := load[owner(p)]; alive {
			load[owner(p)]++
		}
	}
	// Those who hold most get the parts that are one larger.
	order := slices.Clone(members)
	slices.SortFunc(order, func(a, b string) int { return cmp.Or(cmp.Compare(load[b], load[a]), cmp.Compare(a, b)) })
	room := map[string]int{}
	for i, m := range order {
		room[m] = len(partitions) / len(order)
		if i < len(partitions)%len(order) {
			room[m]++
		}
	}
	target := make(map[Partition]string, len(partitions))
	var free []Partition
	for _, p := range partitions {
		if m := owner(p); room[m] > 0 {
			target[p] = m
			room[m]--
		} else {
			free = append(free, p)
		}
	}
	// One after the other round the members, so that the partitions of one feed, or
	// one tenant, which follow each other, do not all come to the same.
	for at := 0; len(free) > 0; at = (at + 1) % len(order) {
		if m := order[at]; room[m] > 0 {
			target[free[0]] = m
			room[m]--
			free = free[1:]
		}
	}
	return target
}
