package definition_test

import (
	"testing"

	"github.com/secure60/s60-m365-connector/engine/definition"
	"github.com/secure60/s60-m365-connector/feeds"
	"github.com/secure60/s60-m365-connector/mappings"
)

// settings are such as a run has them.
var settings = map[string]any{
	"TENANT_ID": "11111111-2222-4333-8444-555555555555", "CLIENT_ID": "9e714052-0000-4000-8000-000000000005",
	"PUBLISHER_ID": "11111111-2222-4333-8444-555555555555", "MS_CLOUD": "commercial",
	"MS_LOGIN_BASE": "https://login.example", "MS_MANAGE_BASE": "https://manage.example", "MS_GRAPH_BASE": "https://graph.example",
	"ENABLE_MGMT_ACTIVITY": true, "ENABLE_GRAPH": true,
	"MGMT_CONTENT_TYPES": []any{"Audit.Exchange", "DLP.All"}, "FEEDS": []any{}, "ENVIRONMENT": "",
}

func TestShippedDefinitionsLoad(t *testing.T) {
	set, problems := definition.Load(definition.Options{Feeds: feeds.FS, Mappings: mappings.FS, Settings: settings})
	for _, p := range problems {
		t.Error(p)
	}
	if len(set.Feeds) < 8 || len(set.Mappings) < 5 {
		t.Errorf("%d feeds and %d mappings", len(set.Feeds), len(set.Mappings))
	}
}
