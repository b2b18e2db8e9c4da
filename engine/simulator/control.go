package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// controlHelp is what the help says of the control endpoints.
const controlHelp = `
The login host also takes, at any time:
  GET  /_simulator/report   what was offered and what arrived; ?from=&to= (RFC 3339): a part of it
  GET  /_simulator/env      the connector's settings, NAME=value lines
  POST /_simulator/fault    a fault as JSON, or an array of them: {"target":"graph.signIns","kind":"throttle","count":3}
  POST /_simulator/clear    ends faults; ?target=…: of that target
  POST /_simulator/publish  ?feed=…&n=…&age=…: new records
  POST /_simulator/repeat   ?feed=…&n=…: records that were offered before
  POST /_simulator/stop     ends live records
  POST /_simulator/licence  ?plan=Free, P1 or P2
  POST /_simulator/roles    ?roles=a,b: the permissions that are granted
Ages are text such as 90m. Of several tenants, ?tenant=ID names the one that is meant.
`

// withControl puts the control endpoints before the login service, see controlHelp. The other hosts do not
// know these paths. Of several tenants, without ?tenant= it is the first, and report and stop are about all.
func (s *Simulator) withControl(serve http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", serve)
	for pattern, handle := range map[string]func(s *Simulator, r *http.Request) (any, error){
		"GET /_simulator/report":   (*Simulator).controlReport,
		"POST /_simulator/fault":   (*Simulator).controlFault,
		"POST /_simulator/clear":   func(s *Simulator, r *http.Request) (any, error) { s.Clear(r.FormValue("target")); return nil, nil },
		"POST /_simulator/stop":    func(s *Simulator, _ *http.Request) (any, error) { s.StopLive(); return nil, nil },
		"POST /_simulator/licence": func(s *Simulator, r *http.Request) (any, error) { return nil, s.SetLicence(r.FormValue("plan")) },
		"POST /_simulator/publish": (*Simulator).controlPublish,
		"POST /_simulator/repeat":  (*Simulator).controlPublish,
		"POST /_simulator/roles": func(s *Simulator, r *http.Request) (any, error) {
			s.SetRoles(strings.FieldsFunc(r.FormValue("roles"), func(c rune) bool { return c == ',' })...)
			return nil, nil
		},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			tenant, err := s.named(r.URL.Query().Get("tenant"))
			var v any
			if err == nil {
				v, err = handle(tenant, r)
			}
			if err != nil {
				refuse(w, http.StatusBadRequest, "%v", err)
				return
			}
			if v == nil {
				v = map[string]string{"status": "done"}
			}
			writeJSON(w, 200, v)
		})
	}
	mux.HandleFunc("GET /_simulator/env", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, strings.Join(s.Env(), "\n")) //nolint:errcheck // the client hung up
	})
	return mux
}

func (s *Simulator) controlReport(r *http.Request) (any, error) {
	from, to := time.Time{}, s.now()
	for name, t := range map[string]*time.Time{"from": &from, "to": &to} {
		if text := r.FormValue(name); text != "" {
			parsed, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			*t = parsed
		}
	}
	return s.ReportBetween(from, to), nil
}

func (s *Simulator) controlFault(r *http.Request) (any, error) {
	var raw json.RawMessage
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<20)).Decode(&raw); err != nil {
		return nil, err
	}
	if raw[0] != '[' {
		raw = slices.Concat([]byte("["), raw, []byte("]"))
	}
	var list []Fault
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	for _, f := range list {
		if err := s.Inject(f); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (s *Simulator) controlPublish(r *http.Request) (any, error) {
	n, age := 1, time.Duration(0)
	if text := r.FormValue("n"); text != "" {
		if _, err := fmt.Sscan(text, &n); err != nil || n < 1 {
			return nil, fmt.Errorf("n: %q is not a number above 0", text)
		}
	}
	if text := r.FormValue("age"); text != "" {
		var err error
		if age, err = time.ParseDuration(text); err != nil {
			return nil, fmt.Errorf("age: %w", err)
		}
	}
	if strings.HasSuffix(r.URL.Path, "repeat") {
		return nil, s.Repeat(r.FormValue("feed"), n)
	}
	return nil, s.Publish(r.FormValue("feed"), n, age)
}
