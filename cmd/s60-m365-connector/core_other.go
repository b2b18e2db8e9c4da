//go:build !unix

package main

// forbidCoreFiles has nothing to do where there are no core files.
func forbidCoreFiles() {}
