package tcproom

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// History says how much of what was said a room keeps for those who join.
// The bounds hold together; the zero History has the backlog's for its bytes
// and no other.
type History struct {
	// Messages bounds their number. Zero and negative values mean no bound.
	Messages int
	// Bytes bounds their bodies, each charged 128 bytes more. Zero and
	// negative values mean as many as [WithBacklog] says.
	Bytes int
	// Age bounds the time since a message was ordered. Zero and negative
	// values mean no bound.
	Age time.Duration
}

// recordCharge is what a past event is charged beside its body. A record and
// its part of an index take about that much.
const recordCharge = 128

// A record is an event of the past. Its body is in an arena and never changes.
type record struct {
	kind    Kind
	byGuest bool // no member said it: it is nobody's own, whatever from says
	seq     uint64
	from    MemberInfo
	time    time.Time
	body    []byte
}

func (rec *record) charge() int64 { return int64(len(rec.body)) + recordCharge }

// A ring is the newest of a room's events, within bounds that are never
// overshot. It is guarded by the room's lock.
type ring struct {
	most  int           // records
	bytes int64         // of their charge
	age   time.Duration // 0: no bound

	records []record // those before first have gone
	first   int
	gone    uint64 // seq of the newest that has gone; 0: none
	charge  int64
	arena   []byte // where the next bodies go
}

// newRing returns the ring for h, or nil where h is.
func newRing(h *History, backlog int) *ring {
	if h == nil {
		return nil
	}
	g := &ring{most: h.Messages, bytes: int64(h.Bytes), age: max(h.Age, 0)}
	if g.most <= 0 {
		g.most = math.MaxInt
	}
	if g.bytes <= 0 {
		g.bytes = int64(backlog)
	}
	return g
}

func (g *ring) len() int { return len(g.records) - g.first }

// add keeps ev, and forgets for it what is older.
func (g *ring) add(ev *Event, byGuest bool) {
	rec := record{kind: ev.Kind, seq: ev.Seq, from: ev.From, time: ev.Time, body: ev.Body, byGuest: byGuest}
	for g.len() > 0 && (g.len() >= g.most || g.charge+rec.charge() > g.bytes) {
		g.forget()
	}
	if rec.charge() > g.bytes {
		g.gone = rec.seq
		return
	}
	rec.body = g.keep(ev.Body)
	g.records = append(g.records, rec)
	g.charge += rec.charge()
	g.expire(ev.Time)
}

// expire forgets what is too old.
func (g *ring) expire(now time.Time) {
	for g.age > 0 && g.len() > 0 && now.Sub(g.records[g.first].time) > g.age {
		g.forget()
	}
}

func (g *ring) forget() {
	g.charge -= g.records[g.first].charge()
	g.gone = g.records[g.first].seq
	g.records[g.first] = record{}
	if g.first++; g.first > len(g.records)/2 {
		n := copy(g.records, g.records[g.first:])
		clear(g.records[n:])
		g.records, g.first = g.records[:n], 0
	}
}

// since returns the records whose seq is at least seq.
func (g *ring) since(seq uint64) []record {
	records := g.records[g.first:]
	i, _ := slices.BinarySearchFunc(records, seq, func(rec record, seq uint64) int {
		return cmp.Compare(rec.seq, seq)
	})
	return records[i:]
}

// before returns the seq of the one before records, which are the newest of g's and at
// least one; 0 if there was none.
func (g *ring) before(records []record) uint64 {
	if i := len(g.records) - len(records); i > g.first {
		return g.records[i-1].seq
	}
	return g.gone
}

// keep returns a copy of body. Bodies share arrays, so that a small one costs
// no allocation; an array goes when all bodies in it have gone.
func (g *ring) keep(body []byte) []byte {
	const least, most = 1 << 10, 32 << 10
	if len(body) > cap(g.arena)-len(g.arena) {
		if len(body) > most/4 {
			return slices.Clone(body)
		}
		g.arena = make([]byte, 0, max(len(body), min(max(2*cap(g.arena), least), most)))
	}
	start := len(g.arena)
	g.arena = append(g.arena, body...)
	return g.arena[start:len(g.arena):len(g.arena)]
}

// A replay is what a ring says in one lane. It is encoded when somebody needs
// it, once for all who get it, and they share its bytes.
type replay struct {
	history bool // as history, not as live events
	pieces  []*piece
	next    uint64 // the first seq that is not encoded yet
}

// pieceSize bounds a piece, one frame aside: it is what a sink copies at once.
const pieceSize = 16 << 10

// A piece is a run of frames. What was handed out of buf never changes; it
// only grows behind that.
type piece struct {
	buf    []byte
	frames []pieceFrame
}

type pieceFrame struct {
	seq uint64
	end int
}

// last is the seq of the piece's last frame.
func (pc *piece) last() uint64 { return pc.frames[len(pc.frames)-1].seq }

// extend encodes what g has and p has not, and forgets what g has forgotten.
func (p *replay) extend(enc *encoder, l *lane, g *ring) error {
	records := g.since(p.next)
	for i := range records {
		rec := &records[i]
		ev := Event{Kind: rec.kind, Seq: rec.seq, From: rec.from, Time: rec.time, Body: rec.body, History: p.history}
		b, err := enc.encodeLane(l, enc.past[:0], &ev)
		if err != nil {
			return err
		}
		enc.past = b
		p.add(b, rec.seq)
		p.next = rec.seq + 1
	}
	p.forget(g)
	return nil
}

func (p *replay) add(frame []byte, seq uint64) {
	if len(frame) == 0 {
		return
	}
	var last *piece
	if len(p.pieces) > 0 {
		last = p.pieces[len(p.pieces)-1]
	}
	if last == nil || len(last.buf)+len(frame) > pieceSize {
		last = new(piece)
		p.pieces = append(p.pieces, last)
	}
	last.buf = append(last.buf, frame...)
	last.frames = append(last.frames, pieceFrame{seq, len(last.buf)})
}

func (p *replay) forget(g *ring) {
	i := 0
	for oldest := g.oldest(); i < len(p.pieces); i++ {
		if p.pieces[i].last() >= oldest {
			break
		}
	}
	p.pieces = slices.Delete(p.pieces, 0, i)
}

// oldest is the seq of the oldest record, or more than any.
func (g *ring) oldest() uint64 {
	if g.len() == 0 {
		return math.MaxUint64
	}
	return g.records[g.first].seq
}

// frames returns the encoded records, which are a run of the ring's, without
// the messages of the member with the given ID.
func (p *replay) frames(records []record, without string) (runs [][]byte) {
	if len(records) == 0 {
		return nil
	}
	i, _ := slices.BinarySearchFunc(p.pieces, records[0].seq, func(pc *piece, seq uint64) int {
		return cmp.Compare(pc.last(), seq)
	})
	next := 0
	for _, pc := range p.pieces[min(i, len(p.pieces)):] {
		run, at := -1, 0
		for _, f := range pc.frames {
			for next < len(records) && records[next].seq < f.seq {
				next++
			}
			wanted := next < len(records) && records[next].seq == f.seq &&
				(without == "" || records[next].byGuest || records[next].kind != Message || records[next].from.ID != without)
			switch {
			case wanted && run < 0:
				run = at
			case !wanted && run >= 0:
				runs = append(runs, pc.buf[run:at:at])
				run = -1
			}
			at = f.end
		}
		if run >= 0 {
			runs = append(runs, pc.buf[run:at:at])
		}
	}
	return runs
}
