package lease

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

func partitions(n int) []Partition {
	list := make([]Partition, n)
	for i := range list {
		list[i] = Partition{fmt.Sprintf("feed-%02d", i/3), fmt.Sprint(i % 3)}
	}
	return list
}

func members(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("replica-%d", i)
	}
	return list
}

func counts(target map[Partition]string) map[string]int {
	n := map[string]int{}
	for _, m := range target {
		n[m]++
	}
	return n
}

func TestAssign(t *testing.T) {
	all := partitions(13)
	for _, c := range []struct {
		name    string
		members int
		owned   map[string]int // how many of all the replicas own, in order
		want    map[string]int
		moves   int // of those that are owned by one who lives
	}{
		{"nobody", 0, nil, map[string]int{}, 0},
		{"one takes all", 1, nil, map[string]int{"replica-0": 13}, 0},
		{"two at the start", 2, nil, map[string]int{"replica-0": 7, "replica-1": 6}, 0},
		{"a second one joins", 2, map[string]int{"replica-0": 13}, map[string]int{"replica-0": 7, "replica-1": 6}, 6},
		{"the larger part stays with who has it", 2, map[string]int{"replica-1": 7, "replica-0": 6}, map[string]int{"replica-0": 6, "replica-1": 7}, 0},
		{"a third one joins", 3, map[string]int{"replica-0": 7, "replica-1": 6}, map[string]int{"replica-0": 4, "replica-1": 5, "replica-2": 4}, 4},
		{"one of three has gone", 2, map[string]int{"replica-0": 5, "replica-1": 4, "replica-9": 4}, map[string]int{"replica-0": 7, "replica-1": 6}, 0},
		{"more replicas than partitions", 20, map[string]int{"replica-0": 2}, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			owner := map[Partition]string{}
			left := slices.Clone(all)
			for _, m := range slices.Sorted(maps.Keys(c.owned)) {
				for range c.owned[m] {
					owner[left[0]], left = m, left[1:]
				}
			}
			list := members(c.members)
			target := assign(all, list, func(p Partition) string { return owner[p] }, same)
			if got := counts(target); c.want != nil && !maps.Equal(got, c.want) {
				t.Errorf("parts %v, want %v", got, c.want)
			}
			if c.members > 0 && len(target) != len(all) {
				t.Errorf("%d of %d partitions are assigned", len(target), len(all))
			}
			moves := 0
			for p, m := range owner {
				if slices.Contains(list, m) && target[p] != m {
					moves++
				}
			}
			if moves != c.moves {
				t.Errorf("%d partitions move away from a living owner, want %d", moves, c.moves)
			}
		})
	}
}

// TestAssignAgrees: whoever computes it, in whatever order things are known, comes to
// the same; and once it is followed, nothing moves any more.
func TestAssignAgrees(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		all, list := partitions(rng.IntN(60)), members(1+rng.IntN(7))
		owner := map[Partition]string{}
		for _, p := range all {
			if n := rng.IntN(12); n < 9 { // some of nobody, some of one who has gone
				owner[p] = fmt.Sprintf("replica-%d", n)
			}
		}
		of := func(p Partition) string { return owner[p] }
		target := assign(all, list, of, same)
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if again := assign(all, list, of, same); !maps.Equal(target, again) {
			t.Fatalf("the order of what is known matters: %v and %v", target, again)
		}
		n := counts(target)
		for _, m := range list {
			if n[m] != len(all)/len(list) && n[m] != (len(all)+len(list)-1)/len(list) {
				t.Fatalf("%s gets %d of %d partitions, with %d replicas", m, n[m], len(all), len(list))
			}
		}
		if settled := assign(all, list, func(p Partition) string { return target[p] }, same); !maps.Equal(target, settled) {
			t.Fatalf("what was followed moves again: %v, then %v", target, settled)
		}
	}
}

func same(Partition) int { return 1 }

// TestAssignByWeight: a replica that joins gets as much of the work as the other, and a part of each
// feed that is spread over several partitions.
func TestAssignByWeight(t *testing.T) {
	var all []Partition
	weight := map[Partition]int{}
	for _, p := range []Partition{{"entra-a", ""}, {"entra-b", ""}, {"entra-c", ""}, {"entra-d", ""}, {"entra-e", ""}, {"entra-f", ""}, {"entra-g", ""},
		{"mgmt", "a"}, {"mgmt", "b"}, {"mgmt", "c"}, {"mgmt", "d"}, {"mgmt", "e"}} {
		all = append(all, p)
		weight[p] = 128
	}
	lone := func(Partition) string { return "replica-0" }
	of := func(p Partition) int { return weight[p] }
	count := func(target map[Partition]string, feed string) (n int) {
		for p, m := range target {
			if m == "replica-1" && (feed == "" || p.Feed == feed) {
				n++
			}
		}
		return n
	}
	target := assign(all, members(2), lone, of)
	if got := count(target, "mgmt"); got != 2 && got != 3 || count(target, "") != 6 {
		t.Errorf("the one that joins gets %d of 5 partitions of one feed, and %d of 12", got, count(target, ""))
	}
	for _, p := range all[7:] {
		weight[p] = 4096
	}
	weight[all[8]] = 16384
	target = assign(all, members(2), lone, of)
	load := map[string]int{}
	for p, m := range target {
		load[m] += weight[p]
	}
	if a, b := load["replica-0"], load["replica-1"]; max(a, b)-min(a, b) > 1024 {
		t.Errorf("loads of %d and %d", a, b)
	}
	settled := assign(all, members(2), func(p Partition) string { return target[p] }, of)
	if !maps.Equal(settled, target) {
		t.Errorf("what was followed moves again: %v, then %v", target, settled)
	}
}
