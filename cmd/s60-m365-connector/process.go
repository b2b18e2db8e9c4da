package main

import "github.com/KimMachineGun/automemlimit/memlimit"

// memoryShare of the container's memory is for Go's heap; the rest is for what
// Go does not count.
const memoryShare = 0.8

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
