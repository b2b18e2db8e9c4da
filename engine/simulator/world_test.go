package simulator

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestIDsComeBack(t *testing.T) {
	c := newIDCipher(42)
	other := newIDCipher(43)
	seen := map[string]bool{}
	for _, id := range []recordID{{}, {feed: 17, class: published, index: 1<<48 - 1}, {feed: 3, index: 7}, {feed: 3, index: 8}, {feed: 4, index: 7}} {
		hi, lo := c.seal(id)
		text := appendGUID(nil, hi, lo)
		if !guidPattern.Match(text) || text[14] != '4' || !strings.ContainsRune("89ab", rune(text[19])) || seen[string(text)] {
			t.Errorf("%+v: %s is no new version 4 GUID", id, text)
		}
		seen[string(text)] = true
		if got, ok := c.find("Directory_" + string(text) + "_ABCDE_123"); !ok || got != id {
			t.Errorf("%s came back as %+v, %v", text, got, ok)
		}
		if _, ok := other.find(string(text)); ok {
			t.Errorf("%s is an id of another seed too", text)
		}
	}
	for _, text := range []string{"", "x", "11111111-2222-4333-8444-555555555555", "zzzzzzzz-2222-4333-8444-555555555555", guidText(9)} {
		if id, ok := c.find(text); ok {
			t.Errorf("%q is taken for %+v", text, id)
		}
	}
}

// everything of a tenant, rendered: blobs and rows.
func everything(t *testing.T, o Options) []byte {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var all bytes.Buffer
	for _, c := range s.types {
		c.extend(s.now())
		for _, b := range c.blobs {
			if err := c.write(&all, b, b.n, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, st := range s.streams {
		st.walk(math.MinInt64, math.MaxInt64, s.now().UnixNano(), false, nil, func(p place) bool {
			all.Write(st.append(nil, p, s.now().UnixNano(), true, true))
			return true
		})
	}
	for _, tb := range s.tables {
		for _, row := range tb.snapshot(s.now(), tb.clock, 0) {
			all.Write(tb.append(nil, &row.tableRow))
		}
	}
	return all.Bytes()
}

func TestTheSameSeedMakesTheSameTenant(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	o := Options{Seed: 50, Records: 2000, Repeated: 0.1, Odd: 0.1, Now: func() time.Time { return now }}
	first := everything(t, o)
	if !bytes.Equal(first, everything(t, o)) {
		t.Error("two tenants of one seed differ")
	}
	o.Seed = 51
	if bytes.Equal(first, everything(t, o)) {
		t.Error("tenants of two seeds are the same")
	}
}

func TestEveryKindIsJSON(t *testing.T) {
	w := newWorld(1, guidText(1))
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for name, c := range catalogues {
		feed := uint8(slices.Index(feedNames, name))
		if !slices.Contains(ContentTypes, name) {
			continue
		}
		for i, k := range c {
			for index := range uint64(32) {
				var r record
				w.begin(&r, recordID{feed: feed, index: index}, [36]byte{}, at)
				copy(r.guid[:], guidText(index))
				r.odd = oddity(index % 32)
				r.sensitive = index%2 == 0
				for first := range 2 {
					body := k.append(nil, &r, first)
					var v map[string]any
					if err := json.Unmarshal(body, &v); err != nil {
						t.Fatalf("%s kind %d: %v in %s", name, i, err, body)
					}
					for _, want := range []string{"CreationTime", "RecordType", "Operation", "OrganizationId", "UserType", "UserKey", "UserId", "Workload"} {
						if v[want] == nil {
							t.Fatalf("%s kind %d lacks the mandatory %s: %s", name, i, want, body)
						}
					}
					members := map[string]bool{}
					dec := json.NewDecoder(bytes.NewReader(body))
					dec.Token() //nolint:errcheck // it was decoded just now
					for dec.More() {
						key, _ := dec.Token()
						if members[key.(string)] {
							t.Fatalf("%s kind %d has %s twice: %s", name, i, key, body)
						}
						members[key.(string)] = true
						var skip json.RawMessage
						dec.Decode(&skip) //nolint:errcheck // it was decoded just now
					}
				}
			}
		}
	}
}

func TestAddressesAndDomainsAreReserved(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	all := everything(t, Options{Seed: 52, Records: 2500, Now: func() time.Time { return now }})
	for _, w := range bytes.FieldsFunc(all, func(r rune) bool { return strings.ContainsRune(`",{}[]: <>\/()=?;|`, r) }) {
		at := bytes.LastIndexByte(w, '@')
		if at > 0 && bytes.Contains(w[at:], []byte(".")) && !bytes.Contains(w[at:], []byte(".example")) && !bytes.Contains(w[at:], []byte("live.com")) && !bytes.Contains(w[at:], []byte("@thread.")) {
			t.Fatalf("an address outside the reserved domains: %s", w)
		}
		if bytes.HasPrefix(w, []byte("15.20.")) {
			continue // the version of a mail server
		}
		if dots := bytes.Count(w, []byte(".")); dots == 3 && len(w) <= 15 && w[0] >= '1' && w[0] <= '9' && !bytes.ContainsFunc(w, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }) {
			if !bytes.HasPrefix(w, []byte("192.0.2.")) && !bytes.HasPrefix(w, []byte("198.51.100.")) && !bytes.HasPrefix(w, []byte("203.0.113.")) && !bytes.HasSuffix(w, []byte(".0.0")) && !bytes.HasSuffix(w, []byte(".0.0.0")) {
				t.Fatalf("an address outside the reserved ranges: %s", w)
			}
		}
	}
}

func TestTimelines(t *testing.T) {
	begin := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	line := newTimeline(1, begin, time.Hour, 10*time.Minute, Volume{History: 600, PerHour: 3600}, time.Millisecond)
	for i := uint64(1); i < 2000; i++ {
		if line.at(i) < line.at(i-1) {
			t.Fatalf("record %d comes before the one before it", i)
		}
	}
	if first, last := time.Unix(0, line.at(0)), time.Unix(0, line.at(599)); first.Before(begin.Add(-time.Hour)) || last.After(begin.Add(-10*time.Minute)) {
		t.Errorf("history from %s to %s", first, last)
	}
	if got := line.count(begin.UnixNano() - 1); got != 600 {
		t.Errorf("%d records at the start", got)
	}
	if got := line.count(begin.Add(time.Minute).UnixNano()); got < 658 || got > 661 {
		t.Errorf("%d records after a minute, want about 660", got)
	}
	line.end = begin.Add(30 * time.Second).UnixNano()
	if got := line.count(begin.Add(time.Hour).UnixNano()); got < 628 || got > 631 {
		t.Errorf("%d records when the stream has ended, want about 630", got)
	}
	if got := newTimeline(1, begin, time.Hour, 0, Volume{}, time.Second); got.count(begin.Add(time.Hour).UnixNano()) != 0 {
		t.Error("an empty feed has records")
	}
}

func TestVolumesAddUp(t *testing.T) {
	for _, n := range []int{0, 1, 7, 5000, 123_456} {
		sum := 0
		for _, v := range (Options{Records: n}).volumes() {
			sum += v.History
		}
		if sum != n {
			t.Errorf("%d records are spread as %d", n, sum)
		}
	}
	v := Options{Records: 100, Volumes: map[string]Volume{RiskyUsers: {History: 9, PerHour: 3}}}.volumes()
	if i := slices.Index(feedNames, RiskyUsers); v[i] != (Volume{9, 3}) {
		t.Errorf("a feed of its own volume has %+v", v[i])
	}
}

func TestLiveRecordsArriveAndDrain(t *testing.T) {
	c := start(t, Options{Seed: 54, Records: -1, PerMinute: 6000, BlobEvery: 100 * time.Millisecond, Subscribed: ContentTypes})
	time.Sleep(400 * time.Millisecond)
	c.sim.StopLive()
	time.Sleep(150 * time.Millisecond)
	first := c.sim.Report()
	for _, f := range first.Feeds {
		first.Offered += f.Offered
	}
	time.Sleep(200 * time.Millisecond)
	second := c.sim.Report()
	for _, f := range second.Feeds {
		second.Offered += f.Offered
	}
	if first.Offered < 20 || first.Offered != second.Offered {
		t.Errorf("%d records on offer when live records stopped, %d later", first.Offered, second.Offered)
	}
}

func TestStartRefusesNonsense(t *testing.T) {
	for _, o := range []Options{{BlobMin: 10, BlobMax: 5}, {Licence: "Gold"}, {Volumes: map[string]Volume{"x": {}}}, {Subscribed: []string{"x"}}} {
		if s, err := Start(o); err == nil {
			s.Close()
			t.Errorf("%+v was taken", o)
		}
	}
}
