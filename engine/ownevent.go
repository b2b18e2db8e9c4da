package engine

import (
	"time"

	"github.com/secure60/s60-m365-connector/engine/transform"
)

// OwnEvent is the beginning of an event about the connector itself: what all
// events carry, who speaks, and of which of several tenants, "" of the only one. Its
// outcome is success until it is set to another. name and version are the program's.
func OwnEvent(name, version, tenant string, constants []transform.Constant, operation string, now time.Time) map[string]any {
	event := map[string]any{}
	for _, c := range constants {
		event[c.Name] = c.Value
	}
	event["timestamp"] = now.UTC().Format(time.RFC3339Nano)
	event["operation"] = operation
	event["outcome"] = "success"
	event["source_name"] = name
	event["source_type"] = "connector"
	event["agent_name"] = name
	event["agent_version"] = version
	if tenant != "" {
		event["event_tenant"] = tenant
	}
	return event
}

func (e *Engine) ownEvent(operation string, now time.Time) map[string]any {
	return OwnEvent(e.Name, e.Version, e.Tenant, e.Constants, operation, now)
}
