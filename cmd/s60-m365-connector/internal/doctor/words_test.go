package doctor

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/settings"
	"github.com/secure60/s60-m365-connector/cmd/s60-m365-connector/internal/wording"
)

// A certificate that nobody vouches for is told with what to do, as a service out of reach is.
func TestInWordsOfACertificate(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	_, err := http.Get(server.URL)
	if err == nil {
		t.Fatal("the certificate is trusted")
	}
	if got := InWords(err); !strings.HasSuffix(got, wording.Sentence(wording.LetTrust)) || !wording.Remedied(got) {
		t.Errorf("got %q", got)
	}
}

// What the settings warn of is a warning of the doctor's, too: a folder that is not there, a name nearly right.
func TestCheckSettingsTellsWarnings(t *testing.T) {
	var got []Finding
	d := &Doctor{
		Settings: &settings.Settings{Warnings: []string{"CONFIG_DIR is \"/x\": there is no such folder", "TENANTID is set, which is no setting: did you mean TENANT_ID?"}},
		Report:   func(f Finding) { got = append(got, f) },
	}
	if !d.CheckSettings(nil) {
		t.Error("warnings are taken for failures")
	}
	if len(got) != 3 || got[0].Status != Warned || got[1].Status != Warned || got[1].Cause != "TENANTID is set, which is no setting: did you mean TENANT_ID" || got[1].Remedy == "" || got[2].Status == Warned {
		t.Errorf("got %+v", got)
	}
}
