//go:build !race

package extract

const largeItem = 200 << 20
