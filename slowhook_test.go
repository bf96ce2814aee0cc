package tcproom_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// slowIn returns the options of a room in which the named hook calls fn.
func slowIn(hook string, fn func()) []tcproom.RoomOption {
	switch hook {
	case "WithHandshake":
		return []tcproom.RoomOption{tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
			fn()
			return tcproom.Identity{Name: "ada"}, nil
		})}
	case "WithNameValidator":
		return []tcproom.RoomOption{tcproom.WithNameValidator(func(string) error { fn(); return nil })}
	case "WithRate":
		return []tcproom.RoomOption{tcproom.WithRate(func(*tcproom.Member) tcproom.Limiter { fn(); return nil })}
	case "Limiter of WithRate":
		return []tcproom.RoomOption{limited(waitFunc(func(context.Context, int) error { fn(); return nil }))}
	case "OnJoin":
		return []tcproom.RoomOption{tcproom.OnJoin(func(*tcproom.Member) error { fn(); return nil })}
	case "OnJoined":
		return []tcproom.RoomOption{tcproom.OnJoined(func(*tcproom.Member, uint64) { fn() })}
	case "OnMessage":
		return []tcproom.RoomOption{tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { fn(); return nil, nil })}
	case "OnLeave":
		return []tcproom.RoomOption{tcproom.OnLeave(func(*tcproom.Member, error) { fn() })}
	case "OnReject":
		return []tcproom.RoomOption{tcproom.WithMaxMembers(1), tcproom.OnReject(func(*tcproom.Newcomer, error) { fn() })}
	case "OnReject without a slot":
		return []tcproom.RoomOption{tcproom.WithMaxPending(1), tcproom.OnReject(func(*tcproom.Newcomer, error) { fn() })}
	}
	panic(hook)
}

// TestF36SlowHooksAreNamed: once, when a second is over, while they still run.
func TestF36SlowHooksAreNamed(t *testing.T) {
	for _, test := range []struct {
		hook  string
		after time.Duration // until it is named; 0: never
	}{
		{hook: "WithHandshake", after: 8 * time.Second}, {hook: "WithNameValidator", after: time.Second}, {hook: "WithRate", after: time.Second}, {hook: "Limiter of WithRate", after: 0},
		{hook: "OnJoin", after: time.Second}, {hook: "OnJoined", after: time.Second}, {hook: "OnMessage", after: time.Second}, {hook: "OnLeave", after: time.Second},
		{hook: "OnReject", after: time.Second}, {hook: "OnReject without a slot", after: time.Second},
	} {
		for _, takes := range []time.Duration{test.after - 1, test.after + 1, 3 * test.after, time.Hour} {
			t.Run(fmt.Sprint(test.hook, takes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var lines logLines
					running := make(chan time.Time, 10)
					var calls atomic.Int64
					opts := slowIn(test.hook, func() {
						if calls.Add(1) == 1 {
							running <- time.Now()
							time.Sleep(takes)
						}
					})
					room := tcproom.New(append(opts, tcproom.WithLogger(lines.Logger()), tcproom.WithCodec(tcproom.JSON{}),
						tcproom.WithHandshakeTimeout(7*time.Second))...)
					nc, served := pipeFrom(room, "192.0.2.1:1")
					go io.Copy(io.Discard, nc)
					go func() {
						if strings.HasSuffix(test.hook, "slot") {
							synctest.Wait() // and let it have the only one
						} else {
							io.WriteString(nc, `{"type":"hello","name":"ada"}`+"\n"+`{"type":"message","body":"hi"}`+"\n")
						}
						if !strings.HasPrefix(test.hook, "OnReject") {
							synctest.Wait() // or what is sent to it may fail before the hook runs
							nc.Close()
							return
						}
						synctest.Wait()
						late, served := pipeFrom(room, "192.0.2.1:2")
						io.Copy(io.Discard, late)
						<-served
						nc.Close()
					}()
					<-running
					named := func() int { return len(lines.With("not returned")) }
					switch {
					case test.after == 0, takes < test.after:
						<-served
						require.Zero(t, named())
					default:
						time.Sleep(test.after - 1)
						synctest.Wait()
						require.Zero(t, named())
						time.Sleep(time.Nanosecond)
						synctest.Wait()
						require.Equal(t, 1, named())
						hook, _, _ := strings.Cut(test.hook, " ")
						require.Contains(t, lines.With("not returned")[0], "level=WARN")
						require.Contains(t, lines.With("not returned")[0], " hook="+hook+"\n")
						<-served
						time.Sleep(time.Hour)
						require.Equal(t, 1, named())
					}
					require.NoError(t, room.Close())
				})
			})
		}
	}
}

// TestF36SlowOnEventIsNamed, at the dialling end.
func TestF36SlowOnEventIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines logLines
		here, there := net.Pipe()
		heard := make(chan string, 10)
		c := tcproom.NewConn(here, tcproom.WithLogger(lines.Logger()), tcproom.OnEvent(func(ev tcproom.Event) {
			if string(ev.Body) == "slow" {
				time.Sleep(2 * time.Second)
			}
			heard <- string(ev.Body)
		}))
		fmt.Fprint(there, strings.Repeat("quick\n", 3)+"slow\nquick\n")
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, heard, 3)
		require.Len(t, lines.With("hook=OnEvent"), 1)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, heard, 5)
		require.Len(t, lines.With("hook=OnEvent"), 1)
		there.Close()
		c.Close()
	})
}

// TestQuickHooksAreNotNamed, however many there are, and each slow one of a
// conn is.
func TestQuickHooksAreNotNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines logLines
		room := tcproom.New(tcproom.WithLogger(lines.Logger()), tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
			d, err := time.ParseDuration(string(body))
			time.Sleep(d)
			return nil, err
		}))
		nc, served := pipe(room)
		go func() {
			nc.Write([]byte(strings.Repeat("600ms\n", 100) + "2s\n" + strings.Repeat("0\n", 100) + "2s\n"))
			nc.Close()
		}()
		<-served
		require.Len(t, lines.With("not returned"), 2)
		require.NoError(t, room.Close())
	})
}

// badHandler panics.
type badHandler struct{ slog.Handler }

func (badHandler) Enabled(context.Context, slog.Level) bool { return true }
func (badHandler) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "not returned") {
		panic("a log handler")
	}
	return nil
}

// TestSlowHookAndBadHandler: a log handler that panics is not the end of the program.
func TestSlowHookAndBadHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithLogger(slog.New(badHandler{})), tcproom.OnMessage(func(m *tcproom.Member, _ []byte) ([]byte, error) {
			time.Sleep(2 * time.Second)
			return nil, m.Send(context.Background(), []byte("done"))
		}))
		nc, served := pipe(room)
		fmt.Fprint(nc, "hi\n")
		line, err := bufio.NewReader(nc).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "*: done\n", line)
		nc.Close()
		<-served
		require.NoError(t, room.Close())
	})
}
