package load

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

// Address says where the stream of a stream platform is:
// scheme://[user:password@]host[:port][,host[:port]…]/name[?mechanism=…].
type Address struct {
	Kind  string   // KindNATS or KindKafka
	TLS   bool     // encrypted, and certificates are verified
	Hosts []string // host:port, at least one
	Name  string   // subject of NATS, topic of Kafka

	User, Password string // both, or none
	// Mechanism is how user and password are shown to Kafka: one of mechanisms, or
	// empty for the first of them that the broker offers.
	Mechanism string
}

// schemes are how the address of each kind begins.
var schemes = map[string]struct {
	kind string
	tls  bool
	port string // unless one is given
	name string // what the last part of the address is called
}{
	"nats":      {KindNATS, false, "4222", "subject"},
	"tls":       {KindNATS, true, "4222", "subject"},
	"kafka":     {KindKafka, false, "9092", "topic"},
	"kafka+tls": {KindKafka, true, "9092", "topic"},
}

// mechanisms of SASL, the strongest first.
var mechanisms = []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"}

// IsAddress reports whether a text is meant as an [Address], and not as the
// path of a file.
func IsAddress(text string) bool { return strings.Contains(text, "://") }

// ParseAddress reads an address. The error says what to write, and quotes
// nothing: a password that is not encoded can end up in any part. (net/url
// takes one host only.)
func ParseAddress(text string) (Address, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	s, ok := schemes[scheme]
	if !ok {
		return Address{}, fmt.Errorf("begins with no scheme that is known: write one of %s",
			strings.Join(slices.Sorted(maps.Keys(schemes)), "://, ")+"://")
	}
	a := Address{Kind: s.kind, TLS: s.tls}
	like := fmt.Sprintf("write it like %s://host1:%s,host2:%s/%s, and %%2F and %%40 for / and @ in a password", scheme, s.port, s.port, s.name)
	authority, name, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, password, both := strings.Cut(authority[:i], ":")
		var errs [2]error
		a.User, errs[0] = url.PathUnescape(user)
		a.Password, errs[1] = url.PathUnescape(password)
		if !both || user == "" || password == "" || errors.Join(errs[:]...) != nil {
			return Address{}, fmt.Errorf("has a user that is not of the form user:password@: %s", like)
		}
		authority = authority[i+1:]
	}
	for text := range strings.SplitSeq(authority, ",") {
		host, port := strings.Trim(text, "[]"), s.port
		if h, p, err := net.SplitHostPort(text); err == nil {
			host, port = h, p
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || !hostForm(host) {
			return Address{}, fmt.Errorf("has no host, or one that is none: %s", like)
		}
		a.Hosts = append(a.Hosts, net.JoinHostPort(host, port))
	}
	if topic, mechanism, is := strings.Cut(name, "?mechanism="); is && s.kind == KindKafka {
		if !slices.Contains(mechanisms, mechanism) {
			return Address{}, fmt.Errorf("has a mechanism that is not known: write ?mechanism= and one of %s", strings.Join(mechanisms, ", "))
		}
		name, a.Mechanism = topic, mechanism
	}
	if a.Name = name; !nameForm(name, s.kind) {
		return Address{}, fmt.Errorf("has no %s, or one that is none: %s", s.name, like)
	}
	return a, nil
}

// hostForm reports whether a text can be the name or the address of a host.
func hostForm(host string) bool {
	return host != "" && (net.ParseIP(host) != nil || !strings.ContainsFunc(host, func(r rune) bool { return !letterOrDigit(r) && r != '.' && r != '-' && r != '_' }))
}

// nameForm reports whether a text is a subject without wildcards, or a topic.
// Of characters that a subject may have and hardly does, those that a password
// brings along are not taken.
func nameForm(name, kind string) bool {
	if kind == KindKafka {
		return name != "" && len(name) <= 249 && strings.Trim(name, ".") != "" &&
			!strings.ContainsFunc(name, func(r rune) bool { return !letterOrDigit(r) && r != '.' && r != '-' && r != '_' })
	}
	return !slices.Contains(strings.Split(name, "."), "") && !strings.HasPrefix(name, "$") && !strings.ContainsAny(name, "*>/@?#") &&
		!strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

func letterOrDigit(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// String is the address without user and password.
func (a Address) String() string {
	for scheme, s := range schemes {
		if s.kind == a.Kind && s.tls == a.TLS {
			return scheme + "://" + strings.Join(a.Hosts, ",") + "/" + a.Name
		}
	}
	return ""
}

// Exposed reports whether events and passwords would cross a network without
// encryption.
func (a Address) Exposed() bool {
	return !a.TLS && slices.ContainsFunc(a.Hosts, func(hostport string) bool {
		host, _, err := net.SplitHostPort(hostport)
		return err != nil || !transport.Loopback(host)
	})
}

// credentials are how the connector names itself to a stream platform: a user
// and a password, the content of a credentials file of NATS, or nothing.
type credentials struct {
	user, password string
	file           []byte
}

// errCredentials says that the credentials cannot be had.
var errCredentials = errors.New("there are no credentials")

const credentialsAdvice = "Check the user and the password in OUTPUT, or the file in OUTPUT_CREDENTIALS_FILE"

// credentials reads the file anew, so that renewed ones take effect at the next
// connection.
func (c Config) credentials() (credentials, error) {
	if c.CredentialsFile == "" {
		return credentials{user: c.Address.User, password: c.Address.Password}, nil
	}
	data, err := os.ReadFile(c.CredentialsFile)
	if err != nil {
		return credentials{}, fmt.Errorf("%w: %w", errCredentials, err)
	}
	text := strings.TrimSpace(string(data))
	if c.Kind == KindNATS && strings.Contains(text, "-----BEGIN NATS USER JWT-----") {
		return credentials{file: data}, nil
	}
	user, password, both := strings.Cut(text, ":")
	if !both || user == "" || password == "" || strings.ContainsAny(text, "\r\n") {
		return credentials{}, fmt.Errorf("%w: %s does not hold user:password on one line", errCredentials, c.CredentialsFile)
	}
	return credentials{user: user, password: password}, nil
}
