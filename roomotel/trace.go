package roomotel

import (
	"context"

	"example.com/tcproom"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Trace returns the option of a room or hub that has one of so many messages traced, the
// first included; see [tcproom.WithTrace], of which there can be one. The tracer's
// sampler may thin them out further.
//
// The span tcproom.message lasts from when the message was read to when the last member
// that could take it was written to. It has two others in it: tcproom.order, up to its
// place in the order, which is OnMessage, the limiter of WithRate and the wait for one's
// turn, and tcproom.fan_out, which is the writing to all members. Its attributes are
// tcproom.room, if the room has a name, tcproom.seq, tcproom.message.size in bytes,
// tcproom.members, tcproom.waiting, the number of members that had not got it for their
// connections took nothing, and, if a member sent it, that one's ID as tcproom.member.id.
func Trace(tracer trace.Tracer, every int) tcproom.RoomOption {
	return tcproom.WithTrace(every, func(t tcproom.Trace) {
		attrs := []attribute.KeyValue{
			attribute.Int64("tcproom.seq", int64(t.Seq)),
			attribute.Int("tcproom.message.size", t.Size),
			attribute.Int("tcproom.members", t.Members),
			attribute.Int("tcproom.waiting", t.Waiting),
		}
		if t.Room != "" {
			attrs = append(attrs, roomKey.String(t.Room))
		}
		if t.From.ID != "" {
			attrs = append(attrs, attribute.String("tcproom.member.id", t.From.ID))
		}
		ctx, whole := tracer.Start(context.Background(), "tcproom.message",
			trace.WithTimestamp(t.Read), trace.WithAttributes(attrs...))
		_, order := tracer.Start(ctx, "tcproom.order", trace.WithTimestamp(t.Read))
		order.End(trace.WithTimestamp(t.Ordered))
		_, fanOut := tracer.Start(ctx, "tcproom.fan_out", trace.WithTimestamp(t.Ordered))
		fanOut.End(trace.WithTimestamp(t.Written))
		whole.End(trace.WithTimestamp(t.Written))
	})
}
