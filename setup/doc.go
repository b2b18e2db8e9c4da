// Package setup holds the scripts that register the connector in a tenant, for
// PowerShell and for the Azure CLI, and the table of the permissions they ask
// for. Each script carries a copy of the table, so that it can be downloaded
// and run alone. The package has no code of its own: its tests hold the table
// to what the shipped feeds declare, and run the shell script against a tenant.
package setup

//go:generate go test . -run TestScriptsCarryTable -update
