package suite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// allHooks are those of a room, and of a dialling end.
var allHooks = []string{"WithHandshake", "OnJoin", "OnJoined", "OnMessage", "OnLeave", "OnReject", "WithNameValidator", "WithRate", "Limiter of WithRate", "OnEvent"}

var errHook = errors.New("the hook says no")

const victim = "victim"

// A subject is what a hook of the room's is called for: one of the two.
type subject struct {
	member   *tcproom.Member
	newcomer *tcproom.Newcomer
}

// A scene is a room in memory with the smallest backlog and with every hook
// there is, one of which misbehaves once, for the victim.
type scene struct {
	*memRoom
	hook     string
	act      func(s *scene, of subject, args ...any) error // of nobody where the hook has none
	acted    atomic.Bool
	newcomer atomic.Pointer[tcproom.Newcomer] // the victim's
	victim   atomic.Pointer[tcproom.Conn]     // its own end, once it is in
	joined   *causes                          // one for each conn that OnJoin let in
	ada, bob *tcproom.Conn
}

// A sceneLimiter is the hook Limiter.
type sceneLimiter func() error

func (l sceneLimiter) WaitN(context.Context, int) error { return l() }

func newScene(t testing.TB, hook string, act func(*scene, subject, ...any) error, opts ...tcproom.RoomOption) *scene {
	s := &scene{hook: hook, act: act, joined: newCauses()}
	left, refused := newCauses(), newCauses()
	s.memRoom = newMemRoom(t, append(opts,
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithBacklog(1), tcproom.WithMaxMessage(1<<10), tcproom.WithMaxPerAddress(100),
		tcproom.WithNameValidator(func(name string) error { return s.run("WithNameValidator", name, subject{}) }),
		tcproom.WithRate(func(m *tcproom.Member) tcproom.Limiter {
			s.run("WithRate", m.Name(), subject{member: m})
			return sceneLimiter(func() error { return s.run("Limiter of WithRate", m.Name(), subject{member: m}) })
		}),
		tcproom.WithHandshake(func(_ context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
			name := n.Hello().Name
			if name == victim {
				s.newcomer.Store(n)
				if s.hook == "OnReject" {
					return tcproom.Identity{}, errHook
				}
			}
			return tcproom.Identity{}, s.run("WithHandshake", name, subject{newcomer: n})
		}),
		tcproom.OnJoin(func(m *tcproom.Member) error {
			if err := s.run("OnJoin", m.Name(), subject{member: m}); err != nil {
				return err
			}
			s.joined.Add(nil)
			return nil
		}),
		tcproom.OnJoined(func(m *tcproom.Member, _ uint64) { s.run("OnJoined", m.Name(), subject{member: m}) }),
		tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			if _, err := m.Post(context.Background(), body); err != nil {
				return nil, err
			}
			return nil, s.run("OnMessage", m.Name(), subject{member: m}, body)
		}),
		tcproom.OnLeave(func(m *tcproom.Member, cause error) {
			left.Add(cause)
			s.run("OnLeave", m.Name(), subject{member: m}, cause)
		}),
		tcproom.OnReject(func(n *tcproom.Newcomer, cause error) {
			refused.Add(cause)
			s.run("OnReject", victim, subject{newcomer: n}, n.RemoteAddr(), cause)
		}))...,
	)
	s.left, s.refused = left, refused
	s.ada, s.bob = s.enter(t, "ada"), s.enter(t, "bob")
	return s
}

// run is what each hook does: what the scene is about, if it is the one.
func (s *scene) run(hook, name string, of subject, args ...any) error {
	if hook == s.hook && name == victim && s.acted.CompareAndSwap(false, true) {
		return s.act(s, of, args...)
	}
	return nil
}

func (s *scene) enter(t testing.TB, name string, opts ...tcproom.DialOption) *tcproom.Conn {
	t.Helper()
	return s.dial(t, append(opts, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(name))...)
}

// provoke has the victim come, speak, hear something and leave, so that it
// meets every hook, and returns what its own end was, or why it was not let
// in, once it is gone.
func (s *scene) provoke(t testing.TB) <-chan error {
	ctx := testContext(t)
	gone := make(chan error, 1)
	go func() {
		c, err := tcproom.Dial(ctx, "room:9000", tcproom.WithDialer(s.net.Dial), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(victim),
			tcproom.OnEvent(func(ev tcproom.Event) { s.run("OnEvent", victim, subject{}, ev) }))
		if err != nil {
			gone <- err
			return
		}
		s.victim.Store(c)
		c.Send(ctx, []byte("provocation"))
		select {
		case <-c.Context().Done():
		case <-time.After(time.Second):
		}
		err = c.Err()
		c.Close()
		gone <- err
	}()
	return gone
}

// chat checks that the bystanders hear each other.
func (s *scene) chat(t testing.TB) {
	t.Helper()
	chat(t, s.ada, s.bob, "bystander")
}

// end closes the room, and checks that each conn that OnJoin let in has left.
func (s *scene) end(t testing.TB) {
	t.Helper()
	require.NoError(t, s.Close())
	<-s.Done()
	require.Len(t, s.left.C, len(s.joined.C), "P8")
}

// TestF34HooksThatEnd: a hook that panics or exits (F35) ends the victim, whose
// end names it, and nobody else.
func TestF34HooksThatEnd(t *testing.T) {
	for _, hook := range allHooks {
		for name, act := range map[string]func(){"panic": func() { panic("hook") }, "Goexit": runtime.Goexit} {
			t.Run(hook+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newScene(t, hook, func(*scene, subject, ...any) error { act(); return nil })
					s.chat(t)
					gone := <-s.provoke(t)
					synctest.Wait()
					time.Sleep(time.Second)
					var cause error
					switch hook {
					case "OnLeave": // it was over already
						require.NotErrorIs(t, <-s.left.C, tcproom.ErrHook)
						s.left.Add(nil)
					case "OnReject":
						require.ErrorIs(t, s.refused.Next(t), errHook)
					case "OnEvent":
						cause = gone
					case "OnJoined", "OnMessage", "Limiter of WithRate":
						cause = s.left.Next(t)
						s.left.Add(nil)
					default:
						cause = s.refused.Next(t)
					}
					if cause != nil {
						var he *tcproom.HookError
						require.ErrorAs(t, cause, &he)
						require.Equal(t, hook, he.Hook)
						require.Equal(t, name == "panic", he.Panic != nil)
						require.Equal(t, name == "panic", bytes.Contains(he.Stack, []byte("faults_hooks_test.go")))
					}
					s.chat(t)
					require.Equal(t, 2, s.Len())
					s.end(t)
				})
			})
		}
	}
}

// TestF36BlockedHooks: a hook that does not return holds up the victim alone,
// and the stop of its own end, which names it.
func TestF36BlockedHooks(t *testing.T) {
	for _, hook := range allHooks {
		t.Run(hook, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inside, release := make(chan struct{}), make(chan struct{})
				s := newScene(t, hook, func(*scene, subject, ...any) error {
					close(inside)
					<-release
					return nil
				})
				gone := s.provoke(t)
				<-inside
				for range 10 {
					s.chat(t)
				}
				if hook == "OnEvent" { // the room need not wait for it
					close(release)
					<-gone
					s.end(t)
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				go s.ada.Close()
				go s.bob.Close()
				start := time.Now()
				var stop *tcproom.StopError
				require.ErrorAs(t, s.Shutdown(ctx), &stop)
				require.LessOrEqual(t, time.Since(start), 1100*time.Millisecond)
				require.Len(t, stop.Stuck, 1)
				require.Equal(t, hook, stop.Stuck[0].Hook)
				start = time.Now()
				require.NoError(t, s.Close())
				require.Zero(t, time.Since(start), "Close waits for no hook that ran before it")
				close(release)
				<-gone
				s.end(t)
			})
		})
	}
}

// TestF43HooksScribble: what a hook writes to what it was given changes nothing
// for the others.
func TestF43HooksScribble(t *testing.T) {
	for _, hook := range allHooks {
		t.Run(hook, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				acted := make(chan struct{})
				s := newScene(t, hook, func(_ *scene, of subject, args ...any) error {
					defer close(acted)
					if of.member != nil {
						args = append(args, of.member.RemoteAddr())
					}
					if of.newcomer != nil {
						args = append(args, of.newcomer.RemoteAddr())
					}
					for _, arg := range args {
						scribbleOn(arg)
					}
					return nil
				})
				w := s.enter(t, "cy")
				gone := s.provoke(t)
				<-acted
				<-gone
				time.Sleep(time.Second)
				s.chat(t)
				switch hook {
				case "OnReject":
					require.Equal(t, "bystander0", nextOf(t, w, s.ada))
				default:
					require.Equal(t, "provocation", nextMessage(t, w))
				}
				for m := range s.Members() {
					require.Contains(t, []string{"ada", "bob", "cy"}, m.Name())
				}
				require.Equal(t, 3, s.Len())
				s.end(t)
			})
		})
	}
}

func scribbleOn(arg any) {
	switch arg := arg.(type) {
	case []byte:
		for i := range arg[:cap(arg)] {
			arg[:cap(arg)][i] = 0xff
		}
	case *net.TCPAddr:
		for i := range arg.IP {
			arg.IP[i] = 0xff
		}
		arg.Port = 1
	case tcproom.Event:
		scribbleOn(arg.Body)
		if arg.Welcome != nil {
			clear(arg.Welcome.Members)
		}
	}
}

// A call is of one method in a hook.
type call func(s *scene, of callee)

// A callee is whose methods a hook calls: those that it is called for or, if it is
// called for none, a bystander.
type callee struct {
	member   *tcproom.Member
	newcomer *tcproom.Newcomer // outside of its hook, too
	conn     *tcproom.Conn     // a dialling end: the victim's own in OnEvent
}

// endsRoom are the calls after which there is no room to speak in.
var endsRoom = []string{"Close", "Shutdown"}

// roomCalls, memberCalls, newcomerCalls and connCalls are all methods that there are.
var (
	roomCalls = map[string]call{
		"Broadcast":      func(s *scene, _ callee) { s.Broadcast(context.Background(), []byte("from a hook")) },
		"Close":          func(s *scene, _ callee) { s.Room.Close() },
		"Done":           func(s *scene, _ callee) { s.Done() },
		"Join":           func(s *scene, _ callee) { joinAndLeave(s.Room) },
		"Len":            func(s *scene, _ callee) { s.Len() },
		"ListenAndServe": func(s *scene, _ callee) { s.ListenAndServe("nowhere") },
		"MaxMessage":     func(s *scene, _ callee) { s.MaxMessage() },
		"Member":         func(s *scene, of callee) { s.Member(of.member.ID()) },
		"MemberByToken":  func(s *scene, _ callee) { s.MemberByToken("no token") },
		"Members": func(s *scene, _ callee) {
			for m := range s.Members() {
				s.Member(m.ID())
			}
		},
		"Past": func(s *scene, _ callee) { s.Past(0, 0) },
		"Say": func(s *scene, _ callee) {
			s.Say(context.Background(), tcproom.MemberInfo{ID: "hook", Name: "hook"}, []byte("from a hook"))
		},
		"Serve": func(s *scene, _ callee) {
			var n roomtest.Network
			l, _ := n.Listen("")
			l.Close()
			s.Serve(l)
		},
		"ServeConn": func(s *scene, _ callee) {
			here, there := net.Pipe()
			here.Close()
			s.ServeConn(there)
		},
		"Shutdown": func(s *scene, _ callee) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			s.Shutdown(ctx)
		},
		"Checks": func(s *scene, _ callee) { s.Checks() },
		"Hidden": func(s *scene, _ callee) { s.Hidden() },
		"Hub":    func(s *scene, _ callee) { s.Hub() },
		"Name":   func(s *scene, _ callee) { s.Name() },
		"Mute":   func(s *scene, _ callee) { s.Mute("nobody", time.Now()) },
		"Door": func(s *scene, _ callee) {
			if d, err := s.Door(); err == nil {
				here, there := net.Pipe()
				here.Close()
				d.Admit(there, tcproom.Arrival{})
				d.Close()
			}
		},
		"Ready": func(s *scene, _ callee) { withContext(func(ctx context.Context) { s.Ready(ctx) }) },
		"Stats": func(s *scene, _ callee) { s.Stats() },
	}
	memberCalls = map[string]call{
		"Context":  func(_ *scene, of callee) { context.Cause(of.member.Context()) },
		"Err":      func(_ *scene, of callee) { of.member.Err() },
		"Hello":    func(_ *scene, of callee) { of.member.Hello() },
		"ID":       func(_ *scene, of callee) { of.member.ID() },
		"Info":     func(_ *scene, of callee) { of.member.Info() },
		"Kick":     func(_ *scene, of callee) { of.member.Kick("by a hook") },
		"LogValue": func(_ *scene, of callee) { of.member.LogValue() },
		"Name":     func(_ *scene, of callee) { of.member.Name() },
		"Post":     func(_ *scene, of callee) { of.member.Post(context.Background(), []byte("from a hook")) },
		"PostNumbered": func(_ *scene, of callee) {
			of.member.PostNumbered(context.Background(), 1<<62, []byte("from a hook"))
		},
		"Remote":     func(_ *scene, of callee) { of.member.Remote() },
		"RemoteAddr": func(_ *scene, of callee) { of.member.RemoteAddr() },
		"Room":       func(_ *scene, of callee) { of.member.Room() },
		"Send": func(_ *scene, of callee) {
			withContext(func(ctx context.Context) { of.member.Send(ctx, []byte("direct")) })
		},
		"SendFrom": func(_ *scene, of callee) {
			withContext(func(ctx context.Context) { of.member.SendFrom(ctx, of.member, []byte("direct")) })
		},
		"TLS": func(_ *scene, of callee) { of.member.TLS() },
	}
	newcomerCalls = map[string]call{
		"Hello":      func(_ *scene, of callee) { of.newcomer.Hello() },
		"Receive":    func(_ *scene, of callee) { withContext(func(ctx context.Context) { of.newcomer.Receive(ctx) }) },
		"RemoteAddr": func(_ *scene, of callee) { of.newcomer.RemoteAddr() },
		"Send": func(_ *scene, of callee) {
			withContext(func(ctx context.Context) { of.newcomer.Send(ctx, []byte("direct")) })
		},
		"TLS": func(_ *scene, of callee) { of.newcomer.TLS() },
	}
	connCalls = map[string]call{
		"Close":      func(_ *scene, of callee) { of.conn.Close() },
		"CloseWrite": func(_ *scene, of callee) { withContext(func(ctx context.Context) { of.conn.CloseWrite(ctx) }) },
		"Context":    func(_ *scene, of callee) { context.Cause(of.conn.Context()) },
		"Err":        func(_ *scene, of callee) { of.conn.Err() },
		"Events": func(_ *scene, of callee) {
			withContext(func(ctx context.Context) {
				for range of.conn.Events(ctx) {
				}
			})
		},
		"EnterRoom": func(_ *scene, of callee) { withContext(func(ctx context.Context) { of.conn.EnterRoom(ctx, "room") }) },
		"LeaveRoom": func(_ *scene, of callee) { withContext(func(ctx context.Context) { of.conn.LeaveRoom(ctx, "room") }) },
		"MoveRoom": func(_ *scene, of callee) {
			withContext(func(ctx context.Context) { of.conn.MoveRoom(ctx, "", "room") })
		},
		"SendTo": func(_ *scene, of callee) {
			withContext(func(ctx context.Context) { of.conn.SendTo(ctx, "room", []byte("x")) })
		},
		"ID":         func(_ *scene, of callee) { of.conn.ID() },
		"Name":       func(_ *scene, of callee) { of.conn.Name() },
		"Receive":    func(_ *scene, of callee) { withContext(func(ctx context.Context) { of.conn.Receive(ctx) }) },
		"RemoteAddr": func(_ *scene, of callee) { of.conn.RemoteAddr() },
		"Send": func(_ *scene, of callee) {
			withContext(func(ctx context.Context) { of.conn.Send(ctx, []byte("to the room")) })
		},
		"TLS": func(_ *scene, of callee) { of.conn.TLS() },
	}
)

// withContext bounds a call that may block, as Receive does in a handshake.
func withContext(fn func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	fn(ctx)
}

func joinAndLeave(r *tcproom.Room) {
	if c, err := r.Join(context.Background(), tcproom.Identity{Name: "dan"}); err == nil {
		c.Close()
	}
}

// TestF37HooksCallEverything: each hook calls each method of Room, Member, Newcomer
// and Conn, by a list that has to name all there are, and comes back within a bounded
// time.
func TestF37HooksCallEverything(t *testing.T) {
	callEverything(t, func(*testing.T) []tcproom.RoomOption { return nil })
}

// TestF37WithALog: they may do so in a room with a log, too.
func TestF37WithALog(t *testing.T) {
	callEverything(t, func(t *testing.T) []tcproom.RoomOption {
		log, err := roomtest.NewLog().Open(t.Context(), "room")
		require.NoError(t, err)
		return []tcproom.RoomOption{tcproom.WithLog(log)}
	})
}

func callEverything(t *testing.T, opts func(*testing.T) []tcproom.RoomOption) {
	const ofConn = 5 * time.Second         // for which a dialling end waits for its peer
	const ofRoom = 1100 * time.Millisecond // for which Shutdown does
	for _, of := range []struct {
		typ   reflect.Type
		calls map[string]call
		most  time.Duration
	}{
		{typ: reflect.TypeFor[*tcproom.Room](), calls: roomCalls, most: ofRoom},
		{typ: reflect.TypeFor[*tcproom.Member](), calls: memberCalls, most: ofRoom},
		{typ: reflect.TypeFor[*tcproom.Newcomer](), calls: newcomerCalls, most: ofRoom},
		{typ: reflect.TypeFor[*tcproom.Conn](), calls: connCalls, most: ofConn},
	} {
		for i := range of.typ.NumMethod() {
			require.Contains(t, of.calls, of.typ.Method(i).Name, "a method of %v that no hook calls", of.typ)
		}
		require.Len(t, of.calls, of.typ.NumMethod())
		for name, fn := range of.calls {
			ends := of.typ == reflect.TypeFor[*tcproom.Room]() && slices.Contains(endsRoom, name)
			for _, hook := range allHooks {
				t.Run(fmt.Sprintf("%s %v.%s", hook, of.typ.Elem().Name(), name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						testCall(t, hook, fn, of.most, ends, opts(t)...)
					})
				})
			}
		}
	}
}

// calleeOf returns whose methods a hook is to call.
func (s *scene) calleeOf(of subject) callee {
	c := callee{of.member, of.newcomer, s.ada}
	if c.member == nil {
		c.member = only(s.Room) // of the two, the one that came first
	}
	if c.newcomer == nil {
		c.newcomer = s.newcomer.Load()
	}
	if s.hook == "OnEvent" {
		synctest.Wait() // until the victim knows its own end
		c.conn = s.victim.Load()
	}
	return c
}

// testCall has hook call fn, which ends the room or leaves it as it was.
func testCall(t *testing.T, hook string, fn call, most time.Duration, ends bool, opts ...tcproom.RoomOption) {
	took := make(chan time.Duration, 1)
	s := newScene(t, hook, func(s *scene, of subject, _ ...any) error {
		c := s.calleeOf(of)
		start := time.Now()
		fn(s, c)
		took <- time.Since(start)
		return nil
	}, opts...)
	gone := s.provoke(t)
	require.LessOrEqual(t, <-took, most)
	if err := <-gone; err != nil && errors.Is(err, tcproom.ErrHook) {
		t.Error(err)
	}
	if !ends {
		w := s.enter(t, "eve") // also if another was removed
		broadcast(t, s.Room, []byte("still here"))
		for nextMessage(t, w) != "still here" {
		}
	}
	s.end(t)
}

// TestF36OnRejectHoldsUpNobody: a slow OnReject for connections that found no
// slot does not delay those who come after them.
func TestF36OnRejectHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := make(chan bool)
		srv := roomtest.NewMemServer(t, tcproom.WithMaxPerAddress(1), tcproom.OnReject(func(*tcproom.Newcomer, error) { <-block }))
		start := time.Now()
		first, err := srv.Net.DialFrom(t.Context(), "10.0.0.1", srv.Addr)
		require.NoError(t, err)
		defer first.Close()
		for range 10 {
			nc, err := srv.Net.DialFrom(t.Context(), "10.0.0.1", srv.Addr)
			require.NoError(t, err)
			defer nc.Close()
		}
		healthy, err := srv.Net.DialFrom(t.Context(), "10.0.0.2", srv.Addr)
		require.NoError(t, err)
		defer healthy.Close()
		synctest.Wait()
		require.Equal(t, 2, srv.Room.Len())
		require.Zero(t, time.Since(start))
		close(block)
	})
}
