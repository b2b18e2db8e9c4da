package simulator

import (
	"embed"
	"fmt"
	"time"

	"gopkg.in/yaml.v3"
)

//go:embed attacks
var attackFiles embed.FS

// Attacks are the names of what [Simulator.Attack] can play.
var Attacks = []string{"bec", "consent", "insider", "ransomware"}

// attack is a file of attacks: records in the form of those of the files of records, each
// so many times, so long after the one before.
type attack struct {
	Title string
	Own   bool // the victim does it, from where they work
	Steps []struct {
		Feed   string
		Times  int
		Every  time.Duration
		Record string
	}
}

// told is a record of an attack.
type told struct {
	is    *template
	at    time.Time
	user  *person
	ip    string
	place *city
}

// Attack has an attack happen in the tenant, beginning that long ago, and gives its title. It
// must come before a client asks for anything.
func (s *Simulator) Attack(name string, ago time.Duration) (title string, err error) {
	text, err := attackFiles.ReadFile("attacks/" + name + ".yaml")
	if err != nil {
		return "", fmt.Errorf("simulator: unknown attack %q; they are %v", name, Attacks)
	}
	var a attack
	if err := yaml.Unmarshal(text, &a); err != nil {
		return "", fmt.Errorf("simulator: attacks/%s.yaml: %w", name, err)
	}
	h := mix(s.opts.Seed ^ textHash(name))
	t := told{at: s.now().Add(-ago), user: &s.world.people[h%uint64(len(s.world.people))]}
	if t.ip, t.place = t.user.ip, t.user.place; !a.Own {
		t.ip, t.place = attackIPs[h>>20%uint64(len(attackIPs))], &company.Far[h>>40%uint64(len(company.Far))]
	}
	for _, step := range a.Steps {
		c := s.typeOf(step.Feed)
		if c == nil {
			return "", fmt.Errorf("simulator: attacks/%s.yaml: unknown content type %q", name, step.Feed)
		}
		t.is = compile(step.Record, func(part string) string { return parts[part] })
		for range max(step.Times, 1) {
			t.at = t.at.Add(step.Every)
			c.tell(t)
		}
	}
	return a.Title, nil
}

// tell publishes a record of an attack, in a blob of its own.
func (c *contentType) tell(t told) {
	c.mu.Lock()
	if c.told == nil {
		c.told = map[uint64]told{}
	}
	c.told[c.fresh] = t
	c.mu.Unlock()
	c.publish(1, c.sim.now().Sub(t.at), false)
}
