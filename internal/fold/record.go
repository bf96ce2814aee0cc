package fold

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// format is the first byte of a record.
const format = 0xB1

// headerLen is the length of a header without the count.
const headerLen = 42

// firstFatal is the first of the kinds that stop a room that does not know them.
const firstFatal Kind = 128

// Errors of records and checkpoints. A [*FormatError] wraps one of the first two.
var (
	// ErrFormat is wrapped by errors about bytes that no version writes.
	ErrFormat = errors.New("fold: malformed")
	// ErrNewer is wrapped by errors about bytes that a later version may have written.
	ErrNewer = errors.New("fold: of another version")
	// ErrPosition is wrapped by [State.Apply] if a record is not behind the last one, or
	// has a position above [MaxPosition].
	ErrPosition = errors.New("fold: record out of place")
)

// A FormatError says what is wrong with a record or a checkpoint.
type FormatError struct {
	Of     string // "record" or "checkpoint"
	Offset int    // of the byte at which it is wrong
	What   string
	Newer  bool // a later version may have written it
}

func (e *FormatError) Error() string {
	if e.Newer {
		return fmt.Sprintf("fold: %s: byte %d: %s: upgrade this process to the version that writes it", e.Of, e.Offset, e.What)
	}
	return fmt.Sprintf("fold: %s: byte %d: %s: something else than a room has written it, or it was damaged", e.Of, e.Offset, e.What)
}

// Unwrap returns [ErrNewer] or [ErrFormat].
func (e *FormatError) Unwrap() error {
	if e.Newer {
		return ErrNewer
	}
	return ErrFormat
}

// The bits of the first byte of an entry's fields.
const (
	bitService = 1 << iota
	bitGuest
	bitUnique
	bitForce
	bitLift
	bitHash // a hash is there
)

// bits are those that a kind may have; a kind that is not here has no such byte.
var bits = [firstFatal]byte{
	Message: bitService | bitGuest | bitUnique,
	Join:    bitUnique | bitHash,
	Leave:   bitService,
	Detach:  bitService,
	Direct:  bitService,
	Rename:  bitUnique,
	Ban:     bitLift,
	End:     bitForce,
}

// AppendHeader appends the beginning of a record of so many entries, which the entries
// are to follow. It panics if entries is not 1 to [MaxEntries].
func AppendHeader(dst []byte, h Header, entries int) []byte {
	if entries < 1 || entries > MaxEntries {
		panic(fmt.Sprintf("fold: a record of %d entries; it has 1 to %d", entries, MaxEntries))
	}
	dst = append(dst, format, 0)
	dst = append(dst, h.Node[:]...)
	dst = binary.BigEndian.AppendUint64(dst, h.Batch)
	dst = append(dst, h.Epoch[:]...)
	return binary.AppendUvarint(dst, uint64(entries))
}

// AppendEntry appends an entry. Fields that its kind does not have are left out; of an
// unknown kind the body is all there is. A negative number is written as 0, and one that
// is too large as the largest.
func AppendEntry(dst []byte, e *Entry) []byte {
	dst = append(dst, byte(e.Kind), 0)
	from := len(dst)
	dst = appendFields(dst, e)
	n := uint64(len(dst) - from)
	if n < 0x80 {
		dst[from-1] = byte(n)
		return dst
	}
	var length [binary.MaxVarintLen64]byte
	w := binary.PutUvarint(length[:], n)
	dst = append(dst, length[:w-1]...) // room for it
	copy(dst[from+w-1:], dst[from:])
	copy(dst[from-1:], length[:w])
	return dst
}

func appendFields(dst []byte, e *Entry) []byte {
	if e.Kind < firstFatal && bits[e.Kind] != 0 {
		dst = append(dst, e.bits()&bits[e.Kind])
	}
	switch e.Kind {
	case Message:
		dst = appendString(dst, e.From)
		if e.Guest {
			dst = appendString(dst, e.Name)
		}
		dst = binary.AppendUvarint(dst, e.Number)
		return append(dst, e.Body...)
	case Join:
		dst = appendString(dst, e.ID)
		dst = appendString(dst, e.Name)
		if e.Hash != (Hash{}) {
			dst = append(dst, e.Hash[:]...)
		}
		dst = binary.AppendUvarint(dst, uint64(max(0, e.Grace)))
		dst = appendAddr(dst, e.Addr)
		dst = binary.AppendUvarint(dst, uint64(min(max(0, e.MaxMembers), math.MaxInt32)))
		return binary.AppendUvarint(dst, e.Number)
	case Leave:
		dst = appendString(dst, e.ID)
		dst = appendString(dst, e.Cause)
		return appendString(dst, e.Text)
	case Detach:
		dst = appendString(dst, e.ID)
		return binary.AppendUvarint(dst, e.Number)
	case Resume:
		dst = appendString(dst, e.ID)
		dst = append(dst, e.Hash[:]...)
		dst = appendAddr(dst, e.Addr)
		return binary.AppendUvarint(dst, e.Number)
	case Direct:
		dst = appendString(dst, e.ID)
		dst = appendString(dst, e.From)
		return append(dst, e.Body...)
	case Kick:
		dst = appendString(dst, e.ID)
		return appendString(dst, e.Text)
	case Rename:
		dst = appendString(dst, e.ID)
		return appendString(dst, e.Name)
	case Mute:
		dst = appendString(dst, e.ID)
		return appendTime(dst, nanos(e.Until))
	case Ban:
		dst = appendString(dst, e.Name)
		dst = appendPrefix(dst, e.Prefix)
		dst = appendTime(dst, nanos(e.Until))
		return appendString(dst, e.Text)
	case Open, NodeLeft, End:
		return dst
	case Begin:
		dst = append(dst, e.Epoch[:]...)
		dst = append(dst, e.Replaces[:]...)
		return binary.AppendUvarint(dst, e.Number)
	case NodeDown:
		return append(dst, e.Node[:]...)
	case Reclaim:
		dst = append(dst, e.Replaces[:]...)
		dst = binary.AppendUvarint(dst, uint64(len(e.IDs)))
		for _, id := range e.IDs {
			dst = appendString(dst, id)
		}
		return dst
	case Beat:
		dst = binary.AppendUvarint(dst, e.Number)
		return binary.BigEndian.AppendUint64(dst, e.Sum)
	}
	return append(dst, e.Body...)
}

func (e *Entry) bits() (b byte) {
	for _, f := range [...]struct {
		set bool
		bit byte
	}{
		{e.Service, bitService}, {e.Guest, bitGuest}, {e.Unique, bitUnique},
		{e.Force, bitForce}, {e.Lift, bitLift}, {e.Hash != Hash{}, bitHash},
	} {
		if f.set {
			b |= f.bit
		}
	}
	return b
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendAddr appends the length of an address, 0 for none, and its bytes. Its zone, which
// means nothing elsewhere, is left out.
func appendAddr(dst []byte, a netip.Addr) []byte {
	b := a.AsSlice()
	return append(append(dst, byte(len(b))), b...)
}

// appendPrefix appends a prefix as its address and, if there is one, the number of bits.
func appendPrefix(dst []byte, p netip.Prefix) []byte {
	if !p.IsValid() {
		return append(dst, 0)
	}
	return append(appendAddr(dst, p.Addr()), byte(p.Bits()))
}

// Times are in records as nanoseconds since 1970, 0 for the zero time.
func appendTime(dst []byte, ns int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(ns)) }

// Times outside these have no number of nanoseconds.
var minTime, maxTime = clock(math.MinInt64), clock(math.MaxInt64)

// nanos returns t as it is in records: one outside the range of those is the nearest.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.After(maxTime):
		return math.MaxInt64
	case t.Before(minTime):
		return math.MinInt64
	}
	if ns := t.UnixNano(); ns != 0 {
		return ns
	}
	return 1
}

// clock is the reverse of nanos.
func clock(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// ParseHeader reads the beginning of a record: how many entries there are and, in rest,
// where they are. Errors are [*FormatError].
func ParseHeader(rec []byte) (h Header, entries int, rest []byte, err error) {
	d := decoder{of: "record", b: rec}
	h, entries = d.header()
	return h, entries, rec[d.at:], d.err()
}

// A Reader reads the entries of a record, one after the other. The zero Reader has none.
type Reader struct {
	d    decoder
	left int
}

// Reset begins with a record, which the Reader keeps until the next Reset. Errors are
// [*FormatError].
func (r *Reader) Reset(rec []byte) (Header, error) {
	r.d.b, r.d.at, r.d.fault, r.d.of = rec, 0, nil, "record"
	h, n := r.d.header()
	r.left = n
	return h, r.d.err()
}

// Next reads the next entry into e, all of whose fields it sets, and reports whether
// there was one. The body is a part of the record. Errors are [*FormatError]; after one
// there are no more entries.
func (r *Reader) Next(e *Entry) (ok bool, err error) {
	d := &r.d
	if r.left == 0 || d.fault != nil {
		return false, d.err()
	}
	r.left--
	d.entry(e)
	if r.left == 0 && d.fault == nil && d.at < len(d.b) {
		d.fail("%d bytes behind the last entry", len(d.b)-d.at)
	}
	return d.fault == nil, d.err()
}

// A decoder reads a record or a checkpoint. After the first fault it reads zeros.
type decoder struct {
	of    string
	b     []byte // up to the end of what is read now
	at    int
	fault *FormatError
	// check says that strings are not needed.
	check bool
	// known returns the ID of a member with these bytes, so that it need not be made again.
	known func(id []byte) (string, bool)
	last  string // the last one
	// message is what holds the entry before, if that was a message; nil: none does.
	message *Entry
}

func (d *decoder) err() error {
	if d.fault == nil {
		return nil
	}
	return d.fault
}

func (d *decoder) fail(format string, args ...any) {
	if d.fault == nil {
		d.fault = &FormatError{Of: d.of, Offset: d.at, What: fmt.Sprintf(format, args...)}
	}
}

func (d *decoder) failNewer(format string, args ...any) {
	if d.fault == nil {
		d.fail(format, args...)
		d.fault.Newer = true
	}
}

func (d *decoder) left() int { return len(d.b) - d.at }

// bytes returns the next n bytes, which what names; nil if there are fewer.
func (d *decoder) bytes(n uint64, what string) []byte {
	if d.fault != nil {
		return nil
	}
	if n > uint64(d.left()) {
		d.fail("%s has %d bytes, only %d are left", what, n, d.left())
		return nil
	}
	b := d.b[d.at : d.at+int(n) : d.at+int(n)]
	d.at += int(n)
	return b
}

func (d *decoder) byte(what string) byte {
	if b := d.bytes(1, what); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) u64(what string) uint64 {
	if b := d.bytes(8, what); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) id16(what string) (id [16]byte) {
	copy(id[:], d.bytes(16, what))
	return id
}

// uvarint returns the next number, which has one form alone: the shortest.
func (d *decoder) uvarint(limit uint64, what string) uint64 {
	if d.fault != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b[d.at:])
	switch {
	case n == 0:
		d.fail("%s ends too early", what)
	case n < 0:
		d.fail("%s has more than 64 bits", what)
	case n > 1 && d.b[d.at+n-1] == 0:
		d.fail("%s is written with more bytes than needed", what)
	case v > limit:
		d.fail("%s is %d, it may be %d at most", what, v, limit)
	default:
		d.at += n
		return v
	}
	return 0
}

func (d *decoder) raw(what string) []byte { return d.bytes(d.uvarint(math.MaxUint64, what), what) }

func (d *decoder) string(what string) string { return d.make(d.raw(what)) }

// make returns b as a string, an earlier one if it can.
func (d *decoder) make(b []byte) string {
	if d.check || len(b) == 0 {
		return ""
	}
	if string(b) == d.last {
		return d.last
	}
	if d.known != nil {
		if s, ok := d.known(b); ok {
			d.last = s
			return s
		}
	}
	d.last = string(b)
	return d.last
}

// idAndName returns two strings that stand behind one another, and makes them as one: a
// member keeps both.
func (d *decoder) idAndName() (id, name string) {
	a := d.raw("the ID")
	from := d.at - len(a)
	b := d.raw("the name")
	if d.check || d.fault != nil {
		return "", ""
	}
	both := string(d.b[from:d.at])
	return both[:len(a)], both[len(both)-len(b):]
}

func (d *decoder) addr() (a netip.Addr) {
	switch n := d.byte("the address"); n {
	case 0:
	case 4, 16:
		a, _ = netip.AddrFromSlice(d.bytes(uint64(n), "the address"))
	default:
		d.at--
		d.fail("an address of %d bytes; it has 0, 4 or 16", n)
	}
	return a
}

func (d *decoder) prefix() netip.Prefix {
	a := d.addr()
	if !a.IsValid() {
		return netip.Prefix{}
	}
	n := d.byte("the prefix")
	p := netip.PrefixFrom(a, int(n))
	if d.fault == nil && !p.IsValid() {
		d.at--
		d.fail("a prefix of %d bits of an address of %d", n, a.BitLen())
	}
	return p
}

func (d *decoder) flags(mask byte) byte {
	b := d.byte("the flags")
	if b&^mask != 0 {
		d.at--
		d.fail("flags %#x, only %#x are known here", b, mask)
	}
	return b
}

func (d *decoder) hash() (h Hash) {
	copy(h[:], d.bytes(uint64(len(h)), "the hash"))
	return h
}

// joinHash is hash of one that a flag says is there.
func (d *decoder) joinHash() Hash {
	h := d.hash()
	if d.fault == nil && h == (Hash{}) {
		d.at -= len(h)
		d.fail("a hash of zeros, though the flags say that there is one")
	}
	return h
}

func (d *decoder) header() (h Header, entries int) {
	if b := d.byte("the format"); d.fault == nil && b != format {
		d.at = 0
		d.failNewer("format %#x, this version knows %#x", b, format)
	}
	if b := d.byte("the flags"); d.fault == nil && b != 0 {
		d.at--
		d.failNewer("flags %#x of the record, this version knows none", b)
	}
	h.Node = d.id16("the node")
	h.Batch = d.u64("the batch number")
	h.Epoch = d.id16("the epoch")
	at := d.at
	entries = int(d.uvarint(MaxEntries, "the number of entries"))
	if d.fault == nil && entries == 0 {
		d.at = at
		d.fail("a record without entries")
	}
	return h, entries
}

// entry reads an entry into e, whose IDs it uses again.
func (d *decoder) entry(e *Entry) {
	if kind := Kind(d.byte("the kind")); kind == Message && d.message == e {
		// Most entries are messages, and follow one: the other fields are zero.
		e.Kind, e.Service, e.Guest, e.Unique = kind, false, false, false
		e.From, e.Name, e.Number, e.Body = "", "", 0, nil
	} else {
		*e = Entry{Kind: kind, IDs: e.IDs[:0]}
		if d.message = nil; kind == Message {
			d.message = e
		}
	}
	if d.fault == nil && e.Kind >= firstFatal {
		d.at--
		d.failNewer("an entry of kind %d, without which a room cannot go on", e.Kind)
	}
	n := d.uvarint(math.MaxUint64, "the length of an entry")
	if d.fault == nil && n > uint64(d.left()) {
		d.fail("an entry of %d bytes, only %d are left", n, d.left())
	}
	if d.fault != nil {
		return
	}
	whole := d.b
	d.b = d.b[:d.at+int(n)]
	d.fields(e)
	if d.fault == nil && d.left() > 0 {
		d.fail("%d bytes behind the fields of an entry of kind %d", d.left(), e.Kind)
	}
	d.b = whole
}

func (d *decoder) fields(e *Entry) {
	var b byte
	if mask := bits[e.Kind]; mask != 0 {
		b = d.flags(mask)
		e.Service, e.Guest, e.Unique = b&bitService != 0, b&bitGuest != 0, b&bitUnique != 0
		e.Force, e.Lift = b&bitForce != 0, b&bitLift != 0
	}
	switch e.Kind {
	case Message:
		e.From = d.string("the speaker")
		if e.Guest {
			e.Name = d.string("the name")
		}
		e.Number = d.uvarint(math.MaxUint64, "the number")
		e.Body = d.rest()
	case Join:
		e.ID, e.Name = d.idAndName()
		if b&bitHash != 0 {
			e.Hash = d.joinHash()
		}
		e.Grace = time.Duration(d.uvarint(math.MaxInt64, "the grace"))
		e.Addr = d.addr()
		e.MaxMembers = int(d.uvarint(math.MaxInt32, "the number of members"))
		e.Number = d.uvarint(math.MaxUint64, "the number")
	case Leave:
		e.ID, e.Cause, e.Text = d.string("the ID"), d.string("the cause"), d.string("the text")
	case Detach:
		e.ID = d.string("the ID")
		e.Number = d.uvarint(math.MaxUint64, "the position")
	case Resume:
		e.ID, e.Hash, e.Addr = d.string("the ID"), d.hash(), d.addr()
		e.Number = d.uvarint(math.MaxUint64, "the position")
	case Direct:
		e.ID, e.From, e.Body = d.string("the ID"), d.string("the speaker"), d.rest()
	case Kick:
		e.ID, e.Text = d.string("the ID"), d.string("the text")
	case Rename:
		e.ID, e.Name = d.string("the ID"), d.string("the name")
	case Mute:
		e.ID, e.Until = d.string("the ID"), clock(int64(d.u64("the time")))
	case Ban:
		e.Name, e.Prefix = d.string("the name"), d.prefix()
		e.Until, e.Text = clock(int64(d.u64("the time"))), d.string("the reason")
	case Open, NodeLeft, End:
	case Begin:
		e.Epoch, e.Replaces = d.id16("the epoch"), d.id16("the epoch before")
		e.Number = d.uvarint(math.MaxUint64, "the position")
	case NodeDown:
		e.Node = d.id16("the node")
	case Reclaim:
		e.Replaces = d.id16("the node before")
		n := d.uvarint(uint64(d.left()), "the number of IDs") // each has a byte at least
		for range n {
			if s := d.string("the ID"); !d.check {
				e.IDs = append(e.IDs, s)
			}
			if d.fault != nil {
				return
			}
		}
	case Beat:
		e.Number, e.Sum = d.uvarint(math.MaxUint64, "the number"), d.u64("the sum")
	default:
		e.Body = d.rest()
	}
}

// rest returns the bytes up to the end, nil if there are none.
func (d *decoder) rest() []byte {
	if d.left() == 0 {
		return nil
	}
	return d.bytes(uint64(d.left()), "the body")
}
