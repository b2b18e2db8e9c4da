// Package setup holds the scripts that register the connector in a tenant, for
// PowerShell and for the Azure CLI. Each carries a table of the permissions
// that the shipped feeds declare: by default, by switch and by pack, with the
// service plans that make them of use. The package has no code of its own: its
// tests make the table from the feeds and from permissions.json, and run both
// scripts against a tenant.
package setup

//go:generate go test . -run TestScriptsCarryTable -update
