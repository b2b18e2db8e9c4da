// Package prometheus holds the alert rules of the connector. Its tests read them,
// and the queries of the dashboard, with the code of Prometheus.
package prometheus

import (
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// What these files ask for is compared with the metrics that exist by the tests
// of cmd/s60-m365-connector; here Prometheus's own code reads them.

func TestAlertRules(t *testing.T) {
	groups, errs := rulefmt.ParseFile("s60-m365-connector.rules.yaml", false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil || len(groups.Groups) == 0 || len(groups.Groups[0].Rules) == 0 {
		t.Fatal("there are no rules")
	}
}

func TestDashboardQueries(t *testing.T) {
	data, err := os.ReadFile("../grafana/s60-m365-connector.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$feed", ".*")
	promql := parser.NewParser(parser.Options{})
	queries := 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			queries++
			if _, err := promql.ParseExpr(variables.Replace(target.Expr)); err != nil {
				t.Errorf("panel %s: %s: %v", panel.Title, target.Expr, err)
			}
		}
	}
	if queries == 0 {
		t.Error("the dashboard asks for nothing")
	}
}
