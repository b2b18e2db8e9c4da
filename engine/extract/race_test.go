//go:build race

package extract

// largeItem is smaller under the race detector, which is fifty times slower here.
const largeItem = 8 << 20
