package load

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/secure60/s60-m365-connector/engine/transport"
)

const (
	// natsPending is how many messages may be on their way and not acknowledged.
	natsPending = 256
	// natsHandshake bounds what comes between the connection and the first message.
	natsHandshake = 10 * time.Second
	// natsAck is how long no acknowledgement may come before the messages on their way are
	// sent again, over a new connection: a stream that changes its leader loses some. Its id makes
	// the stream store a message once.
	natsAck = 5 * time.Second
	// natsLookup bounds the question for the stream of a subject.
	natsLookup = 5 * time.Second
)

// jetStream publishes each event as a message to a subject that a JetStream
// stream holds, with its id as Nats-Msg-Id: the stream stores a message that
// comes again within its duplicate window once.
//
// A connection that breaks is not repaired by the client, which would hide why
// it cannot be: the next attempt makes a new one.
type jetStream struct {
	config  Config
	dial    dial
	session *natsSession // nil: to be made
}

// dial makes a connection, as [net.Dialer.DialContext] does.
type dial func(ctx context.Context, network, address string) (net.Conn, error)

// natsSession is one connection.
type natsSession struct {
	conn   *nats.Conn
	js     jetstream.JetStream
	closed chan struct{}
	denied chan error // holds what the server does not permit
}

// openNATS makes the destination that publishes to NATS JetStream.
func openNATS(config Config) (Destination, error) {
	return newJetStream(config, (&net.Dialer{Timeout: natsHandshake, KeepAlive: 30 * time.Second}).DialContext), nil
}

func newJetStream(config Config, dial dial) Destination {
	n, s := &jetStream{config: config, dial: dial}, newStream(config)
	s.ack, s.send = " (ack)", n.send
	s.close = func() error {
		if n.session != nil {
			n.session.conn.Close()
		}
		return nil
	}
	return s
}

func (n *jetStream) send(ctx context.Context, d *shipment, settle func(int, string)) failure {
	if n.session == nil {
		session, failed := n.connect(ctx)
		if session == nil {
			return failed
		}
		n.session = session
	}
	failed := n.publish(ctx, n.session, d.Batch, d.left, settle)
	if n.session.conn.IsClosed() {
		n.session = nil
	}
	return failed
}

// connect makes a connection to one of the hosts.
func (n *jetStream) connect(ctx context.Context) (*natsSession, failure) {
	session := &natsSession{closed: make(chan struct{}), denied: make(chan error, 1)}
	dialer := &natsDialer{ctx: ctx, dial: n.dial}
	options := []nats.Option{
		nats.Name(n.config.UserAgent),
		nats.SetCustomDialer(dialer), nats.SkipHostLookup(), nats.Timeout(natsHandshake),
		nats.NoReconnect(),
		nats.ClosedHandler(func(*nats.Conn) { close(session.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				select {
				case session.denied <- err:
				default:
				}
			}
		}),
	}
	if n.config.Address.TLS { // without, a server that asks for TLS gets it all the same
		options = append(options, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	known, err := n.config.credentials()
	switch {
	case err != nil:
		return nil, failure{class: denied, cause: err.Error(), advice: credentialsAdvice}
	case known.file != nil:
		options = append(options, nats.UserCredentialBytes(known.file))
	case known.user != "":
		options = append(options, nats.UserInfo(known.user, known.password))
	}
	session.conn, err = nats.Connect(strings.Join(n.config.Address.Hosts, ","), options...)
	dialer.done()
	if err == nil {
		session.js, err = jetstream.New(session.conn)
	}
	switch {
	case err == nil:
		return session, failure{}
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		return nil, failure{class: denied, cause: "it refuses access: " + transport.OneLine(err.Error(), 0), advice: credentialsAdvice}
	case errors.Is(err, nats.ErrNoServers) && dialer.err != nil:
		err = dialer.err // which the client leaves out
	}
	f := describe(err)
	f.cause = "no connection: " + f.cause
	return nil, f
}

// natsDialer makes connections until ctx ends, and those that wait for the
// server's first words as well.
type natsDialer struct {
	ctx   context.Context
	dial  dial
	err   error // of the last connection that could not be made
	leave []func() bool
}

func (d *natsDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.dial(d.ctx, network, address)
	if err != nil {
		d.err = err
		return nil, err
	}
	d.leave = append(d.leave, context.AfterFunc(d.ctx, func() { conn.Close() }))
	return conn, nil
}

// done says that the connection is to outlive ctx.
func (d *natsDialer) done() {
	for _, leave := range d.leave {
		leave()
	}
}

// published is a message on its way.
type published struct {
	event int
	ack   jetstream.PubAckFuture
}

// publish sends messages, and waits for their acknowledgements. After the first
// failure it sends no more, so that what follows in the batch does not overtake
// what failed.
func (n *jetStream) publish(ctx context.Context, session *natsSession, batch Batch, left []int, settle func(int, string)) failure {
	var failed failure
	var pending []published // oldest first
	patience := min(natsAck, n.config.Timeout)
	stall := time.NewTimer(patience)
	defer stall.Stop()
	for {
		for failed.class == accepted && len(left) > 0 && len(pending) < natsPending {
			event := left[0]
			ack, err := session.js.PublishMsgAsync(n.message(batch, event), jetstream.WithRetryAttempts(0))
			switch {
			case err == nil:
				pending = append(pending, published{event, ack})
			case errors.Is(err, nats.ErrMaxPayload):
				settle(event, fmt.Sprintf("the event has %d bytes, and the server takes messages of %d at most (max_payload), headers and all",
					len(batch.Events[event]), session.conn.MaxPayload()))
			default:
				failed = n.judge(ctx, session, err)
			}
			left = left[1:]
		}
		if len(pending) == 0 {
			return failed
		}
		oldest := pending[0]
		pending = pending[1:]
		err := session.await(ctx, oldest.ack, stall.C)
		tooLarge, is := errors.AsType[*jetstream.APIError](err)
		switch {
		case err == nil:
			settle(oldest.event, "")
		case is && tooLarge.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
			settle(oldest.event, fmt.Sprintf("the event has %d bytes: %s (max_msg_size of the stream)", len(batch.Events[oldest.event]), transport.OneLine(tooLarge.Description, 0)))
		default:
			if failed.class == accepted {
				failed = n.judge(ctx, session, err)
			}
			continue
		}
		stall.Reset(patience)
	}
}

// message is the event as a message. The client has copied it when it has
// published it.
func (n *jetStream) message(batch Batch, event int) *nats.Msg {
	m := &nats.Msg{Subject: n.config.Address.Name, Data: batch.Events[event]}
	if batch.IDs != nil {
		id := hex.EncodeToString(batch.IDs[event][:])
		if n.config.Source != "" {
			id = n.config.Source + "/" + id
		}
		m.Header = nats.Header{jetstream.MsgIDHeader: {id}}
	}
	return m
}

var (
	errNATSClosed = errors.New("the connection was lost")
	errNATSStall  = errors.New("no acknowledgement came")
)

// await waits for an acknowledgement. One that says that the message was there
// already is as good as any. A session that stalls, or lacks a permission, is
// closed: its messages will not be acknowledged any more.
func (s *natsSession) await(ctx context.Context, ack jetstream.PubAckFuture, stall <-chan time.Time) error {
	ok, failed := ack.Ok(), ack.Err()
	select { // what was acknowledged before the connection was lost counts
	case <-ok:
		return nil
	case err := <-failed:
		return err
	default:
	}
	select {
	case <-ok:
		return nil
	case err := <-failed:
		return err
	case err := <-s.denied:
		s.conn.Close()
		return err
	case <-s.closed:
		return errNATSClosed
	case <-stall:
		s.conn.Close()
		return errNATSStall
	case <-ctx.Done():
		return ctx.Err()
	}
}

// judge says what it means that a message was not acknowledged.
func (n *jetStream) judge(ctx context.Context, session *natsSession, err error) failure {
	subject := n.config.Address.Name
	f := failure{class: transient, cause: transport.OneLine(err.Error(), 0)}
	api, is := errors.AsType[*jetstream.APIError](err)
	switch {
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return n.missing(ctx, session)
	case errors.Is(err, nats.ErrPermissionViolation):
		f.class = denied
		f.advice = fmt.Sprintf("Let the user publish to %s, and subscribe to _INBOX.>", subject)
	case errors.Is(err, errNATSClosed):
		if last := session.conn.LastError(); last != nil {
			f.cause += ": " + transport.OneLine(last.Error(), 0)
		}
	case errors.Is(err, errNATSStall):
		f.cause = fmt.Sprintf("no acknowledgement came within %s", min(natsAck, n.config.Timeout))
	case is:
		f.cause = fmt.Sprintf("the stream of subject %s does not take messages: %s (%d)", subject, transport.OneLine(api.Description, 0), api.ErrorCode)
		if api.Code >= 400 && api.Code < 500 {
			f.class = denied
			f.advice = "Correct the configuration of the stream"
		}
	}
	return f
}

// missing finds out why no stream answers: there is none, or it has no leader
// at the moment.
func (n *jetStream) missing(ctx context.Context, session *natsSession) failure {
	subject := n.config.Address.Name
	lookup, cancel := context.WithTimeout(ctx, natsLookup)
	defer cancel()
	name, err := session.js.StreamNameBySubject(lookup, subject)
	switch {
	case err == nil:
		return failure{class: transient, cause: fmt.Sprintf("stream %s does not answer", name)}
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return failure{
			class: denied, cause: "no stream holds the subject " + subject,
			advice: fmt.Sprintf("Create one: nats stream add EVENTS --subjects %s", subject),
		}
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return failure{
			class: denied, cause: "the server, or the account of the user, has no JetStream",
			advice: "Enable it, and create a stream that holds the subject " + subject,
		}
	}
	return failure{class: transient, cause: fmt.Sprintf("no stream answers for the subject %s, and none can be looked up: %s", subject, transport.OneLine(err.Error(), 0))}
}
