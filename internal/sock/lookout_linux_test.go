package sock

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newLookout returns a Lookout and where the keys arrive that are ready.
func newLookout(t *testing.T) (*Lookout, <-chan any) {
	t.Helper()
	if !Direct {
		t.Skip("without the direct path nothing is watched")
	}
	ready := make(chan any, 10000)
	l := NewLookout(func(key any) { ready <- key }, nil)
	t.Cleanup(l.Wait)
	return l, ready
}

func awaitReady(t *testing.T, ready <-chan any) any {
	t.Helper()
	select {
	case key := <-ready:
		return key
	case <-time.After(10 * time.Second):
		t.Fatal("nobody is ready")
		return nil
	}
}

// TestE3LookoutSeesWhatCameBefore: bytes, an end and a reset wake a source
// that is watched, whether they come before Watch or after it.
func TestE3LookoutSeesWhatCameBefore(t *testing.T) {
	l, ready := newLookout(t)
	for _, test := range []struct {
		name string
		do   func(there *net.TCPConn)
		want error
	}{
		{name: "bytes", do: func(there *net.TCPConn) { there.Write([]byte("x\n")) }, want: nil},
		{name: "bytes and the end", do: func(there *net.TCPConn) { there.Write([]byte("x\n")); there.CloseWrite() }, want: nil},
		{name: "the end", do: func(there *net.TCPConn) { there.CloseWrite() }, want: io.EOF},
		{name: "a reset", do: func(there *net.TCPConn) { there.SetLinger(0); there.Close() }, want: syscall.ECONNRESET},
	} {
		for _, before := range []bool{true, false} {
			here, there := tcpPair(t)
			src := NewSource(here)
			if before {
				test.do(there)
			}
			require.True(t, l.Watch(src, test.name, 0))
			if !before {
				require.Empty(t, ready, test.name)
				test.do(there)
			}
			require.Equal(t, test.name, awaitReady(t, ready))
			b, err := src.Read(100)
			if test.want != nil {
				require.ErrorIs(t, err, test.want, test.name)
				continue
			}
			require.NoError(t, err, test.name)
			require.Equal(t, "x\n", string(b))
		}
	}
}

// TestLookoutRouse: a source that is roused is ready once, and no other is.
func TestLookoutRouse(t *testing.T) {
	l, ready := newLookout(t)
	here, there := tcpPair(t)
	other, _ := tcpPair(t)
	src, otherSrc := NewSource(here), NewSource(other)
	l.Rouse(src) // is not watched
	require.True(t, l.Watch(src, "one", 0))
	require.True(t, l.Watch(otherSrc, "other", 0))
	l.Rouse(src)
	l.Rouse(src)
	require.Equal(t, "one", awaitReady(t, ready))

	require.True(t, l.Watch(src, "again", 0)) // in the same slot
	_, err := there.Write([]byte("x"))
	require.NoError(t, err)
	require.Equal(t, "again", awaitReady(t, ready))
	require.Empty(t, ready)
	require.Len(t, l.watched, 3)
	l.Rouse(otherSrc)
	require.Equal(t, "other", awaitReady(t, ready))
}

// TestLookoutDeclines watches nothing that it would not hear of.
func TestLookoutDeclines(t *testing.T) {
	l, ready := newLookout(t)
	here, there := tcpPair(t)
	require.False(t, l.Watch(NewSource(struct{ net.Conn }{here}), 1, 0), "no socket of ours")

	src := NewSource(here)
	_, err := there.Write([]byte("x"))
	require.NoError(t, err)
	_, err = src.Read(100)
	require.NoError(t, err)
	require.False(t, l.Watch(src, 2, 0), "with bytes at hand")
	src.Consume(1)
	here.Close()
	require.False(t, l.Watch(src, 3, 0), "closed")
	require.Empty(t, ready)
	require.Nil(t, l.epoll)
}

// TestLookoutEndsWithTheLast: neither goroutine nor descriptor is left when
// nobody is watched, however often that was so.
func TestLookoutEndsWithTheLast(t *testing.T) {
	l, ready := newLookout(t)
	for range 100 {
		here, there := tcpPair(t)
		src := NewSource(here)
		require.True(t, l.Watch(src, 1, 0))
		_, err := there.Write([]byte("x"))
		require.NoError(t, err)
		awaitReady(t, ready)
		l.mu.Lock()
		require.Nil(t, l.epoll)
		l.mu.Unlock()
		l.Wait()
		here.Close()
		there.Close()
	}
}

// TestLookoutRace: each of many is ready exactly once, whether it is roused,
// has something to read or both, while others come.
func TestLookoutRace(t *testing.T) {
	l, ready := newLookout(t)
	const n = 300
	var wg sync.WaitGroup
	srcs := make([]*Source, n)
	for i := range n {
		here, there := tcpPair(t)
		srcs[i] = NewSource(here)
		wg.Go(func() {
			if i%3 != 0 {
				there.Write([]byte("x"))
			}
		})
		wg.Go(func() {
			if !l.Watch(srcs[i], i, 0) {
				panic(errors.New("not watched"))
			}
			if i%3 != 1 {
				l.Rouse(srcs[i])
			}
		})
	}
	wg.Wait()
	seen := make(map[any]bool)
	for range n {
		key := awaitReady(t, ready)
		require.False(t, seen[key], "%v twice", key)
		seen[key] = true
	}
	l.Wait()
	require.Empty(t, ready)
}

// TestLookoutWait: Wait returns when the goroutine has ended, and ready with it.
func TestLookoutWait(t *testing.T) {
	if !Direct {
		t.Skip("without the direct path nothing is watched")
	}
	for range 20 {
		called, goOn := make(chan struct{}), make(chan struct{})
		var ended bool
		l := NewLookout(func(any) {
			close(called)
			<-goOn
			ended = true
		}, nil)
		l.Wait() // nothing was watched
		here, there := tcpPair(t)
		require.True(t, l.Watch(NewSource(here), nil, 0))
		_, err := there.Write([]byte("x"))
		require.NoError(t, err)
		<-called
		go close(goOn)
		l.Wait()
		require.True(t, ended)
	}
}
