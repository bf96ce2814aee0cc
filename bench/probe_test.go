//go:build linux

package main

import (
	"math/rand/v2"
	"slices"
	"testing"
)

const testSize = 64

// linesOf is what a probe receives: lines of one sender, by number.
func linesOf(seqs ...uint64) (b []byte) {
	for _, s := range seqs {
		b = appendLine(b, testSize, 0, s, 0)
	}
	return b
}

func TestLine(t *testing.T) {
	for _, size := range []int{minLine, 64, 1024, maxLine} {
		line := appendLine([]byte("before"), size, 0xbeef, 0x0123456789abcdef, 0xfedcba)[len("before"):]
		if len(line) != size || slices.Index(line, '\n') != size-1 {
			t.Errorf("a line of %d bytes has %d, its newline at %d", size, len(line), slices.Index(line, '\n'))
		}
		if got, want := string(line[:padAt]), "0123456789abcdef 0000000000fedcba beef "; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, err := parseHex(line[seqAt : seqAt+16]); got != 0x0123456789abcdef || err != nil {
			t.Errorf("parsed %x, %v", got, err)
		}
	}
	if _, err := parseHex([]byte("12g4")); err == nil {
		t.Error("parsed what is not hexadecimal")
	}
}

func TestProbe(t *testing.T) {
	damaged := linesOf(0, 1, 2)
	damaged[testSize+padAt] = 'y'
	cutShort := slices.Delete(linesOf(0, 1, 2, 3), testSize+20, testSize+30)
	type found struct{ lines, lost, reordered, twice, damaged uint64 }
	tests := []struct {
		name string
		data []byte
		want found
	}{
		{name: "in order", data: linesOf(0, 1, 2, 3), want: found{lines: 4}},
		{name: "loss", data: linesOf(0, 1, 4, 5), want: found{lines: 4, lost: 2}},
		{name: "loss at the start", data: linesOf(1, 2), want: found{lines: 2, lost: 1}},
		{name: "another order", data: linesOf(0, 2, 1, 3), want: found{lines: 4, reordered: 1}},
		{name: "twice", data: linesOf(0, 1, 1, 2), want: found{lines: 4, twice: 1}},
		{name: "twice, later", data: linesOf(0, 1, 2, 3, 0), want: found{lines: 5, twice: 1}},
		{name: "late and twice", data: linesOf(0, 2, 1, 1), want: found{lines: 4, reordered: 1, twice: 1}},
		{name: "damaged", data: damaged, want: found{lines: 2, lost: 1, damaged: 1}},
		// The line that lacks bytes swallows the start of the next.
		{name: "bytes missing", data: cutShort, want: found{lines: 3, lost: 1, damaged: 1}},
		{name: "unknown sender", data: appendLine(nil, testSize, 1, 0, 0), want: found{damaged: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, cut := range []int{1, 7, testSize - 1, testSize, testSize + 1, len(tt.data)} {
				p := newProbe(testSize, 1, "", "")
				for part := range slices.Chunk(tt.data, cut) {
					p.feed(part, 0)
				}
				got := found{p.lines, p.lost, p.reordered, p.twice, p.damaged}
				if got != tt.want {
					t.Errorf("cut every %d bytes: got %+v, want %+v", cut, got, tt.want)
				}
				if clean := tt.want == (found{lines: tt.want.lines}); (p.err() == nil) != clean {
					t.Errorf("cut every %d bytes: err = %v", cut, p.err())
				}
			}
		})
	}
}

// TestProbeUnwraps has deliveries of unequal length, cut anywhere.
func TestProbeUnwraps(t *testing.T) {
	delivery := func(head string, seq uint64) string {
		line := string(linesOf(seq))
		return head + `"body":"` + line[:len(line)-1] + `"}` + "\n"
	}
	short, long := `{"type":"message","seq":9,`, `{"type":"message","seq":10,`
	tests := []struct {
		name          string
		data          string
		lines         uint64
		lost, damaged uint64
	}{
		{name: "in order", data: delivery(short, 0) + delivery(long, 1), lines: 2, lost: 0, damaged: 0},
		{name: "loss", data: delivery(short, 0) + delivery(long, 2), lines: 2, lost: 1, damaged: 0},
		{name: "no message", data: delivery(short, 0) + `{"type":"gap","first":1,"last":2}` + "\n" + delivery(long, 1), lines: 2, lost: 0, damaged: 1},
		{name: "another type", data: delivery(short, 0) + delivery(`{"type":"direct",`, 1) + delivery(long, 1), lines: 2, lost: 0, damaged: 1},
	}
	for _, tt := range tests {
		for _, cut := range []int{1, 7, len(tt.data)} {
			p := newProbe(testSize, 1, "", "")
			p.unwrap = jsonLines.unwrap
			for part := range slices.Chunk([]byte(tt.data), cut) {
				p.feed(part, 0)
			}
			if p.lines != tt.lines || p.lost != tt.lost || p.damaged != tt.damaged {
				t.Errorf("%s, cut every %d bytes: %d lines, %d lost, %d damaged", tt.name, cut, p.lines, p.lost, p.damaged)
			}
		}
	}
}

func TestProbeOfManySenders(t *testing.T) {
	const senders = 3
	p := newProbe(testSize, senders, "", "")
	var next [senders]uint64
	for range 1000 {
		s := rand.IntN(senders)
		p.feed(appendLine(nil, testSize, s, next[s], 0), 0)
		next[s]++
	}
	if err := p.err(); err != nil || p.lines != 1000 {
		t.Fatalf("%d lines, %v", p.lines, err)
	}
	p.feed(appendLine(nil, testSize, 1, next[1]+1, 0), 0)
	if p.lost != 1 {
		t.Errorf("%d lost of a sender's, want 1", p.lost)
	}
}

// TestCounting has receivers that are no probes.
func TestCounting(t *testing.T) {
	l := &load{size: testSize, frame: testSize, streams: []stream{{sent: 3}}, peers: []peer{
		{own: 3}, // the sender
		{receiver: true, got: 3 * testSize},
		{receiver: true, got: 2 * testSize, own: 1},
	}}
	if err := l.complete(); err != nil {
		t.Error(err)
	}
	for _, got := range []int64{0, 3*testSize - 1, 3*testSize + 1, 4 * testSize} {
		l.peers[1].got = got
		if err := l.complete(); err == nil {
			t.Errorf("%d bytes instead of %d are not noticed", got, 3*testSize)
		}
	}
}

func TestLevels(t *testing.T) {
	const receivers, span = 7, 10
	l := newLevels(receivers, span, 0)
	var has [receivers]uint64
	for range 10_000 {
		i := rand.IntN(receivers)
		before := slices.Min(has[:])
		to := has[i] + uint64(rand.IntN(4))
		if to == has[i] || to > before+span {
			continue
		}
		rose := l.move(has[i], to)
		has[i] = to
		if want := slices.Min(has[:]); l.low != want || rose != (want > before) {
			t.Fatalf("low %d (rose: %v), want %d, after %d, of %v", l.low, rose, want, before, has)
		}
	}
	if l.low == 0 {
		t.Error("nothing moved")
	}
}

func TestProbesAreSpread(t *testing.T) {
	for _, n := range []int{1, 5, 8, 10, 15, 100, 10_000} {
		count, last := 0, -1
		for i := range n {
			if isProbe(i, n) {
				if count > 0 && i-last > n/probes+1 {
					t.Errorf("%d receivers: none between %d and %d", n, last, i)
				}
				count, last = count+1, i
			}
		}
		if count != min(n, probes) {
			t.Errorf("%d receivers: %d probes", n, count)
		}
	}
}

// TestProbeOfWeb has deliveries over WebSocket and of events, cut anywhere.
func TestProbeOfWeb(t *testing.T) {
	text := func(seq uint64) string {
		before, _ := webSocketText.around(0, testSize)
		line := string(linesOf(seq))
		return before + line[:len(line)-1]
	}
	event := func(seq uint64) string {
		line := string(linesOf(seq))
		return "id: x:1\ndata: {\"type\":\"message\",\"seq\":1,\"body\":\"" + line[:len(line)-1] + "\"}\n\n"
	}
	tests := []struct {
		name          string
		d             dialect
		data          string
		lines         uint64
		lost, damaged uint64
	}{
		{name: "text in order", d: webSocketText, data: text(0) + text(1), lines: 2},
		{name: "text, loss", d: webSocketText, data: text(0) + text(2), lines: 2, lost: 1},
		{name: "text, damaged", d: webSocketText, data: text(0) + "\x82" + text(1)[1:] + text(2), lines: 2, lost: 1, damaged: 1},
		{name: "events in order", d: serverSentEvents, data: event(0) + event(1), lines: 2},
		{name: "events, loss", d: serverSentEvents, data: event(0) + event(2), lines: 2, lost: 1},
		{name: "events, another line", d: serverSentEvents, data: event(0) + "retry: 1\n" + event(1), lines: 2, damaged: 1},
	}
	for _, tt := range tests {
		for _, cut := range []int{1, 7, len(tt.data)} {
			before, after := tt.d.around(0, testSize)
			p := newProbe(testSize, 1, before, after)
			p.unwrap = tt.d.unwrap
			if tt.d.bare {
				p.expectBare()
			}
			for part := range slices.Chunk([]byte(tt.data), cut) {
				p.feed(part, 0)
			}
			if p.lines != tt.lines || p.lost != tt.lost || p.damaged != tt.damaged {
				t.Errorf("%s, cut every %d bytes: %d lines, %d lost, %d damaged", tt.name, cut, p.lines, p.lost, p.damaged)
			}
		}
	}
}
