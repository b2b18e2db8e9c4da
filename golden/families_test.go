package golden_test

import (
	"path/filepath"
	"testing"

	"github.com/tidwall/gjson"
)

// familyTypes are the kinds of record that have a mapping of their own, by the
// number that Microsoft publishes for them.
var familyTypes = map[string][]string{
	"log-ons":                   {"15", "9"},
	"directory":                 {"8"},
	"Exchange administration":   {"1"},
	"mailboxes":                 {"2", "3", "19", "50", "101"},
	"SharePoint and OneDrive":   {"4", "6", "14", "35", "36", "37", "54", "55", "56"},
	"Teams":                     {"25"},
	"data loss prevention":      {"11", "13", "33", "63", "107"},
	"alerts":                    {"40", "98"},
	"compliance":                {"18", "52", "154", "295"},
	"eDiscovery":                {"24"},
	"Defender for Office 365":   {"28", "29", "41", "47", "64", "65"},
	"Power BI":                  {"20"},
	"Viva Engage":               {"22"},
	"Forms":                     {"66"},
	"labels":                    {"43", "83", "84", "93", "94", "95", "96", "97"},
	"Copilot":                   {"261"},
	"Identity Protection":       {"294"},
	"Power Platform and others": {"21", "30", "45", "188"},
}

// Every kind of record with a mapping of its own has a case.
func TestEveryFamilyHasACase(t *testing.T) {
	seen := make(map[string]bool)
	for _, one := range cases(t, "o365-management") {
		seen[gjson.GetBytes(record(t, "o365-management", one), "RecordType").String()] = true
	}
	for family, types := range familyTypes {
		for _, number := range types {
			if !seen[number] {
				t.Errorf("no case in %s has a record of type %s (%s)", filepath.Join("golden", "o365-management"), number, family)
			}
		}
	}
}
