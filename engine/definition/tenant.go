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
	tree := newTree((&document{file: file, secret: true}).parse(data))
	if tree.root == nil {
		return nil, tree.problems
	}
	t := &Tenant{Settings: map[string]Text{}, Feeds: map[string]Switch{}}
	if tree.root.Kind != yaml.MappingNode {
		tree.report(tree.root, "the tenant is %s, but must be a mapping of keys to values", describe(tree.root))
	}
	for i := 0; i+1 < len(tree.root.Content) && tree.root.Kind == yaml.MappingNode; i += 2 {
		key, value := tree.root.Content[i], tree.root.Content[i+1]
		switch {
		case slices.Contains(options.Process, key.Value):
			tree.report(key, "%s is a setting of the process: set it in the environment", key.Value)
		case key.Value != "feeds" && !slices.Contains(options.Settings, key.Value):
			tree.report(key, "unknown key %q%s", key.Value, choose(key.Value, append(slices.Clip(options.Settings), "feeds")))
			meant := expression.Nearest(key.Value, options.Settings)
			if meant != "" && t.Settings[meant].Value == "" && value.Kind == yaml.ScalarNode {
				t.Settings[meant] = tree.text(value) // so that nobody says that it is missing
			}
		case isNull(value):
			tree.report(key, "%q has no value: give it one or remove the key", key.Value)
		case key.Value == "feeds":
			t.switches(tree, value)
		case value.Kind != yaml.ScalarNode:
			tree.report(value, "%q is %s, but must be a text", key.Value, describe(value))
		default:
			t.Settings[key.Value] = tree.text(value)
		}
	}
	Sort(tree.problems)
	return t, tree.problems
}

// switches reads the feeds that are on or off.
func (t *Tenant) switches(tree *tree, node *yaml.Node) {
	if node.Kind != yaml.MappingNode {
		tree.report(node, `"feeds" is %s, but must be a mapping of feeds to true or false`, describe(node))
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		on, off := strings.EqualFold(value.Value, "true"), strings.EqualFold(value.Value, "false")
		if value.Kind != yaml.ScalarNode || value.Tag != "!!bool" || !on && !off {
			tree.report(key, "%q must be true or false", key.Value)
			continue
		}
		t.Feeds[key.Value] = Switch{Feed: tree.text(key), On: on}
	}
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
