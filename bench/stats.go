//go:build linux

package main

import (
	"math"
	"slices"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// median returns the middle of values, or the mean of the two in the middle;
// NaN for none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// quantile returns the smallest of values that at least the share q of them
// does not exceed; NaN for none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return s[min(max(int(math.Ceil(q*float64(len(s))))-1, 0), len(s)-1)]
}

// newHistogram counts durations in nanoseconds, up to two minutes, to two digits.
func newHistogram() *hdr.Histogram { return hdr.New(1000, int64(longest), 2) }

const longest = 2 * time.Minute

// record takes durations that clocks which disagree make negative, and those
// that are too long, for the nearest that it can tell.
func record(h *hdr.Histogram, d time.Duration) {
	_ = h.RecordValue(int64(min(max(d, 0), longest)))
}

// quantileMs is a quantile in milliseconds; NaN where nothing was counted.
func quantileMs(h *hdr.Histogram, q float64) float64 {
	if h.TotalCount() == 0 {
		return math.NaN()
	}
	return ms(time.Duration(h.ValueAtQuantile(100 * q)))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
