//go:build linux

package main

import (
	"math"
	"math/bits"
	"slices"
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
	return s[rank(len(s), q)]
}

func rank(n int, q float64) int {
	return min(max(int(math.Ceil(q*float64(n)))-1, 0), n-1)
}

// A histogram counts durations in nanoseconds, in buckets that are at most 1/32
// of their value wide.
type histogram struct {
	buckets [64 * 32]uint64
	count   uint64
}

func (h *histogram) add(nanos int64) {
	h.buckets[bucket(uint64(max(nanos, 0)))]++
	h.count++
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.buckets {
		h.buckets[i] += n
	}
	h.count += other.count
}

// quantile returns the upper end of the bucket that holds the quantile q, in
// nanoseconds; NaN where nothing was counted.
func (h *histogram) quantile(q float64) float64 {
	if h.count == 0 {
		return math.NaN()
	}
	want := uint64(rank(int(h.count), q)) + 1
	for i, n := range h.buckets {
		if n >= want {
			return float64(bucketEnd(i))
		}
		want -= n
	}
	return math.NaN()
}

// bucket maps 0…31 to themselves, and a larger value by its highest bit and
// the five bits below it.
func bucket(v uint64) int {
	if v < 32 {
		return int(v)
	}
	shift := bits.Len64(v) - 6
	return (shift+1)*32 + int(v>>shift&31)
}

func bucketEnd(i int) uint64 {
	if i < 32 {
		return uint64(i)
	}
	shift := i/32 - 1
	return (uint64(i%32)+33)<<shift - 1
}
