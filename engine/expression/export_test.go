package expression

// SetAll and Give are Eval's way in and out, for machines of a unit.
func SetAll(m *Machine, u *Unit, env map[string]any) {
	for name, i := range u.slots {
		if v, ok := env[name]; ok {
			m.Set(i, m.keep(v))
		}
	}
}

func Give(m *Machine, v Value) any { return m.give(v) }
