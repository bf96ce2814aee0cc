package sock

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A last line and the end of the stream may arrive as one edge.
func TestE3LastBytesThenEOF(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for range 1000 {
		there, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		here, err := l.Accept()
		require.NoError(t, err)
		done := make(chan error)
		go func() {
			_, err := there.Write([]byte("x\n"))
			there.(*net.TCPConn).CloseWrite()
			done <- err
		}()
		src := NewSource(here)
		b, err := src.Read(100)
		require.NoError(t, err)
		require.Equal(t, "x\n", string(b))
		src.Consume(2)
		_, err = src.Read(100)
		require.Equal(t, io.EOF, err)
		require.NoError(t, <-done)
		here.Close()
		there.Close()
	}
}

type wrapped struct{ *net.TCPConn }

func TestE7DirectPathIsForExactTypes(t *testing.T) {
	here, _ := tcpPair(t)
	dir := t.TempDir()
	ul, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	defer ul.Close()
	uc, err := net.Dial("unix", ul.Addr().String())
	require.NoError(t, err)
	defer uc.Close()
	dgram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "d"), Net: "unixgram"})
	require.NoError(t, err)
	defer dgram.Close()
	p, _ := net.Pipe()
	defer p.Close()
	for _, tt := range []struct {
		name string
		nc   net.Conn
		want bool
	}{
		{name: "TCP", nc: here, want: true},
		{name: "unix stream", nc: uc, want: true},
		{name: "unix datagram", nc: dgram, want: false},
		{name: "wrapper", nc: wrapped{here}, want: false},
		{name: "pointer to wrapper", nc: &wrapped{here}, want: false},
		{name: "pipe", nc: p, want: false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want && Direct, NewWriter(tt.nc) != nil)
			require.Equal(t, tt.want && Direct, NewSource(tt.nc).rc != nil)
		})
	}
}

func TestSourceAllSplits(t *testing.T) {
	stream := make([]byte, 0, 40)
	for i := range 40 {
		stream = append(stream, byte(i))
	}
	for _, dial := range pairs() {
		t.Run(dial.name, func(t *testing.T) {
			for split := 1; split < len(stream); split++ {
				here, there := dial.pair(t)
				go func() {
					there.Write(stream[:split])
					there.Write(stream[split:])
					there.Close()
				}()
				src := NewSource(here)
				var got []byte
				var err error
				for err == nil {
					var b []byte
					if b, err = src.Read(25); err == nil {
						require.LessOrEqual(t, len(b), 25)
						require.Equal(t, b, src.Held())
						n := min(len(b), 1+len(got)%7) // leave a part of it mostly
						if len(b) == 25 {
							n = 20
						}
						got = append(got, b[:n]...)
						src.Consume(n)
					}
				}
				require.Equal(t, io.EOF, err)
				got = append(got, src.Held()...)
				require.Equal(t, stream, got)
				here.Close()
			}
		})
	}
}

type pairMaker struct {
	name string
	pair func(t testing.TB) (here, there net.Conn)
}

func pairs() []pairMaker {
	return []pairMaker{
		{name: "TCP", pair: func(t testing.TB) (net.Conn, net.Conn) { return tcpPair(t) }},
		{name: "unix", pair: func(t testing.TB) (net.Conn, net.Conn) { return unixPair(t) }},
		{name: "pipe", pair: func(t testing.TB) (net.Conn, net.Conn) { return net.Pipe() }},
	}
}

func TestSourceRandomFrames(t *testing.T) {
	for _, dial := range pairs() {
		t.Run(dial.name, func(t *testing.T) {
			for seed := range uint64(20) {
				rnd := rand.New(rand.NewPCG(seed, 3))
				here, there := dial.pair(t)
				const limit = 200 << 10
				var stream []byte
				for i := range 60 {
					size := rnd.IntN(200)
					if rnd.IntN(6) == 0 {
						size = rnd.IntN(limit)
					}
					stream = appendFrame(stream, uint64(i), size)
				}
				go func() {
					rnd := rand.New(rand.NewPCG(seed, 4))
					for rest := stream; len(rest) > 0; {
						n := min(1+rnd.IntN(50000), len(rest))
						there.Write(rest[:n])
						rest = rest[n:]
					}
					there.Close()
				}()
				src := NewSource(here)
				next := uint64(0)
				for {
					here.SetReadDeadline(time.Now().Add(time.Duration(seed%2) * time.Millisecond))
					b, err := src.Read(limit)
					if errors.Is(err, os.ErrDeadlineExceeded) {
						require.Equal(t, b, src.Held(), "half a frame stays")
						here.SetReadDeadline(time.Time{})
						b, err = src.Read(limit)
					}
					if err != nil {
						require.Equal(t, io.EOF, err)
						break
					}
					require.LessOrEqual(t, len(src.part), limit)
					for {
						num, n, err := cutFrame(b)
						require.NoError(t, err)
						if n == 0 {
							break
						}
						require.Equal(t, next, num)
						next++
						src.Consume(n)
						if b = b[n:]; rnd.IntN(3) == 0 {
							break // the others come with the next bytes, or not at all
						}
						require.Equal(t, len(b), len(src.Held()))
					}
					for { // what was left
						num, n, err := cutFrame(src.Held())
						require.NoError(t, err)
						if n == 0 {
							break
						}
						require.Equal(t, next, num)
						next++
						src.Consume(n)
					}
				}
				require.Equal(t, uint64(60), next)
				require.Empty(t, src.Held())
				here.Close()
			}
		})
	}
}

func TestSourceGrowsWithWhatArrives(t *testing.T) {
	for _, dial := range pairs() {
		t.Run(dial.name, func(t *testing.T) {
			here, there := dial.pair(t)
			defer here.Close()
			go func() {
				b := make([]byte, 1000)
				for range 1000 {
					there.Write(b)
				}
				there.Close()
			}()
			src := NewSource(here)
			for {
				b, err := src.Read(1 << 20)
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
				require.LessOrEqual(t, cap(src.part), max(bigReadBuffer, 2*len(b)), "a claim of a big frame must not be believed")
			}
			require.Len(t, src.Held(), 1000*1000)
		})
	}
}

func TestSourceIsSmallWhenQuiet(t *testing.T) {
	for _, dial := range pairs() {
		t.Run(dial.name, func(t *testing.T) {
			here, there := dial.pair(t)
			defer here.Close()
			defer there.Close()
			src := NewSource(here)
			const size = 150 << 10
			go there.Write(bytes.Repeat([]byte("x"), size))
			for len(src.Held()) < size {
				_, err := src.Read(2 * size)
				require.NoError(t, err)
			}
			src.Consume(size - 2) // the beginning of another frame is left
			here.SetReadDeadline(time.Now().Add(-time.Second))
			_, err := src.Read(100)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.Nil(t, src.lent)
			require.Len(t, src.Held(), 2)
			if src.rc != nil {
				require.LessOrEqual(t, cap(src.part), 64, "a quiet socket holds no buffer")
				src.Consume(2)
				require.Zero(t, cap(src.part))
			} else {
				require.LessOrEqual(t, cap(src.part), readBuffer)
			}
		})
	}
}

func TestSourceReportsResets(t *testing.T) {
	here, there := tcpPair(t)
	there.SetLinger(0)
	there.Close()
	_, err := NewSource(here).Read(100)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	here.Close()
	_, err = NewSource(here).Read(100)
	require.ErrorIs(t, err, net.ErrClosed)
}
