package roomnats_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomnats/natstest"
)

var storages = map[string]roomnats.Option{"memory": roomnats.Memory(), "file": roomnats.File()}

// BenchmarkLatency is from the call of Append until the record has come by Tail, on
// another connection, and until Append has returned: one record after the other.
func BenchmarkLatency(b *testing.B) {
	for name, storage := range storages {
		b.Run(name, func(b *testing.B) {
			s := natstest.Solo(b)
			l := open(b, backplane(b, dial(b, s.URL()), storage), "lobby")
			other := open(b, backplane(b, dial(b, s.URL()), storage), "lobby")
			came := tailed(b, other)
			rec := make([]byte, 200)
			total, appended := make([]time.Duration, b.N), make([]time.Duration, b.N)
			b.ResetTimer()
			for i := range b.N {
				began := time.Now()
				_, err := l.Append(b.Context(), fmt.Sprint(i), rec)
				appended[i] = time.Since(began)
				require.NoError(b, err)
				<-came
				total[i] = time.Since(began)
			}
			slices.Sort(total)
			slices.Sort(appended)
			b.ReportMetric(float64(appended[b.N/2].Microseconds()), "append-p50-µs")
			b.ReportMetric(float64(total[b.N/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(total[b.N*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkRecords is of records from 16 goroutines to one tail.
func BenchmarkRecords(b *testing.B) {
	for name, storage := range storages {
		b.Run(name, func(b *testing.B) {
			s := natstest.Solo(b)
			l := open(b, backplane(b, dial(b, s.URL()), storage), "lobby")
			other := open(b, backplane(b, dial(b, s.URL()), storage), "lobby")
			came := tailed(b, other)
			rec, jobs, failed := make([]byte, 200), make(chan int), make(chan error, 16)
			b.ResetTimer()
			for range 16 {
				go func() {
					for i := range jobs {
						if _, err := l.Append(context.Background(), fmt.Sprint(i), rec); err != nil {
							failed <- err
							return
						}
					}
				}()
			}
			go func() {
				defer close(jobs)
				for i := range b.N {
					jobs <- i
				}
			}()
			for range b.N {
				select {
				case <-came:
				case err := <-failed:
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// tailed returns a channel that has an element for each record.
func tailed(b *testing.B, l tcproom.Log) <-chan struct{} {
	ctx, cancel := context.WithCancel(context.Background())
	came, done := make(chan struct{}, 1024), make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Tail(ctx, 0, func(tcproom.Record) error { came <- struct{}{}; return nil }); ctx.Err() == nil {
			b.Error(err)
		}
	}()
	b.Cleanup(func() { cancel(); <-done })
	return came
}
