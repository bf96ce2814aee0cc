package tcproom

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"
)

// ListenAndServe listens on the TCP address addr, such as ":9000", and serves
// with the room's own options until the room is closed; then it returns
// [ErrRoomClosed]. Any other error is that of listening or accepting.
func (r *Room) ListenAndServe(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("tcproom: %w", err)
	}
	return r.Serve(l)
}

// Serve accepts connections from l and serves each on a goroutine of its own,
// until the room is closed; then it returns [ErrRoomClosed]. It closes l
// before it returns. A room serves any number of listeners at once, each with
// its options, which change those of [New] for its connections. It returns
// [ErrOption] at once for one that cannot work, such as a message limit above the
// room's, and Cause("too-many-lanes").
//
// It waits out errors of accepting that pass, such as running out of
// descriptors, for 5 ms at first and 1 s at most, and logs them once a second;
// others it returns, while the members stay.
//
// It waits for no peer: TLS, and a RemoteAddr that blocks, are the business of
// the connection's own goroutine. Behind a proxy that speaks the PROXY protocol, wrap
// l by a listener that understands it and trusts nobody else. The RemoteAddr of a
// connection, which the room takes as the address of the peer, is then the one that
// the proxy names.
//
// Of a room of a [Hub] it is [Hub.Serve] with [InRoom]: it goes on when the room is
// removed, and the next connection makes it again, if the hub does that.
func (r *Room) Serve(l net.Listener, opts ...ConnOption) error {
	d, err := r.Door(opts...)
	if err != nil {
		l.Close()
		return err
	}
	defer d.Close()
	return d.Serve(l)
}

// ServeConn serves nc, any stream connection, as one link, and returns when
// it has ended; it always closes nc. It returns nil if the peer left, and
// otherwise why it was refused or ended; [ErrOption] at once for an option that cannot
// work. A *net.TCPConn and a stream *net.UnixConn are served directly; anything else
// through its methods, of which Close must unblock Read and Write.
//
// A framing given here and not to [New] or an open [Door] does not bind the
// other members: if it cannot carry what they send, this connection ends with
// [ErrUnframeable]. Of a room of a [Hub] it is [Hub.ServeConn] with [InRoom].
func (r *Room) ServeConn(nc net.Conn, opts ...ConnOption) error {
	if r.isNamed() {
		return r.hub.all.ServeConn(nc, append(opts[:len(opts):len(opts)], InRoom(r.name))...)
	}
	cfg, err := r.connConfig(opts)
	if err != nil {
		nc.Close()
		return err
	}
	l := r.newLink(nc, cfg, nil)
	if err := r.open(l, nil); err != nil {
		r.turnAway(nil, l, err)
		return err
	}
	return r.serve(l)
}

func (r *Room) connConfig(opts []ConnOption) (*connConfig, error) {
	if err := r.logError(); err != nil {
		return nil, err
	}
	if len(opts) == 0 {
		return &r.cfg.conn, nil
	}
	cfg, err := r.cfg.conn.with(opts)
	return &cfg, err
}

func (r *Room) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == roomClosed
}

func (r *Room) isStopping() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state != roomOpen
}

// An acceptor is one running Serve.
type acceptor struct {
	door *Door
	l    net.Listener
}

// addAcceptor begins a Serve of d. The error says that no one can begin any more.
func (r *Room) addAcceptor(a *acceptor) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.shutLocked(a.door); err != nil {
		return err
	}
	if r.acceptors == nil {
		r.acceptors = make(map[*acceptor]struct{})
	}
	r.acceptors[a] = struct{}{}
	r.wg.Add(1)
	return nil
}

func (r *Room) removeAcceptor(a *acceptor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.acceptors, a)
	r.releasedLocked()
	r.wg.Done()
}

// run accepts until the room stops, the door is closed or accepting fails for good.
func (a *acceptor) run() error {
	r, given := a.door.room, false
	switch a.l.(type) {
	case *net.TCPListener, *net.UnixListener:
		given = true // the user may have the connections of any other
	}
	var delay time.Duration
	for {
		nc, err := a.l.Accept()
		if err != nil {
			if err := r.shut(a.door); err != nil {
				return err
			}
			if !passes(err) {
				return fmt.Errorf("tcproom: accept: %w", err)
			}
			r.mu.Lock()
			r.stats.acceptErrors++
			r.mu.Unlock()
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			r.report(a.door.cfg.logger, slog.LevelError, "accept", 1, "accept failed", "cause", err, "delay", delay)
			r.sleep(delay, a.door)
			continue
		}
		delay = 0
		a.door.take(nc, given)
	}
}

// close closes the listener, so that Accept returns. It is a goroutine of its
// own, for a listener's Close may wait for what it has accepted, and ends with it.
func (a *acceptor) close() {
	defer a.door.room.wg.Done()
	a.l.Close()
}

// passes reports whether an error of accepting concerns one connection or a
// shortage, and not the listener.
func passes(err error) bool {
	for _, e := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC, // the last: no more may be polled
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR, syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// sleep waits for d, or until the room stops or the door is closed.
func (r *Room) sleep(d time.Duration, door *Door) {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		r.mu.Lock()
		shut, ch := r.shutLocked(door), r.releaseLocked()
		r.mu.Unlock()
		if shut != nil {
			return
		}
		select {
		case <-t.C:
			return
		case <-ch:
		}
	}
}
