package definition

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/secure60/s60-m365-connector/engine/expression"
)

// Tenant is the file of one tenant of several: settings that go over those of
// the process, and feeds that are switched on or off.
type Tenant struct {
	Settings map[string]Text   // by name, as they are written
	Feeds    map[string]Switch // by feed
}

// Switch is a feed that is on or off whatever its own file says.
type Switch struct {
	Feed Text // its name, with the place
	On   bool
}

// TenantOptions name what a tenant's file may hold.
type TenantOptions struct {
	Settings []string // that a tenant may have
	Process  []string // that belong to the process, and are refused
}

// ParseTenant reads the file of a tenant. Its lines may hold secrets: problems,
// those that [Text.Problem] makes too, show places and names, and neither source
// lines nor values. A tenant with problems is what could be read of it; nil,
// where the file is no readable YAML.
func ParseTenant(file string, data []byte, options TenantOptions) (*Tenant, []Problem) {
	r := newReader((&document{file: file, secret: true}).parse(data), nil)
	if r.root == nil {
		return nil, r.problems
	}
	t := &Tenant{Settings: map[string]Text{}, Feeds: map[string]Switch{}}
	o := r.object("tenant", nil, r.root)
	for _, name := range options.Settings {
		if text, ok := o.scalar(name, o.take(name)); ok {
			t.Settings[name] = text
		}
	}
	if node := o.take("feeds"); node != nil {
		t.switches(o, node)
	}
	for name, p := range o.pairs {
		if slices.Contains(options.Process, name) {
			o.node(p.key, "%s is a setting of the process: set it in the environment", name)
			delete(o.pairs, name)
		}
	}
	o.done()
	Sort(r.problems)
	return t, r.problems
}

// switches reads the feeds that are on or off.
func (t *Tenant) switches(o *object, node *yaml.Node) {
	if node.Kind == yaml.AliasNode {
		return // reported
	}
	if node.Kind != yaml.MappingNode {
		o.node(node, `"feeds" is %s, but must be a mapping of feeds to true or false`, describe(node))
		return
	}
	o.entries(node, func(key, value *yaml.Node) {
		on, off := strings.EqualFold(value.Value, "true"), strings.EqualFold(value.Value, "false")
		if value.Kind != yaml.ScalarNode || value.Tag != "!!bool" || !on && !off {
			o.node(key, "%q must be true or false", key.Value)
			return
		}
		t.Feeds[key.Value] = Switch{Feed: o.text(key), On: on}
	})
}

// With is the feed, switched on or off. Nothing else of it is copied.
func (f *Feed) With(on bool) *Feed {
	source := "false"
	if on {
		source = "true"
	}
	switched := *f
	switched.Enabled, _ = expression.Compile(source, expression.Options{}) // it is a constant
	return &switched
}
