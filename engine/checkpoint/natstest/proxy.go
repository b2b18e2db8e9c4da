package natstest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy stands between clients and a server, and is where the network fails.
type Proxy struct {
	listener net.Listener
	server   string
	deaf     atomic.Bool

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// NewProxy begins to forward connections to a server, and ends with the test.
func NewProxy(t testing.TB, server *Server) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, server: server.Address(), conns: make(map[net.Conn]bool)}
	t.Cleanup(func() {
		_ = l.Close()
		p.Cut()
	})
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.forward(client)
		}
	}()
	return p
}

// URL is where clients reach the server through the proxy.
func (p *Proxy) URL() string { return "nats://" + p.listener.Addr().String() }

// Deafen has everything that the server says get lost, until it is called with false. What
// clients say still gets to the server.
func (p *Proxy) Deafen(deaf bool) { p.deaf.Store(deaf) }

// Cut cuts all connections. New ones are taken.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *Proxy) forward(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	wg.Go(func() {
		buffer := make([]byte, 32<<10)
		for {
			n, err := server.Read(buffer)
			if n > 0 && !p.deaf.Load() {
				_, err = client.Write(buffer[:n])
			}
			if err != nil {
				break
			}
		}
		_ = client.Close()
	})
	wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}
