package main

import (
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryShare of the container's memory is for Go's heap; the rest is for what
// Go does not count.
const memoryShare = 0.8

// heapGrowth is by how many percent the heap may grow between two collections. Mapping allocates
// nothing, so collecting garbage three times as often as Go's default costs a few percent of the
// processor and saves a third of the memory.
const heapGrowth = 35

// prepareProcess keeps secrets out of core files, and lets the garbage
// collector know how much memory the container has. Neither can fail the start:
// without them the connector works the same.
func prepareProcess() {
	forbidCoreFiles()
	memlimit.Set( //nolint:errcheck // no limit is set where there is none
		memlimit.WithRatio(memoryShare),
		memlimit.WithProvider(memlimit.FromCgroup),
	)
}

// keepHeapSmall is for commands that collect or deliver. Short commands would spend a fifth of their time on
// it, and simulate only stands in for other programs.
func keepHeapSmall() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
}
