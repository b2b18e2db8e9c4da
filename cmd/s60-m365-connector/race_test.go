//go:build race

package main

// underRace: memory is not measured under the race detector, which keeps a
// shadow of all of it.
const underRace = true
