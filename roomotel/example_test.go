package roomotel_test

import (
	"context"
	"fmt"
	"log"

	"example.com/tcproom"
	"example.com/tcproom/roomotel"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// names is an exporter of spans that tells their names.
type names chan string

func (n names) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, s := range spans {
		n <- s.Name()
	}
	return nil
}

func (n names) Shutdown(context.Context) error { return nil }

// A program gives the meter and the tracer of its SDK. The reader and the exporter of
// this one are for the example.
func Example() {
	reader, spans := sdkmetric.NewManualReader(), make(names)
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("chat")
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)).Tracer("chat")

	metrics, err := roomotel.New(meter)
	if err != nil {
		log.Fatal(err)
	}
	room := tcproom.New(metrics.HookTimer(), roomotel.Trace(tracer, 1000))
	metrics.Add("lobby", room)
	conn, err := room.Join(context.Background(), tcproom.Identity{Name: "ada"})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	go func() {
		for range conn.Events(context.Background()) {
		}
	}()
	for range 3 { // the first is traced
		if _, err := room.Broadcast(context.Background(), []byte("hello")); err != nil {
			log.Fatal(err)
		}
	}

	var data metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &data); err != nil {
		log.Fatal(err)
	}
	for _, m := range data.ScopeMetrics[0].Metrics {
		if m.Name == "tcproom.messages" {
			fmt.Println(m.Name, m.Unit, m.Data.(metricdata.Sum[int64]).DataPoints[0].Value)
		}
	}
	for range 3 {
		fmt.Println(<-spans)
	}
	// Output:
	// tcproom.messages {message} 3
	// tcproom.order
	// tcproom.fan_out
	// tcproom.message
}
