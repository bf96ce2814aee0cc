package roomotel_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomotel"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// TestTrace: of each second message there is one span, which is its order and its
// fan-out, with the times at which these were.
func TestTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewInMemoryExporter()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
		h := tcproom.NewHub(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoom("lobby"),
			roomotel.Trace(provider.Tracer("test"), 2),
			tcproom.OnMessage(func(_ *tcproom.Member, b []byte) ([]byte, error) {
				time.Sleep(7 * time.Millisecond)
				return b, nil
			}))
		defer func() { h.Close(); <-h.Done() }()
		join := func(name string) *tcproom.Conn {
			conn, err := h.Join(t.Context(), "lobby", tcproom.Identity{Name: name})
			require.NoError(t, err)
			go func() {
				for range conn.Events(context.Background()) {
				}
			}()
			return conn
		}
		ada, bob := join("ada"), join("bob")
		defer ada.Close()
		defer bob.Close()
		start := time.Now()
		for _, body := range []string{"first", "not this", "and third"} {
			require.NoError(t, ada.Send(t.Context(), []byte(body)))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		got := spans.GetSpans()
		require.Len(t, got, 6)
		for i, want := range []struct {
			at   time.Time
			seq  int64
			size int64
		}{{start, 3, 5}, {start.Add(2 * time.Second), 5, 9}} {
			order, fanOut, whole := got[3*i], got[3*i+1], got[3*i+2] // as they end
			require.Equal(t, []string{"tcproom.order", "tcproom.fan_out", "tcproom.message"}, []string{order.Name, fanOut.Name, whole.Name})
			for _, part := range []tracetest.SpanStub{order, fanOut} {
				require.Equal(t, whole.SpanContext.TraceID(), part.SpanContext.TraceID())
				require.Equal(t, whole.SpanContext.SpanID(), part.Parent.SpanID())
			}
			require.False(t, whole.Parent.IsValid())
			require.Equal(t, []time.Duration{0, 0, 7 * time.Millisecond, 7 * time.Millisecond, 7 * time.Millisecond, 7 * time.Millisecond}, []time.Duration{
				whole.StartTime.Sub(want.at), order.StartTime.Sub(want.at), order.EndTime.Sub(want.at),
				fanOut.StartTime.Sub(want.at), fanOut.EndTime.Sub(want.at), whole.EndTime.Sub(want.at),
			})
			attrs := attribute.NewSet(whole.Attributes...)
			id, ok := attrs.Value("tcproom.member.id")
			require.True(t, ok)
			require.NotEmpty(t, id.AsString())
			require.Equal(t, attribute.NewSet(
				attribute.String("tcproom.room", "lobby"), attribute.Int64("tcproom.seq", want.seq),
				attribute.Int64("tcproom.message.size", want.size), attribute.Int("tcproom.members", 2),
				attribute.Int("tcproom.waiting", 0), attribute.String("tcproom.member.id", id.AsString()),
			), attrs)
		}
	})
}
