package shared

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/checkpoint"
)

// servers is what a URL of the shared state says. The credentials are kept apart from
// the addresses, which may then stand in messages.
type servers struct {
	hosts          []string // scheme://host:port
	user, password string
	name           string
}

func (s servers) String() string { return strings.Join(s.hosts, ", ") }

// StreamOf is the NAME in a URL of [Options], "" if there is none. Its error says
// what is wrong with the URL, and does not quote it, as it may hold a password.
func StreamOf(url string) (string, error) {
	s, err := parseServers(url)
	return s.name, err
}

// parseServers reads scheme://[user[:password]@]host[:port][,[scheme://]host…][/NAME].
func parseServers(text string) (s servers, err error) {
	const form = "write nats://host:4222 or tls://host:4222, several with commas between them, and /NAME at the end"
	text = strings.TrimSpace(text)
	scheme, _, ok := strings.Cut(text, "://")
	if !ok || scheme != "nats" && scheme != "tls" {
		return s, errors.New("the URL of the shared state is not one of NATS: " + form)
	}
	hosts := strings.Split(text, ",")
	for i, host := range hosts {
		host = strings.TrimPrefix(strings.TrimSpace(host), scheme+"://")
		u, err := url.Parse(scheme + "://" + host)
		if err != nil || strings.Contains(host, "://") || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && i < len(hosts)-1 {
			// The parser's error may quote a password.
			return s, fmt.Errorf("host %d in the URL of the shared state cannot be read: %s; what is special in a user or password (: / @ , %%) is written %%XX", i+1, form)
		}
		if s.name = strings.Trim(u.Path, "/"); s.name != "" && !validName(s.name) {
			return s, fmt.Errorf("%q in the URL of the shared state cannot be the name of a stream: write letters, digits, - and _", s.name)
		}
		if u.User != nil {
			s.user = u.User.Username()
			s.password, _ = u.User.Password()
		}
		port := u.Port()
		if port == "" {
			port = "4222"
		}
		address := u.Hostname()
		if strings.Contains(address, ":") {
			address = "[" + address + "]"
		}
		s.hosts = append(s.hosts, scheme+"://"+address+":"+port)
	}
	return s, nil
}

// validName: a stream's name is the first token of its subjects, and the bucket's name
// allows no other characters.
func validName(name string) bool {
	return name != "" && len(name) <= 200 && strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) < 0
}

const (
	connectTimeout = 5 * time.Second
	reconnectWait  = 250 * time.Millisecond
	pingInterval   = 5 * time.Second // a dead connection is noticed after two or three
)

// Reach implements lease.Claims.
func (s *Store) Reach() error {
	if s.nc.IsConnected() {
		return nil
	}
	const out = "the shared state is out of reach: NATS at %s "
	if err := s.nc.LastError(); refused(err) {
		return fmt.Errorf(out+"refuses the credentials: %w. Check the user and password in STATE_URL, or the credentials file", s.servers, err)
	}
	return fmt.Errorf(out+"does not answer. Check that a server of STATE_URL runs and that this host reaches it", s.servers)
}

func (s *Store) connect() error {
	at, told := s.servers, "" // what was said of the connection since it stood; callbacks come one after the other
	o := []nats.Option{
		nats.Name(s.opts.Replica),
		nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		// Without this the client gives up for good once a server has refused it twice, as one
		// does whose users are being reloaded.
		nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if s.ctx.Err() == nil {
				s.log.Warn("shared state: the connection to NATS is lost; connecting again", "servers", at.String(), "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			told = ""
			s.log.Info("shared state: connected to NATS again", "server", nc.ConnectedServerName())
			// What was on its way to the old connection is not sent again, and what was
			// asked on it not answered.
			s.mu.Lock()
			defer s.mu.Unlock()
			s.restart()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			// A server that refuses does so at each attempt to connect.
			if text := s.failed("the connection", err).Error(); text != told {
				told = text
				s.log.Warn("shared state: NATS reports an error", "error", text)
			}
		}),
		nats.ClosedHandler(func(*nats.Conn) {
			s.stop(fmt.Errorf("%w: the connection to NATS (%s) was closed; open it again", checkpoint.ErrStopped, at))
		}),
	}
	switch {
	case s.opts.Credentials != "":
		o = append(o, nats.UserCredentials(s.opts.Credentials))
	case at.password != "":
		o = append(o, nats.UserInfo(at.user, at.password))
	case at.user != "":
		o = append(o, nats.Token(at.user))
	}
	nc, err := nats.Connect(strings.Join(at.hosts, ","), o...)
	if err != nil {
		return s.failed("connecting", err)
	}
	s.nc = nc
	if s.js, err = jetstream.New(nc); err != nil {
		return s.failed("connecting", err)
	}
	return nil
}
