package fake

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// tick is a script whose room says tick each second.
const tick = "answer: [{every: 1s, do: {say: tick}}]\n"

// TestFaults: each fault, as a client sees it.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		see          func(t *testing.T, r *rig, c *client)
	}{
		{"latency", "connections: {out: {latency: 5s}}", func(t *testing.T, _ *rig, c *client) {
			began := time.Now()
			c.expect("*: tick")
			require.Equal(t, 6*time.Second, time.Since(began))
		}},
		{"jitter", "connections: {out: {latency: 5s, jitter: {most: 500ms, seed: 3}}}", func(t *testing.T, _ *rig, c *client) {
			began := time.Now()
			c.expect("*: tick")
			require.Greater(t, time.Since(began), 6*time.Second)
			require.Less(t, time.Since(began), 6500*time.Millisecond)
		}},
		{"bandwidth", "connections: {out: {bandwidth: 1}}", func(t *testing.T, _ *rig, c *client) {
			began := time.Now()
			c.expect("*: tick")
			require.Equal(t, 9*time.Second, time.Since(began), "8 bytes")
		}},
		{"chop", "connections: {out: {chop: 3}}", func(t *testing.T, _ *rig, c *client) {
			b := make([]byte, 100)
			n, err := c.Read(b)
			require.NoError(t, err)
			require.Equal(t, "*: ", string(b[:n]))
		}},
		{"chopRandom", "connections: {out: {chopRandom: {most: 2, seed: 1}}}", func(t *testing.T, _ *rig, c *client) {
			b := make([]byte, 100)
			n, err := c.Read(b)
			require.NoError(t, err)
			require.LessOrEqual(t, n, 2)
		}},
		{"stall", "connections: {out: {stall: true}}", func(t *testing.T, r *rig, c *client) {
			defer r.heal(time.Hour)()
			began := time.Now()
			c.expect("*: tick", "*: tick")
			require.Equal(t, time.Hour, time.Since(began))
		}},
		{"cutAfter", "connections: {out: {cutAfter: 10}}", func(t *testing.T, _ *rig, c *client) {
			got, err := c.rest()
			require.NoError(t, err)
			require.Equal(t, "*: tick\n*:", got)
		}},
		{"resetAfter", "connections: {out: {resetAfter: 10}}", func(t *testing.T, _ *rig, c *client) {
			got, err := c.rest()
			require.ErrorIs(t, err, syscall.ECONNRESET)
			require.Equal(t, "*: tick\n*:", got)
		}},
		{"blackHole", "connections: {out: {blackHole: true}}", func(t *testing.T, r *rig, c *client) {
			defer r.heal(1500 * time.Millisecond)()
			began := time.Now()
			c.expect("*: tick")
			require.Equal(t, 2*time.Second, time.Since(began), "the first is lost")
		}},
		{"refuse", "connections: {refuse: true}", func(t *testing.T, _ *rig, c *client) {
			_, err := c.rest()
			require.ErrorIs(t, err, syscall.ECONNRESET)
		}},
		{"in", "connections: {in: {latency: 5s}}", func(t *testing.T, r *rig, c *client) {
			synctest.Wait() // in memory, what was sent before is on its way
			began := time.Now()
			c.send("hi")
			require.True(t, r.expects(`{"await":{"message":"hi"}}`).Held)
			require.Equal(t, 5*time.Second, time.Since(began))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, tick+tt.script)
				tt.see(t, r, r.dial())
			})
		})
	}
}

// heal takes the faults of connection 1 away, later. What it returns waits for that.
func (r *rig) heal(after time.Duration) (healed func()) {
	code := make(chan int, 1)
	go func() {
		time.Sleep(after)
		code <- r.request(http.MethodPost, "/do", `{"do":{"fault":{"number":1,"in":{},"out":{}}}}`).Code
	}()
	return func() { require.Equal(r.t, http.StatusOK, <-code) }
}

// TestFaultsOfConnections: which connection an entry is for.
func TestFaultsOfConnections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, tick+`
notices: false
connections:
  - {number: 2, refuse: true}
  - {number: 1, out: {cutAfter: 0}}
  - {out: {cutAfter: 3}}
`)
		got, err := r.dial().rest()
		require.NoError(t, err)
		require.Empty(t, got)
		_, err = r.dial().rest()
		require.ErrorIs(t, err, syscall.ECONNRESET)
		got, err = r.dial().rest()
		require.NoError(t, err)
		require.Equal(t, "*: ", got)
		require.True(t, r.end().Held, "what the fake does is no fault of the client")
	})
}

// TestFaultAction: whose connection the action concerns.
func TestFaultAction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, `
members:
  - name: bot
    rules:
      - {on: {message: cut me}, do: [{fault: {out: {cutAfter: 0}}}]}
      - {on: {message: reset both}, do: {fault: {number: 1, reset: true}}}
      - {on: {message: late}, do: [{fault: {name: guest-2, out: {latency: 3s}}}, {say: now}]}
      - {on: {message: wrong}, do: [{fault: {name: nemo, reset: true}}, {fault: {name: bot, reset: true}}, {fault: {number: 9, reset: true}}]}
      - {after: 1h, do: {fault: {reset: true}}}
`)
		a := r.dial()
		synctest.Wait()
		b := r.dial()
		a.expect("* guest-2 joined")
		began := time.Now()
		a.send("late")
		a.expect("bot: now")
		require.Zero(t, time.Since(began))
		b.expect("guest-1: late", "bot: now")
		require.Equal(t, 3*time.Second, time.Since(began))
		b.send("cut me")
		_, err := b.in.ReadByte()
		require.ErrorIs(t, err, io.EOF)
		a.expect("guest-2: cut me")
		a.send("wrong", "reset both")
		_, err = a.rest()
		require.ErrorIs(t, err, syscall.ECONNRESET)
		var what []string
		for _, f := range r.status().Failures {
			what = append(what, f.What)
		}
		require.Equal(t, []string{
			`fault: no member is named "nemo"; there are: "bot", "guest-1", "guest-2"`,
			`fault: "bot" is no client`,
			`fault: there is no connection 9 yet; there have been 2`,
		}, what)
		c := r.dial()
		_, err = c.rest()
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.GreaterOrEqual(t, time.Since(began), time.Hour-time.Minute)
	})
}

// TestRefuse: a fake that cannot be reached for a while.
func TestRefuse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, tick+"members: [{name: bot, rules: [{after: 1m, do: {refuse: true}}, {after: 2m, do: {refuse: false}}]}]")
		r.dial().expect("*: tick")
		time.Sleep(time.Minute)
		_, err := r.dial().rest()
		require.ErrorIs(t, err, syscall.ECONNRESET)
		time.Sleep(time.Minute)
		r.dial().expect("*: tick")
	})
}

// TestFaultsOnLoopback: the same over real sockets, where times have lower bounds alone.
func TestFaultsOnLoopback(t *testing.T) {
	t.Parallel()
	r := startOn(t, nil, `
notices: false
members: [{name: bot, rules: [{on: {message: hi}, do: {say: "aaaaaaaaaa"}}]}]
connections:
  - {number: 1, out: {latency: 100ms}}
  - {number: 2, out: {cutAfter: 7}}
  - {number: 3, out: {resetAfter: 7}}
  - {number: 4, refuse: true}
  - {number: 5, out: {bandwidth: 160}}
  - {number: 6, out: {chop: 1}}
  - {number: 7, in: {latency: 100ms}}
`)
	// talk says hi and reads all, or a line. A reset may be faster than connect is.
	talk := func(all bool) (string, error) {
		c, err := r.tryDial()
		if err != nil {
			return "", err
		}
		defer c.Close()
		if _, err := io.WriteString(c, "hi\n"); err != nil {
			return "", err
		}
		if all {
			return c.rest()
		}
		return c.in.ReadString('\n')
	}
	whole := func(least time.Duration) {
		t.Helper()
		began := time.Now()
		got, err := talk(false)
		require.NoError(t, err)
		require.Equal(t, "bot: aaaaaaaaaa\n", got)
		require.GreaterOrEqual(t, time.Since(began), least)
	}
	whole(100 * time.Millisecond)
	got, err := talk(true)
	require.NoError(t, err)
	require.Equal(t, "bot: aa", got)
	got, err = talk(true)
	require.Error(t, err, "a reset; whether while reading, writing or connecting")
	require.True(t, strings.HasPrefix("bot: aa", got), "%q", got)
	_, err = talk(true)
	require.Error(t, err)
	whole(100 * time.Millisecond) // 16 bytes
	whole(0)
	whole(100 * time.Millisecond)
	require.True(t, r.end().Held)
}
