package definition

// nearest is the word that was most likely meant, "" if none is near: few
// letters differ, or the words begin alike.
func nearest(given string, words []string) string {
	best, least := "", 1<<30
	for _, word := range words {
		d := distance(given, word)
		if d > max(2, min(len(given), len(word))/3) {
			if prefix(given, word) < 4 {
				continue
			}
			d += len(given) // a like beginning is weaker than a typing mistake
		}
		if d < least {
			best, least = word, d
		}
	}
	return best
}

func prefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// distance is how many bytes must be inserted, removed or replaced to make b
// of a.
func distance(a, b string) int {
	if len(a) > 64 { // no key is that long
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
