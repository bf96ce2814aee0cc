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
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// A program gives the meter and the tracer of its SDK. The reader and the exporter of
// this one keep what they get.
func Example() {
	reader, spans := sdkmetric.NewManualReader(), tracetest.NewInMemoryExporter()
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("chat")
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)).Tracer("chat")

	metrics, err := roomotel.New(meter)
	if err != nil {
		log.Fatal(err)
	}
	room := tcproom.New(metrics.HookTimer(), roomotel.Trace(tracer, 1000))
	metrics.Add("lobby", room)
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
	room.Close()
	<-room.Done() // which waits for the function of a trace
	for _, s := range spans.GetSpans() {
		fmt.Println(s.Name)
	}
	// Output:
	// tcproom.messages {message} 3
	// tcproom.order
	// tcproom.fan_out
	// tcproom.message
}
