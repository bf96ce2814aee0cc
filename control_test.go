package tcproom_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// controlled is a codec with control frames, which are lines that begin with a "!":
//
//	!ping X    is answered with !pong X
//	!bye X     a goodbye, the same with "!bye X"
//	!away X    a goodbye of a peer that comes back
//	!pinged X  a message within which a ping came
//	!elsewhere X  the same for another room, !asked X a request to enter one
//	!end CAUSE is what a connection ends with
type controlled struct {
	tcproom.Codec
	pings  bool
	panics string // the method that does
}

var _ tcproom.ControlFrames = controlled{}

func (c controlled) Features() tcproom.Features {
	f := c.Codec.Features()
	f.Pings = c.pings
	return f
}

func (c controlled) ParseRequest(frame []byte, req *tcproom.Request) error {
	word, rest, _ := bytes.Cut(frame, []byte(" "))
	switch string(word) {
	case "!ping":
		req.Kind = tcproom.ReqPing
	case "!pong":
		req.Kind = tcproom.ReqPong
	case "!bye":
		req.Kind = tcproom.ReqGoodbye
	case "!away":
		req.Kind, req.Resumes = tcproom.ReqGoodbye, true
	case "!pinged":
		req.Kind, req.Pinged, req.Body = tcproom.ReqSay, true, rest
	case "!elsewhere":
		req.Kind, req.Pinged, req.Room, req.Body = tcproom.ReqSay, true, "kitchen", rest
	case "!asked":
		req.Kind, req.Ref, req.Pinged, req.Room = tcproom.ReqEnter, 1, true, string(rest)
	default:
		return c.Codec.ParseRequest(frame, req)
	}
	return nil
}

func (c controlled) may(method string) {
	if c.panics == method {
		panic("of " + method)
	}
}

func (c controlled) AppendPing(dst []byte) []byte {
	c.may("AppendPing")
	return append(dst, "!ping"...)
}

func (c controlled) AppendAnswer(dst, frame []byte) []byte {
	c.may("AppendAnswer")
	word, rest, _ := strings.Cut(string(frame), " ")
	switch word {
	case "!ping", "!pinged", "!elsewhere", "!asked":
		return fmt.Appendf(dst, "!pong %s", rest)
	case "!bye":
		return fmt.Appendf(dst, "!bye %s", rest)
	case "!away":
		return dst // says nothing
	}
	panic("asked to answer " + string(frame))
}

func (c controlled) AppendEnd(dst []byte, cause tcproom.Cause, err error) []byte {
	c.may("AppendEnd")
	if !errors.Is(err, cause) && cause != tcproom.ErrDenied {
		panic(fmt.Sprintf("the cause of %v is %q", err, cause))
	}
	return fmt.Appendf(dst, "!end %s", string(cause))
}

func withControl(inner tcproom.Codec) tcproom.ConnOption {
	return tcproom.WithCodec(controlled{Codec: inner, pings: true})
}

// lines reads from nc until its end, within a bound.
func lines(t testing.TB, nc net.Conn) []string {
	t.Helper()
	nc.SetReadDeadline(time.Now().Add(within))
	b, err := io.ReadAll(nc)
	require.NoError(t, err)
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// mute is a codec that says a welcome and is said no hello.
type mute struct{ controlled }

func (m mute) Features() tcproom.Features { return tcproom.Features{Gaps: true} }

// listing is mute, and notes whether it was ever told who is there.
type listing struct {
	mute
	told *atomic.Bool
}

func (l listing) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if ev.Kind == tcproom.Welcome && len(ev.Welcome.Members) > 0 {
		l.told.Store(true)
	}
	return l.mute.AppendEvent(dst, ev)
}

// TestControlWelcome: a codec with control frames says who is there without a hello, and
// one that has no welcome says none.
func TestControlWelcome(t *testing.T) {
	room := tcproom.New(tcproom.WithNotices(false), tcproom.WithCodec(mute{controlled{Codec: tcproom.JSON{}}}))
	t.Cleanup(func() { room.Close() })
	c, err := room.Join(t.Context(), tcproom.Identity{Name: "bob"})
	require.NoError(t, err)
	broadcast(t, room, []byte("hi"))
	ev, err := c.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, tcproom.Message, ev.Kind, "a dialling end expects no welcome")

	enter := func(codec tcproom.Codec) string {
		here, there := net.Pipe()
		t.Cleanup(func() { here.Close() })
		d, err := room.Door(tcproom.WithCodec(codec))
		require.NoError(t, err)
		require.NoError(t, d.Admit(there, tcproom.Arrival{Hello: &tcproom.Hello{Name: "ada"}}))
		waitLen(t, room, 2)
		broadcast(t, room, []byte("there"))
		here.SetReadDeadline(time.Now().Add(within))
		line, err := bufio.NewReader(here).ReadString('\n')
		require.NoError(t, err)
		for m := range room.Members() {
			if m.Name() == "ada" {
				m.Kick("")
			}
		}
		return line
	}
	var w tcproom.Event
	require.NoError(t, tcproom.JSON{}.ParseEvent([]byte(strings.TrimSpace(enter(mute{controlled{Codec: tcproom.JSON{}}}))), &w))
	require.Equal(t, tcproom.Welcome, w.Kind)
	require.Equal(t, "ada", w.From.Name)
	require.Equal(t, uint64(1), w.Seq)
	require.Equal(t, 2, w.Welcome.Total)
	require.Equal(t, "bob", w.Welcome.Members[0].Name)
	require.Empty(t, w.Welcome.Token)
	require.Equal(t, "*: there\n", enter(mute{controlled{Codec: tcproom.Text{}}}))

	var told atomic.Bool
	enter(listing{mute{controlled{Codec: tcproom.Text{}}}, &told})
	require.False(t, told.Load(), "a list of members is made for a codec that has no welcome")
}

// TestControlHeartbeat: pings without a hello that asks for them. If the codec says
// that they are answered, silence ends the connection.
func TestControlHeartbeat(t *testing.T) {
	for _, pings := range []bool{true, false} {
		for _, codec := range []tcproom.Codec{tcproom.Text{}, tcproom.JSON{}} {
			t.Run(fmt.Sprintf("%T answered=%v", codec, pings), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					room := tcproom.New(tcproom.WithNotices(false))
					here, there := net.Pipe()
					d, err := room.Door(tcproom.WithCodec(controlled{Codec: codec, pings: pings}), tcproom.WithHeartbeat(10*time.Second))
					require.NoError(t, err)
					require.NoError(t, d.Admit(there, tcproom.Arrival{}))
					in := bufio.NewReader(here)
					next := func() string {
						line, err := in.ReadString('\n')
						require.NoError(t, err)
						return line
					}
					if codec.Features().Hello {
						fmt.Fprintln(here, `{"type":"hello"}`)
						require.Contains(t, next(), "welcome")
					}
					for range 5 {
						start := time.Now()
						require.Equal(t, "!ping\n", next())
						jittered(t, 10*time.Second, time.Since(start))
						if pings {
							fmt.Fprintln(here, "!pong")
						}
					}
					if pings {
						require.Equal(t, "!ping\n", next())
						require.Contains(t, next(), "idle timeout")
						require.Equal(t, "!end idle-timeout\n", next())
					} else {
						for range 100 {
							require.Equal(t, "!ping\n", next())
						}
						require.Equal(t, 1, room.Len())
					}
					here.Close()
					require.NoError(t, room.Close())
				})
			})
		}
	}
}

// TestControlHeartbeatOption: it can work at every codec with control frames.
func TestControlHeartbeatOption(t *testing.T) {
	var log bytes.Buffer
	silent := tcproom.WithCodec(controlled{Codec: tcproom.Text{}})
	room := tcproom.New(silent, tcproom.WithHeartbeat(time.Second), tcproom.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	_, err := room.Door(silent, tcproom.WithHeartbeat(time.Second))
	require.NoError(t, err)
	_, err = room.Door(tcproom.WithCodec(tcproom.Text{}), tcproom.WithHeartbeat(time.Second))
	require.ErrorIs(t, err, tcproom.ErrOption)
	_, err = room.Join(testContext(t), tcproom.Identity{}, silent.(tcproom.DialOption), tcproom.WithHeartbeat(time.Second))
	require.ErrorIs(t, err, tcproom.ErrOption, "the dialling end takes it as a codec without")
	require.NoError(t, room.Close())
	require.Empty(t, log.String())
}

// TestControlAnswers: each ping is answered with what is in it, before the join too,
// and a goodbye behind all that was ordered before, with nothing behind it.
func TestControlAnswers(t *testing.T) {
	checkGoroutines(t)
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			left := newCauses()
			asked := make(chan string, 1)
			room := tcproom.New(tcproom.WithNotices(false), tcproom.OnLeave(left.Left),
				tcproom.WithHandshake(func(ctx context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
					name, err := n.Receive(ctx)
					asked <- string(name)
					return tcproom.Identity{Name: string(name)}, err
				}))
			d := door(t, room, withControl(tcproom.Text{}), tcproom.WithEcho(true))
			here, there := pairOver(t, network)
			require.NoError(t, d.Admit(here, tcproom.Arrival{Read: []byte("!ping early\n!pong\n")}))
			io.WriteString(there, "ada\n!ping one\n!ping two\n!pinged hello\n!pong unasked\nbefore\n!bye then\nnobody takes this\n")
			require.Equal(t, "ada", <-asked)
			require.Equal(t, []string{"!pong early", "!pong one", "!pong two", "!pong hello", "ada: hello", "ada: before", "!bye then"}, lines(t, there))
			require.Equal(t, errLeft, left.Next(t))
		})
	}
}

// TestControlAnswersBesideRefusals: a ping within what a room of New refuses is answered,
// too.
func TestControlAnswersBesideRefusals(t *testing.T) {
	room := tcproom.New(tcproom.WithNotices(false))
	d := door(t, room, withControl(tcproom.Text{Commands: true}))
	here, there := pairOver(t, networks[0])
	require.NoError(t, d.Admit(here, tcproom.Arrival{}))
	waitLen(t, room, 1)
	io.WriteString(there, "!elsewhere hi\n!asked kitchen\n!bye now\n")
	const refused = "* not done: there is only one room here: nothing can be asked of others"
	require.Equal(t, []string{"!pong hi", refused, "!pong kitchen", refused, "!bye now"}, lines(t, there))
	require.NoError(t, room.Close())
}

// TestControlAnswerIsLast: what others send while a goodbye is answered comes before
// the answer or not at all.
func TestControlAnswerIsLast(t *testing.T) {
	for i := range times(30, 500) {
		room := tcproom.New(tcproom.WithNotices(false))
		d := door(t, room, withControl(tcproom.Text{}))
		here, there := pairOver(t, networks[i%2])
		require.NoError(t, d.Admit(here, tcproom.Arrival{}))
		waitLen(t, room, 1)
		var talk sync.WaitGroup
		talk.Go(func() {
			for range 200 {
				room.Broadcast(context.Background(), []byte("talk"))
			}
		})
		io.WriteString(there, "!bye now\n")
		said := lines(t, there)
		require.Equal(t, "!bye now", said[len(said)-1])
		require.NotContains(t, said[:len(said)-1], "!bye now")
		talk.Wait()
		require.NoError(t, room.Close())
	}
}

// TestControlPongsDoNotPileUp at a peer that pings and does not read.
func TestControlPongsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithNotices(false), withControl(tcproom.Text{}))
		nc, served := pipe(room)
		for range 1000 {
			fmt.Fprintf(nc, "!ping %s\n", strings.Repeat("x", 100))
		}
		fmt.Fprintln(nc, "!bye")
		said := lines(t, nc)
		require.LessOrEqual(t, len(said), 7, "two that wait, two that are being written, the last, and the answer to the goodbye")
		require.Equal(t, "!bye ", said[len(said)-1])
		require.NoError(t, <-served)
		require.NoError(t, room.Close())
	})
}

// TestControlLastPingIsAnswered: however much waits for a peer, of its pings the last is
// answered, and in its place.
func TestControlLastPingIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithNotices(false), withControl(tcproom.Text{}))
		nc, served := pipe(room)
		synctest.Wait()
		for m := range room.Members() {
			for range 3 {
				require.NoError(t, m.Send(t.Context(), bytes.Repeat([]byte("x"), 200)))
				synctest.Wait() // the first is being written, and those behind it wait
			}
		}
		for i := range 3 {
			fmt.Fprintf(nc, "!ping %d\n", i)
			synctest.Wait()
		}
		announce(t, room, "behind")
		fmt.Fprintln(nc, "!bye")
		said := lines(t, nc)
		require.Equal(t, []string{"!pong 2", "*: behind", "!bye "}, said[len(said)-3:])
		require.Len(t, said, 6)
		require.NoError(t, <-served)
		require.NoError(t, room.Close())
	})
}

// TestControlPingsBeforeTheJoin are answered, each of them.
func TestControlPingsBeforeTheJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithNotices(false), withControl(tcproom.Text{}),
			tcproom.WithHandshake(func(ctx context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
				name, err := n.Receive(ctx)
				return tcproom.Identity{Name: string(name)}, err
			}))
		nc, served := pipe(room)
		for range 20 {
			fmt.Fprintf(nc, "!ping %s\n", strings.Repeat("x", 100))
		}
		fmt.Fprint(nc, "ada\n!bye\n")
		require.Len(t, lines(t, nc), 21)
		require.NoError(t, <-served)
		require.NoError(t, room.Close())
	})
}

// writes notes what each Write is given.
type writes struct {
	net.Conn
	mu  sync.Mutex
	all []string
}

func (w *writes) Write(b []byte) (int, error) {
	w.mu.Lock()
	w.all = append(w.all, string(b))
	w.mu.Unlock()
	return w.Conn.Write(b)
}

// TestControlEnd: the last bytes of a connection that the room ends stand behind its
// last event, in the same write.
func TestControlEnd(t *testing.T) {
	refuse := errors.New("not you")
	for _, test := range []struct {
		name  string
		codec tcproom.Codec
		opts  []tcproom.RoomOption
		sends string
		do    func(t *testing.T, room *tcproom.Room)
		want  string
	}{
		{name: "kick", codec: tcproom.Text{}, opts: nil, sends: "", do: func(t *testing.T, room *tcproom.Room) {
			waitLen(t, room, 1)
			for m := range room.Members() {
				require.NoError(t, m.Kick("enough"))
			}
		}, want: "* goodbye: enough\n!end kicked\n"},
		{name: "shutdown", codec: tcproom.Text{}, opts: nil, sends: "", do: func(t *testing.T, room *tcproom.Room) {
			waitLen(t, room, 1)
			go room.Shutdown(context.Background())
		}, want: "* goodbye: room closed\n!end closed\n"},
		{name: "no last event", codec: tcproom.Raw{}, opts: nil, sends: "", do: func(t *testing.T, room *tcproom.Room) {
			waitLen(t, room, 1)
			go room.Shutdown(context.Background())
		}, want: "!end closed\n"},
		{name: "OnJoin", codec: tcproom.Text{}, opts: []tcproom.RoomOption{tcproom.OnJoin(func(*tcproom.Member) error { return refuse })}, sends: "", do: nil,
			want: "* goodbye: not you\n!end denied\n"},
		{name: "too large", codec: tcproom.Text{}, opts: []tcproom.RoomOption{tcproom.WithMaxMessage(10)}, sends: "more than ten bytes\n", do: nil,
			want: "* goodbye: message too large\n!end too-large\n"},
		{name: "no hello", codec: tcproom.JSON{}, opts: nil, sends: "{}\n", do: nil,
			want: `{"type":"refused","code":"malformed","retry":false,"message":"hello: malformed: JSON: no type: \"{}\""}` + "\n!end malformed\n"},
	} {
		for _, network := range networks {
			t.Run(test.name+" "+network, func(t *testing.T) {
				room := tcproom.New(append(test.opts, tcproom.WithNotices(false))...)
				d := door(t, room, withControl(test.codec))
				here, there := pairOver(t, network)
				rec := &writes{Conn: here}
				if network == "pipe" {
					here = rec
				}
				require.NoError(t, d.Admit(here, tcproom.Arrival{}))
				if test.sends != "" { // else the other end may be closed already
					_, err := io.WriteString(there, test.sends)
					require.NoError(t, err)
				}
				if test.do != nil {
					test.do(t, room)
				}
				there.SetReadDeadline(time.Now().Add(within))
				said, err := io.ReadAll(there)
				require.NoError(t, err)
				require.Equal(t, test.want, string(said))
				if network == "pipe" {
					require.Equal(t, []string{test.want}, rec.all)
				}
			})
		}
	}
}

// TestControlNoEndForWhoLeft: a peer that ends its half is not told of an end; nor is
// one that said goodbye before it was refused.
func TestControlNoEndForWhoLeft(t *testing.T) {
	for _, test := range []struct {
		name  string
		codec tcproom.Codec
		opts  []tcproom.ConnOption
		sends string
		want  string
	}{
		{name: "FIN", codec: tcproom.Text{}, opts: nil, sends: "", want: ""},
		{name: "goodbye before the hello", codec: tcproom.JSON{}, opts: nil, sends: "!ping a\n!bye b\n", want: "!pong a\n!bye b\n"},
		{name: "goodbye in the handshake", codec: tcproom.Text{}, opts: []tcproom.ConnOption{
			tcproom.WithHandshake(func(ctx context.Context, n *tcproom.Newcomer) (id tcproom.Identity, err error) {
				_, err = n.Receive(ctx)
				return id, err
			})}, sends: "!bye c\n", want: "!bye c\n"},
		{name: "goodbye without an answer", codec: tcproom.Text{}, opts: nil, sends: "!away\n", want: ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			room := tcproom.New(tcproom.WithNotices(false))
			d := door(t, room, append(test.opts, withControl(test.codec))...)
			here, there := pairOver(t, "tcp")
			require.NoError(t, d.Admit(here, tcproom.Arrival{}))
			_, err := io.WriteString(there, test.sends)
			require.NoError(t, err)
			if test.sends == "" {
				require.NoError(t, there.(*net.TCPConn).CloseWrite())
			}
			there.SetReadDeadline(time.Now().Add(within))
			said, err := io.ReadAll(there)
			require.NoError(t, err)
			require.Equal(t, test.want, string(said))
		})
	}
}

// TestControlGoodbyeResumes: with sessions, one that may come back is detached, and
// one that does not leaves.
func TestControlGoodbyeResumes(t *testing.T) {
	left := newCauses()
	room := tcproom.New(tcproom.WithSessions(tcproom.Sessions{}), tcproom.OnLeave(left.Left))
	d := door(t, room, withControl(tcproom.JSON{}))
	come := func(hello, sends string) string {
		here, there := pairOver(t, "tcp")
		require.NoError(t, d.Admit(here, tcproom.Arrival{}))
		_, err := io.WriteString(there, hello+"\n"+sends+"\n")
		require.NoError(t, err)
		there.SetReadDeadline(time.Now().Add(within))
		said, err := io.ReadAll(there)
		require.NoError(t, err)
		return string(said)
	}
	var welcome tcproom.Event
	said, _, _ := strings.Cut(come(`{"type":"hello"}`, "!away x"), "\n")
	require.NoError(t, tcproom.JSON{}.ParseEvent([]byte(said), &welcome))
	require.Equal(t, 1, room.Stats().Detached)
	resume := fmt.Sprintf(`{"type":"hello","resume":{"token":%q,"epoch":%q,"seq":%d}}`, string(welcome.Welcome.Token), welcome.Welcome.Epoch, welcome.Seq)
	require.Contains(t, come(resume, "!bye y"), `"outcome":"resumed"`)
	require.Equal(t, errLeft, left.Next(t))
	require.Zero(t, room.Len())
}

// TestControlPanics: a method that panics ends its connection and nothing else.
func TestControlPanics(t *testing.T) {
	for _, method := range []string{"AppendPing", "AppendAnswer", "AppendEnd"} {
		for _, joins := range []bool{true, false} {
			t.Run(fmt.Sprint(method, joins), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ends := newCauses()
					room := tcproom.New(tcproom.WithNotices(false), tcproom.OnLeave(ends.Left), tcproom.OnReject(ends.Rejected))
					codec := tcproom.Codec(tcproom.Text{})
					if !joins {
						codec = tcproom.JSON{}
					}
					bystander, _ := pipe(room)
					synctest.Wait() // it is guest-1
					nc, _ := pipe(room, tcproom.WithCodec(controlled{codec, true, method}), tcproom.WithHeartbeat(time.Second), tcproom.WithHandshakeTimeout(time.Minute))
					synctest.Wait()
					switch {
					case method == "AppendPing" && !joins:
						fmt.Fprintln(nc, `{"type":"hello"}`)
					case method == "AppendAnswer":
						fmt.Fprintln(nc, "!ping")
					case method == "AppendEnd":
						fmt.Fprintln(nc, `{"type":"message","body":"x"}`)
						for m := range room.Members() {
							if m.Name() == "guest-2" {
								m.Kick("out")
							}
						}
					}
					said, err := io.ReadAll(nc)
					require.NoError(t, err)
					if method == "AppendEnd" {
						require.Contains(t, string(said), map[bool]string{true: "goodbye: out", false: "refused"}[joins])
						require.NotErrorIs(t, ends.Next(t), tcproom.ErrHook, "it had ended before")
					} else {
						require.Contains(t, string(said), "internal error")
						require.ErrorIs(t, ends.Next(t), tcproom.ErrHook)
					}
					require.Equal(t, 1, room.Len())
					bystander.Close()
					require.NoError(t, room.Close())
				})
			})
		}
	}
}

// TestControlNotForJoin: a member in this process gets no control frames.
func TestControlNotForJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithNotices(false), tcproom.WithHeartbeat(time.Second), tcproom.WithCodec(controlled{Codec: tcproom.Text{}}))
		c, err := room.Join(t.Context(), tcproom.Identity{})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = c.Receive(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, c.Close())
		require.NoError(t, room.Close())
	})
}
