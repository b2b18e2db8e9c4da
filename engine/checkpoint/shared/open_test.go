package shared

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint/natstest"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
	"github.com/secure60/s60-m365-connector/engine/checkpoint/storetest"
)

func TestServersOfURL(t *testing.T) {
	for _, c := range []struct{ url, hosts, user, password, name string }{
		{"nats://a", "nats://a:4222", "", "", ""},
		{" tls://a:4333/state ", "tls://a:4333", "", "", "state"},
		{"nats://u:p%2F%40w@a,b:1,[::1]:2/x", "nats://a:4222, nats://b:1, nats://[::1]:2", "u", "p/@w", "x"},
		{"nats://u:p@a:1,nats://b:2,nats://c/x", "nats://a:1, nats://b:2, nats://c:4222", "u", "p", "x"},
		{"tls://a, tls://b", "tls://a:4222, tls://b:4222", "", "", ""},
		{"nats://token@a", "nats://a:4222", "token", "", ""},
	} {
		s, err := parseServers(c.url)
		if err != nil || s.String() != c.hosts || s.user != c.user || s.password != c.password || s.name != c.name {
			t.Errorf("%s: %+v %v, want %+v", c.url, s, err, c)
		}
	}
	for _, url := range []string{"", "host:4222", "http://a", "nats://", "nats://u:hunter2@", "nats://u:hunt%er2@a", "nats://u:hunter2@a:b", "nats://u:hunter2@a,,b", "nats://a?x=hunter2",
		"nats://u:hunter2@a,tls://b", "nats://u:hunter2@a/x,nats://b"} {
		_, err := parseServers(url)
		if err == nil {
			t.Errorf("%s was taken", url)
			continue
		}
		wantError(t, err, nil, "nats://host:4222")
		if strings.Contains(err.Error(), "hunt") {
			t.Errorf("%s: the error quotes a secret: %v", url, err)
		}
	}
}

func TestStreamOfURL(t *testing.T) {
	if name, err := StreamOf("nats://u:hunter2@a,nats://b/state-1"); err != nil || name != "state-1" {
		t.Errorf("%q %v", name, err)
	}
	if name, err := StreamOf("nats://u:hunter2@a/a.b"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%q %v, want an error without the password", name, err)
	}
}

// doorkeeper counts the clients that it refuses.
type doorkeeper struct {
	shut    atomic.Bool
	refused atomic.Int64
}

func (d *doorkeeper) Check(server.ClientAuthentication) bool {
	if d.shut.Load() {
		d.refused.Add(1)
	}
	return !d.shut.Load()
}

// guarded is a log that is read while it is written.
type guarded struct {
	mu  sync.Mutex
	log bytes.Buffer
}

func (g *guarded) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log.Write(p)
}

func (g *guarded) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log.String()
}

// TestPasswordChanged: a server that does not take the password any more refuses each attempt to connect; that is told once,
// with what to do.
func TestPasswordChanged(t *testing.T) {
	door, log := &doorkeeper{}, &guarded{}
	running := natstest.Start(t, func(o *server.Options) { o.CustomClientAuthentication = door })
	s := openShared(t, Options{URL: "nats://app:first@" + running.Address(), Logger: slog.New(slog.NewTextHandler(log, nil))})
	door.shut.Store(true)
	running.Stop()
	running.Start()
	until := func(what string, holds func() bool) {
		t.Helper()
		for end := time.Now().Add(natstest.Forever); !holds(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("waited in vain for %s: %v\n%s", what, s.Reach(), log)
			}
		}
	}
	until("the cause", func() bool {
		err := s.Reach()
		return err != nil && strings.Contains(err.Error(), "refuses the credentials")
	})
	until("more attempts", func() bool { return door.refused.Load() > 4 })
	door.shut.Store(false)
	until("the end of it", func() bool { return s.Reach() == nil && strings.Contains(log.String(), "connected to NATS again") })
	const told = "NATS reports an error"
	if text := log.String(); strings.Count(text, told) != 1 || !strings.Contains(text, "check the user and password in STATE_URL") || strings.Contains(text, "first") {
		t.Errorf("want %q once, with what to do and without the password:\n%s", told, text)
	}
}

// TestSharedIsMadeOnce: replicas that start at the same moment, the first of all, all open.
func TestSharedIsMadeOnce(t *testing.T) {
	url := natstest.URL(natstest.StartCluster(t, 3)...)
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} { // in a third of the attempts one of two gets no answer
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var opened sync.WaitGroup
			for range 2 {
				dir := t.TempDir()
				opened.Go(func() {
					s, err := Open(context.Background(), Options{URL: url, Name: name, Dir: dir})
					if err != nil {
						t.Error(err)
						return
					}
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				})
			}
			opened.Wait()
		})
	}
}

// TestSharedCannotOpen opens against servers that do not serve, and says what to do.
func TestSharedCannotOpen(t *testing.T) {
	locked := natstest.URL(natstest.Start(t, func(o *server.Options) { o.Username, o.Password = "u", "hunter2" }))
	open := natstest.URL(natstest.Start(t, nil))
	plain := natstest.URL(natstest.Start(t, func(o *server.Options) { o.JetStream = false }))
	js := jetstreamOf(t, open)
	streams := map[string]jetstream.StreamConfig{
		"aged":     {Subjects: []string{"aged.>"}, MaxAge: time.Hour},
		"memory":   {Subjects: []string{"memory.>"}, Storage: jetstream.MemoryStorage},
		"work":     {Subjects: []string{"work.>"}, Retention: jetstream.WorkQueuePolicy},
		"subjects": {Subjects: []string{"others.>"}},
	}
	for name, c := range streams {
		c.Name = name
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	with := func(url, user string) string { return strings.Replace(url, "//", "//"+user+"@", 1) }
	missing := filepath.Join(t.TempDir(), "missing.creds")
	for _, c := range []struct {
		name  string
		o     Options
		texts []string
	}{
		{"nobody there", Options{URL: "nats://u:hunter2@127.0.0.1:1"}, []string{"127.0.0.1:1", "cannot be reached", "STATE_URL"}},
		{"no credentials", Options{URL: locked}, []string{"refuses the credentials", "STATE_URL"}},
		{"wrong credentials", Options{URL: with(locked, "u:hunter3")}, []string{"refuses the credentials", "STATE_URL"}},
		{"no credentials file", Options{URL: open, Credentials: missing}, []string{"credentials file", missing}},
		{"no JetStream", Options{URL: plain}, []string{"no JetStream", "-js"}},
		{"TLS asked of a plain server", Options{URL: strings.Replace(open, "nats:", "tls:", 1)}, []string{"nats://"}},
		{"no name", Options{URL: open, Name: "-"}, []string{`""`, "STATE_URL"}},
		{"a bad name", Options{URL: open, Name: "a.b"}, []string{"a.b", "STATE_URL"}},
		{"messages that age", Options{URL: open, Name: "aged"}, []string{"max_age", "1h", "aged", "STATE_URL"}},
		{"a stream in memory", Options{URL: open, Name: "memory"}, []string{"storage", "file"}},
		{"a work queue", Options{URL: open, Name: "work"}, []string{"retention", "limits"}},
		{"other subjects", Options{URL: open, Name: "subjects"}, []string{"others.>", "subjects.>"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			c.o.Dir, c.o.Logger = t.TempDir(), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			switch c.o.Name {
			case "":
				c.o.Name = "state"
			case "-":
				c.o.Name = ""
			}
			s, err := Open(t.Context(), c.o)
			if err == nil {
				t.Fatal("it opened", s.Close())
			}
			wantError(t, err, nil, c.texts...)
			if text := err.Error() + log.String(); strings.Contains(text, "hunter") {
				t.Errorf("a secret in %s", text)
			}
		})
	}
	openShared(t, Options{URL: with(locked, "u:hunter2") + "/named"})
}

func jetstreamOf(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	return openShared(t, Options{URL: url, Name: "other"}).js
}

// TestSharedCorrectsTheStream finds a stream whose settings can be put right.
func TestSharedCorrectsTheStream(t *testing.T) {
	url := natstest.URL(natstest.Start(t, nil))
	js := jetstreamOf(t, url)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "state", Subjects: []string{"state.>"}, MaxBytes: 1 << 30,
		AllowDirect: true, Discard: jetstream.DiscardOld, Description: "ours"}); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := openShared(t, Options{URL: url + "/state", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	info, err := s.stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := info.Config
	if c.AllowDirect || c.Discard != jetstream.DiscardNew || c.MaxMsgSize != messageLimit || c.MaxBytes != 1<<30 || c.Description != "ours" {
		t.Errorf("the stream is %+v", c)
	}
	if !strings.Contains(log.String(), "set the stream") {
		t.Errorf("the log does not tell of it: %s", &log)
	}
	claim(t, s, "a", "one")
	commitShared(t, s, "a", 0, 3)
	wantShared(t, s, "a", 3)
}

// TestSharedPermissions opens as a user who may do what the messages ask for, and no more.
func TestSharedPermissions(t *testing.T) {
	user := func(publish ...string) *server.User {
		return &server.User{Username: publish[0], Password: "p", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: publish[1:]}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}}}}
	}
	s := natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{user("all", "state.>", "$JS.API.>", "$KV.state-replicas.>"), user("nothing", "other.>")}
	})
	a := openShared(t, Options{URL: "nats://all:p@" + s.Address()})
	claim(t, a, "a", "one")
	commitShared(t, a, "a", 0, 3)
	if _, err := a.Sessions().Put(t.Context(), "one", nil); err != nil {
		t.Error(err)
	}
	if err := a.Sweep(noon.AddDate(0, 1, 0)); err != nil {
		t.Error(err)
	}
	if err := a.Release(t.Context(), "feed", "a", -1); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), natstest.Forever)
	defer cancel()
	log := &until{text: "$JS.API.>", then: cancel}
	_, err := Open(ctx, Options{URL: "nats://nothing:p@" + s.Address(), Name: "state", Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err == nil {
		t.Fatal("it opened without permissions")
	}
	if !log.met {
		t.Errorf("the log does not say which permissions are needed: %s", &log.all)
	}
}

// until is a log that does something as soon as a text is in it.
type until struct {
	text string
	then func()
	all  bytes.Buffer
	met  bool
}

func (u *until) Write(p []byte) (int, error) {
	if u.all.Write(p); !u.met && bytes.Contains(p, []byte(u.text)) {
		u.met = true
		u.then()
	}
	return len(p), nil
}

// TestSharedNoSpace fills the account's storage.
func TestSharedNoSpace(t *testing.T) {
	url := natstest.URL(natstest.Start(t, func(o *server.Options) { o.JetStreamMaxStore = 1 << 20 }))
	s := openShared(t, Options{URL: url})
	claim(t, s, "a", "one")
	for n := 0; ; n++ {
		c := storetest.Numbered("a", n)
		for i := range 5000 {
			c.Keys = append(c.Keys, storetest.NumberedKey("space", n*5000+i))
		}
		if err := s.Commit(c); err != nil {
			wantError(t, err, checkpoint.ErrDiskFull, "JetStream", "max_file_store")
			break
		}
		if n > 100 {
			t.Fatal("8 MB went into 1 MB")
		}
	}
}

// TestSharedOpeningEnds ends the opening of a replica whose view takes long, and goes on.
func TestSharedOpeningEnds(t *testing.T) {
	url := natstest.URL(natstest.Start(t, nil))
	a := openShared(t, Options{URL: url})
	claim(t, a, "a", "one")
	const batches, keys = 20, 5_000
	for n := range batches {
		c := checkpoint.Commit{Feed: "feed", Partition: "a", Position: &checkpoint.Position{Forwarded: int64(n)}, Expires: noon}
		for i := range keys {
			c.Keys = append(c.Keys, storetest.NumberedKey("many", n*keys+i))
		}
		must(t, func() error { return a.Commit(&c) })
	}
	dir := t.TempDir()
	for wait := 20 * time.Millisecond; ; wait += 20 * time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		s, err := Open(ctx, Options{URL: url, Name: "state", Dir: dir})
		cancel()
		if err == nil {
			t.Skip("no time ended the opening while the view was built", s.Close())
		}
		if strings.Contains(err.Error(), "the view shows") {
			wantError(t, err, context.DeadlineExceeded, "it goes on from there")
			break
		}
	}
	b := openShared(t, Options{URL: url, Dir: dir})
	if p, _, err := b.Position("feed", "a"); err != nil || p.Forwarded != batches-1 {
		t.Errorf("position %v %v", p, err)
	}
	if _, err := os.Stat(filepath.Join(dir, viewDir, "state")); err != nil {
		t.Error(err)
	}
}
