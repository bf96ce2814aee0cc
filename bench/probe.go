//go:build linux

package main

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// A probe is a receiver that does not only count bytes: it parses what it
// gets and finds loss, duplication, other orders and damaged lines.
type probe struct {
	size int    // of a delivery
	head []byte // what stands before the line
	tail []byte // padding, newline and what stands after the line

	unwrap  func(dst, line []byte) []byte // nil: deliveries are equally long
	begun   []byte                        // a line to unwrap of which the end has not come yet
	lined   []byte                        // scratch: lines that were unwrapped
	part    []byte                        // a line of which the end has not come yet
	next    []uint64                      // by sender: the number expected next
	missing map[missingLine]struct{}      // passed over; it may still come, late

	lines     uint64
	latency   *hdr.Histogram // of one line in latencyEvery
	lost      uint64         // passed over and, so far, not come
	reordered uint64         // come after a later line of the same sender
	twice     uint64         // come again
	damaged   uint64         // not a line that any sender sent
}

type missingLine struct {
	sender int
	seq    uint64
}

const (
	latencyEvery = 16
	maxMissing   = 1 << 16 // remembered one by one; enough to tell loss from another order
)

// newProbe is for lines of size bytes, by senders that are numbered below
// senders, each delivered between before and after.
func newProbe(size, senders int, before, after string) *probe {
	return &probe{
		size:    len(before) + size + len(after),
		head:    []byte(before),
		tail:    slices.Concat(padding[:size-padAt-1], []byte("\n"), []byte(after)),
		next:    make([]uint64, senders),
		missing: make(map[missingLine]struct{}),
		latency: newHistogram(),
	}
}

// expectBare says that lines come without their newlines.
func (p *probe) expectBare() {
	at := bytes.IndexByte(p.tail, '\n')
	p.tail = slices.Delete(p.tail, at, at+1)
	p.size--
}

// feed takes bytes as they come, cut anywhere. now is on the clock of the
// lines' times of sending.
func (p *probe) feed(data []byte, now int64) {
	if p.unwrap != nil {
		data = p.unwrapped(data)
	}
	if len(p.part) > 0 {
		need := min(p.size-len(p.part), len(data))
		p.part = append(p.part, data[:need]...)
		data = data[need:]
		if len(p.part) < p.size {
			return
		}
		rest := p.take(p.part, now)
		if len(rest) > 0 { // damaged: what follows the newline begins a line
			data = append(bytes.Clone(rest), data...)
		}
		p.part = p.part[:0]
	}
	for len(data) >= p.size {
		data = p.take(data, now)
	}
	p.part = append(p.part, data...)
}

// unwrapped returns the senders' lines in the lines that data completes.
func (p *probe) unwrapped(data []byte) []byte {
	p.begun, p.lined = append(p.begun, data...), p.lined[:0]
	rest := p.begun
	for end := bytes.IndexByte(rest, '\n'); end >= 0; end = bytes.IndexByte(rest, '\n') {
		p.lined = p.unwrap(p.lined, rest[:end+1])
		rest = rest[end+1:]
	}
	p.begun = append(p.begun[:0], rest...)
	return p.lined
}

// take consumes the line that data begins with, and returns the rest.
func (p *probe) take(data []byte, now int64) (rest []byte) {
	line, headed := bytes.CutPrefix(data[:p.size], p.head)
	if !headed || !bytes.HasSuffix(line, p.tail) {
		return p.damage(data)
	}
	seq, err := parseHex(line[seqAt : seqAt+16])
	sender, err2 := parseHex(line[senderAt : senderAt+4])
	sent, err3 := parseHex(line[timeAt : timeAt+16])
	if err != nil || err2 != nil || err3 != nil || sender >= uint64(len(p.next)) {
		return p.damage(data)
	}
	p.lines++
	p.order(int(sender), seq)
	if p.lines%latencyEvery == 1 { // the first too: there may be few
		record(p.latency, time.Duration(now-int64(sent)))
	}
	return data[p.size:]
}

// damage goes on after the newline, where the next line begins if none is
// expected to stand between.
func (p *probe) damage(data []byte) (rest []byte) {
	p.damaged++
	if end := bytes.IndexByte(data[:p.size], '\n'); end >= 0 {
		return data[end+1:]
	}
	return data[p.size:]
}

func (p *probe) order(sender int, seq uint64) {
	next := p.next[sender]
	if seq == next {
		p.next[sender]++
		return
	}
	if seq < next {
		line := missingLine{sender, seq}
		if _, ok := p.missing[line]; ok {
			delete(p.missing, line)
			p.lost--
			p.reordered++
		} else {
			p.twice++
		}
		return
	}
	p.lost += seq - next
	for s := next; s < seq && len(p.missing) < maxMissing; s++ {
		p.missing[missingLine{sender, s}] = struct{}{}
	}
	p.next[sender] = seq + 1
}

// err says what is wrong with what came so far, or returns nil.
func (p *probe) err() error {
	if p.lost|p.reordered|p.twice|p.damaged == 0 {
		return nil
	}
	return fmt.Errorf("%d lines lost, %d in another order, %d twice, %d damaged, of %d received",
		p.lost, p.reordered, p.twice, p.damaged, p.lines+p.damaged)
}
