package tcproom_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// line is what the benchmarks send: 64 bytes on the wire.
var line = append(bytes.Repeat([]byte{'x'}, 63), '\n')

// receivers connects n members that count what they get, without the library.
// The function that it returns waits until each has got so many bytes more.
func receivers(b *testing.B, room *tcproom.Room, addr string, n int) (wait func(more int64)) {
	b.Helper()
	targets := make([]chan int64, n)
	done := make(chan error, n)
	for i := range targets {
		nc, err := net.Dial("tcp", addr)
		require.NoError(b, err)
		b.Cleanup(func() { nc.Close() })
		targets[i] = make(chan int64, 1)
		go func() {
			for want := range targets[i] {
				_, err := io.CopyN(io.Discard, onlyReader{nc}, want)
				done <- err
			}
		}()
		b.Cleanup(func() { close(targets[i]) })
	}
	waitLen(b, room, n)
	return func(more int64) {
		for _, ch := range targets {
			ch <- more
		}
		for range targets {
			require.NoError(b, <-done)
		}
	}
}

// onlyReader hides ReadFrom and WriteTo, so that no copy is left out.
type onlyReader struct{ io.Reader }

// BenchmarkFanout sends lines through one socket to n others, 128 at a time.
// An op is a line; ns/delivery is wall time, for both ends on all cores.
func BenchmarkFanout(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("receivers=%d", n), func(b *testing.B) {
			room := tcproom.New(tcproom.WithCodec(tcproom.Raw{}), tcproom.WithNotices(false))
			addr := serveTCP(b, room)
			wait := receivers(b, room, addr, n)
			sender, err := net.Dial("tcp", addr)
			require.NoError(b, err)
			defer sender.Close()
			waitLen(b, room, n+1)
			batch := bytes.Repeat(line, 128)
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			b.ResetTimer()
			for left := b.N; left > 0; left -= 128 {
				n, err := sender.Write(batch[:min(left, 128)*len(line)])
				require.NoError(b, err)
				wait(int64(n))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/delivery")
		})
	}
}

// BenchmarkBroadcast orders messages in a room whose members keep up.
func BenchmarkBroadcast(b *testing.B) {
	for _, codec := range []tcproom.Codec{tcproom.Raw{}, tcproom.Text{}, tcproom.JSON{}} {
		b.Run(fmt.Sprintf("%T", codec), func(b *testing.B) {
			room := tcproom.New(tcproom.WithCodec(codec), tcproom.WithNotices(false))
			addr := serveTCP(b, room)
			c, err := tcproom.Dial(context.Background(), addr, tcproom.WithCodec(codec))
			require.NoError(b, err)
			defer c.Close()
			waitLen(b, room, 1)
			go func() {
				for range c.Events(context.Background()) {
				}
			}()
			body := line[:63]
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				if _, err := room.Broadcast(context.Background(), body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReceive measures the dialling end: an op is one message received.
func BenchmarkReceive(b *testing.B) {
	for _, codec := range []tcproom.Codec{tcproom.Raw{}, tcproom.Text{}, tcproom.JSON{}} {
		b.Run(fmt.Sprintf("%T", codec), func(b *testing.B) {
			here, there := net.Pipe()
			defer here.Close()
			payload, err := codec.AppendEvent(nil, &tcproom.Event{Kind: tcproom.Message, Seq: 7, From: tcproom.MemberInfo{ID: "A", Name: "ada"}, Body: line[:63]})
			require.NoError(b, err)
			frame, err := tcproom.Lines{}.AppendFrame(nil, payload)
			require.NoError(b, err)
			c := tcproom.NewConn(there, tcproom.WithCodec(codec))
			batch := bytes.Repeat(frame, 64)
			go io.Copy(io.Discard, here) // the hello
			go func() {
				for {
					if _, err := here.Write(batch); err != nil {
						return
					}
				}
			}()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			b.ReportAllocs()
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				if _, err := c.Receive(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSend measures the dialling end: an op is one message sent.
func BenchmarkSend(b *testing.B) {
	room := tcproom.New(tcproom.WithCodec(tcproom.Raw{}), tcproom.WithNotices(false))
	addr := serveTCP(b, room)
	c, err := tcproom.Dial(context.Background(), addr, tcproom.WithCodec(tcproom.Raw{}))
	require.NoError(b, err)
	defer c.Close()
	body := line[:63]
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if err := c.Send(context.Background(), body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJoin measures a connection that joins and leaves, notices off.
func BenchmarkJoin(b *testing.B) {
	room := tcproom.New(tcproom.WithNotices(false))
	addr := serveTCP(b, room)
	b.ReportAllocs()
	for b.Loop() {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		nc.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, onlyReader{nc}) // until the room has seen it out
		nc.Close()
	}
}
