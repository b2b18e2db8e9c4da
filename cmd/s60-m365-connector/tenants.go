package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/fleet"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/program"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/engine/definition"
)

// configFlag is for commands that read definitions.
type configFlag struct {
	Config string `name:"config" placeholder:"DIR" help:"Folder with your feeds/ and mappings/, in the place of CONFIG_DIR."`
}

// tenantFlag is for commands that work on one tenant.
type tenantFlag struct {
	Tenant string `help:"Which tenant, where TENANTS_DIR has several: the name of its file."`
}

// settings are those of the tenant that the command names, of several, or else
// those of the process, read from env. set is that of [tenantsDir].
func (t tenantFlag) settings(process *settings.Settings, env map[string]string, set *definition.Set) (*settings.Settings, error) {
	switch {
	case process.TenantsDir == "" && t.Tenant != "":
		return nil, program.Exit(program.Usage, errors.New("--tenant is for several tenants, and TENANTS_DIR is not set: leave it out"))
	case process.TenantsDir == "":
		return process, nil
	}
	tenants, err := fleet.Tenants(process, env, set)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, one := range tenants {
		if one.Name == t.Tenant && one.Problems != nil {
			return nil, one.Problems
		}
		if one.Name == t.Tenant {
			return one.Settings, nil
		}
		names = append(names, one.Name)
	}
	list := strings.Join(names, ", ")
	if list == "" {
		list = "none yet"
	}
	if t.Tenant == "" {
		return nil, program.Exit(program.Usage, fmt.Errorf("--tenant is missing: TENANTS_DIR has several tenants: %s", list))
	}
	return nil, program.Exit(program.Usage, fmt.Errorf("there is no tenant %q in TENANTS_DIR: there are %s", t.Tenant, list))
}
