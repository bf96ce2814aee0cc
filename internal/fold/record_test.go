package fold

import (
	"encoding/hex"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// everyKind is an entry of each kind with all its fields, and one of a kind that is not
// known.
func everyKind() []Entry {
	addr4, addr6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	return []Entry{
		{Kind: Message, From: "ada-1", Number: 300, Body: []byte("hi"), Service: true},
		{Kind: Message, Guest: true, Unique: true, From: "hook", Name: "Hook", Body: []byte{0}},
		{Kind: Join, ID: "ada-1", Name: "Ada", Hash: Hash{1, 31: 2}, Grace: 30 * time.Second, Addr: addr4, Unique: true, MaxMembers: 500, Number: 300},
		{Kind: Join, ID: "b", Addr: addr6},
		{Kind: Leave, ID: "ada-1", Cause: "lost", Text: "it is gone", Service: true},
		{Kind: Detach, ID: "ada-1", Number: 300, Service: true},
		{Kind: Resume, ID: "ada-1", Hash: Hash{1}, Addr: addr6, Number: 300},
		{Kind: Direct, ID: "ada-1", From: "bob-1", Body: []byte("psst"), Service: true},
		{Kind: Kick, ID: "ada-1", Text: "spam"},
		{Kind: Rename, ID: "ada-1", Name: "Eva", Unique: true},
		{Kind: Mute, ID: "ada-1", Until: start},
		{Kind: Ban, Name: "Eve", Prefix: netip.MustParsePrefix("2001:db8::/32"), Until: start, Text: "spam", Lift: true},
		{Kind: Ban, Name: "Eve"},
		{Kind: Open},
		{Kind: Begin, Epoch: epoch1, Replaces: epoch2, Number: 300},
		{Kind: NodeLeft},
		{Kind: NodeDown, Node: b},
		{Kind: Reclaim, Replaces: a, IDs: []string{"ada-1", "", "bob-1"}},
		{Kind: Beat, Number: 1 << 40, Sum: 1 << 63},
		{Kind: End, Force: true},
		{Kind: 127, Body: []byte("of tomorrow")},
	}
}

func TestRecordRoundTrip(t *testing.T) {
	h := Header{Node: a, Batch: 3<<lifeBits | 9, Epoch: epoch1}
	want := everyKind()
	long := Entry{Kind: Message, Body: []byte(strings.Repeat("x", 70_000))} // a length of three bytes
	want = append(want, long)
	got, entries, err := decode(encode(h, want...))
	require.NoError(t, err)
	require.Equal(t, h, got)
	for i := range entries {
		if len(entries[i].IDs) == 0 {
			entries[i].IDs = nil
		}
	}
	require.Equal(t, want, entries)

	got, n, rest, err := ParseHeader(encode(h, want...))
	require.NoError(t, err)
	require.Equal(t, h, got)
	require.Equal(t, len(want), n)
	require.Equal(t, AppendEntry(nil, &want[0]), rest[:len(AppendEntry(nil, &want[0]))])
}

// TestRecordBytes: other versions read and write the same bytes.
func TestRecordBytes(t *testing.T) {
	rec := AppendHeader(nil, Header{Node: a, Batch: 3<<lifeBits | 9, Epoch: epoch1}, MaxEntries)
	require.Equal(t, "b100"+"61000000000000000000000000000000"+"0003000000000009"+"01000000000000000000000000000000"+"8020", hex.EncodeToString(rec))
	want := []string{
		"010b" + "01" + "056164612d31" + "ac02" + "6869",
		"010d" + "06" + "04686f6f6b" + "04486f6f6b" + "00" + "00",
		"0239" + "24" + "056164612d31" + "03416461" + "01" + strings.Repeat("00", 30) + "02" + "80d88ee16f" + "04c0000201" + "f403" + "ac02",
		"0218" + "00" + "0162" + "00" + "00" + "1020010db8000000000000000000000001" + "00" + "00",
		"0317" + "01" + "056164612d31" + "046c6f7374" + "0a697420697320676f6e65",
		"0409" + "01" + "056164612d31" + "ac02",
		"0539" + "056164612d31" + "01" + strings.Repeat("00", 31) + "1020010db8000000000000000000000001" + "ac02",
		"0611" + "01" + "056164612d31" + "05626f622d31" + "70737374",
		"070b" + "056164612d31" + "047370616d",
		"080b" + "04" + "056164612d31" + "03457661",
		"090e" + "056164612d31" + "1886caf21c963206",
		"0a24" + "10" + "03457665" + "1020010db8000000000000000000000000" + "20" + "1886caf21c963206" + "047370616d",
		"0a0f" + "00" + "03457665" + "00" + "0000000000000000" + "00",
		"1000",
		"1122" + "01000000000000000000000000000000" + "02000000000000000000000000000000" + "ac02",
		"1200",
		"1310" + "62000000000000000000000000000000",
		"141e" + "61000000000000000000000000000000" + "03" + "056164612d31" + "00" + "05626f622d31",
		"150e" + "808080808020" + "8000000000000000",
		"1601" + "08",
		"7f0b" + hex.EncodeToString([]byte("of tomorrow")),
	}
	for i, e := range everyKind() {
		require.Equal(t, want[i], hex.EncodeToString(AppendEntry(nil, &e)), "entry %d", i)
	}
}

func TestRecordNumbers(t *testing.T) {
	for _, row := range []struct {
		name      string
		put, want Entry
	}{
		{"a negative grace", Entry{Kind: Join, Grace: -1}, Entry{Kind: Join}},
		{"a negative limit", Entry{Kind: Join, MaxMembers: -1}, Entry{Kind: Join}},
		{"a large limit", Entry{Kind: Join, MaxMembers: math.MaxInt}, Entry{Kind: Join, MaxMembers: math.MaxInt32}},
		{"a time too late", Entry{Kind: Mute, Until: start.AddDate(5000, 0, 0)}, Entry{Kind: Mute, Until: time.Unix(0, math.MaxInt64).UTC()}},
		{"a time too early", Entry{Kind: Mute, Until: start.AddDate(-1000, 0, 0)}, Entry{Kind: Mute, Until: time.Unix(0, math.MinInt64).UTC()}},
		{"a time that would be none", Entry{Kind: Mute, Until: time.Unix(0, 0)}, Entry{Kind: Mute, Until: time.Unix(0, 1).UTC()}},
		{"an address with a zone", Entry{Kind: Join, Addr: netip.MustParseAddr("fe80::1%eth0")}, Entry{Kind: Join, Addr: netip.MustParseAddr("fe80::1")}},
		{"fields of another kind", Entry{Kind: Open, ID: "ada", Body: []byte("x"), Service: true}, Entry{Kind: Open}},
		{"the name of no guest", Entry{Kind: Message, Name: "ada"}, Entry{Kind: Message}},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, got, err := decode(encode(Header{}, row.put))
			require.NoError(t, err)
			require.Equal(t, []Entry{row.want}, got)
		})
	}
	for _, n := range []int{-1, 0, MaxEntries + 1} {
		require.Panics(t, func() { AppendHeader(nil, Header{}, n) })
	}
}

func TestRecordFaults(t *testing.T) {
	head := string(AppendHeader(nil, Header{Node: a, Batch: 1}, 1))
	count := func(bytes string) string { return head[:headerLen] + bytes }
	times := "12345678"
	for _, row := range []struct {
		name, rec string
		at        int
		what      string
		newer     bool
	}{
		{"nothing", "", 0, "the format has 1 bytes, only 0 are left", false},
		{"another format", "\xb2" + head[1:], 0, "format 0xb2", true},
		{"flags", "\xb1\x01" + head[2:], 1, "flags 0x1", true},
		{"a short node", head[:10], 2, "the node has 16 bytes, only 8 are left", false},
		{"a short batch number", head[:20], 18, "the batch number has 8 bytes", false},
		{"a short epoch", head[:30], 26, "the epoch has 16 bytes", false},
		{"no count", head[:headerLen], 42, "the number of entries ends too early", false},
		{"a count of 0", count("\x00"), 42, "without entries", false},
		{"a count too large", count("\x81\x20"), 42, "is 4097, it may be 4096", false},
		{"a long count", count("\x81\x00"), 42, "more bytes than needed", false},
		{"an endless count", count(strings.Repeat("\xff", 11)), 42, "more than 64 bits", false},
		{"no entry", head, 43, "the kind has 1 bytes, only 0 are left", false},
		{"an entry too few", count("\x02\x10\x00"), 45, "the kind has 1 bytes", false},
		{"an entry too many", head + "\x10\x00\x10\x00", 45, "2 bytes behind the last entry", false},
		{"a kind that is fatal", head + "\x80\x00", 43, "kind 128", true},
		{"no length", head + "\x10", 44, "the length of an entry ends too early", false},
		{"a length too large", head + "\x10\x01", 45, "an entry of 1 bytes, only 0 are left", false},
		{"a length of 2^64-1", head + "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 54, "only 0 are left", false},
		{"fields behind the known ones", head + "\x04\x04\x00\x00\x00x", 48, "1 bytes behind the fields of an entry of kind 4", false},
		{"no flags", head + "\x04\x00", 45, "the flags has 1 bytes", false},
		{"unknown flags", head + "\x04\x02\x02\x00", 45, "flags 0x2, only 0x1", false},
		{"a string that is longer than its entry", head + "\x04\x02\x00\x01x", 47, "the ID has 1 bytes, only 0 are left", false},
		{"a hash of zeros", head + "\x02\x23\x20\x00\x00" + strings.Repeat("\x00", 32), 48, "a hash of zeros", false},
		{"a hash that is short", head + "\x02\x04\x20\x00\x00x", 48, "the hash has 32 bytes", false},
		{"a grace too long", head + "\x02\x0d\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 48, "the grace is 18446744073709551615", false},
		{"an address of 5 bytes", head + "\x02\x0a\x00\x00\x00\x00\x05xxxxx", 49, "an address of 5 bytes", false},
		{"a limit too large", head + "\x02\x0a\x00\x00\x00\x00\x00\xff\xff\xff\xff\x0f", 50, "the number of members is 4294967295", false},
		{"a prefix of 33 bits", head + "\x0a\x10\x00\x00\x04xxxx\x21" + times + "\x00", 52, "a prefix of 33 bits of an address of 32", false},
		{"a short time", head + "\x09\x05\x00xxxx", 46, "the time has 8 bytes", false},
		{"more IDs than there can be", head + "\x14\x12" + strings.Repeat("x", 16) + "\x03\x00", 61, "the number of IDs is 3, it may be 2", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, _, err := decode([]byte(row.rec))
			var fault *FormatError
			require.ErrorAs(t, err, &fault)
			require.Equal(t, row.at, fault.Offset, err)
			require.Contains(t, err.Error(), row.what)
			require.Equal(t, row.newer, fault.Newer)
			if row.newer {
				require.ErrorIs(t, err, ErrNewer)
			} else {
				require.ErrorIs(t, err, ErrFormat)
			}
			s := New()
			before := s.Save()
			got := s.Apply(1, start, []byte(row.rec), func(*Result) { t.Error("a result of a record that is malformed") })
			require.Equal(t, err, got)
			require.Equal(t, before, s.Save())
		})
	}
}

// TestReaderAfterAFault: there are no more entries.
func TestReaderAfterAFault(t *testing.T) {
	var r Reader
	ok, err := r.Next(new(Entry))
	require.False(t, ok)
	require.NoError(t, err)
	rec := AppendHeader(nil, Header{}, 3)
	_, err = r.Reset(append(rec, 0x04, 0x00, 0x10, 0x00, 0x10, 0x00))
	require.NoError(t, err)
	for range 2 {
		ok, err = r.Next(new(Entry))
		require.False(t, ok)
		require.ErrorIs(t, err, ErrFormat)
	}
	_, err = r.Reset(encode(Header{}, Entry{Kind: Open}))
	require.NoError(t, err)
	ok, err = r.Next(new(Entry))
	require.True(t, ok)
	require.NoError(t, err)
}

// FuzzRecord: a record that is parsed is the only form of what it says, and is folded.
func FuzzRecord(f *testing.F) {
	h := Header{Node: a, Batch: 1<<lifeBits | 1}
	f.Add(encode(h, everyKind()...))
	for _, e := range everyKind() {
		f.Add(encode(h, e))
		f.Add(encode(h, Entry{Kind: Open}, Entry{Kind: Begin, Epoch: epoch1}, e))
	}
	f.Fuzz(func(t *testing.T, rec []byte) {
		h, entries, err := decode(rec)
		if err == nil {
			require.Equal(t, rec, encode(h, entries...))
		}
		again, n, rest, headErr := ParseHeader(rec)
		if err == nil {
			require.NoError(t, headErr)
		}
		if headErr == nil {
			require.Equal(t, h, again)
			require.Equal(t, rec[len(rec)-len(rest):], rest)
		}
		l := newRoom(t)
		for _, epoch := range []Epoch{{}, epoch1} { // both of which are in force at times
			s, loadErr := Load(l.Save())
			require.NoError(t, loadErr)
			if s.epoch = epoch; epoch == (Epoch{}) {
				s.began = 0
				s.members.clear()
			}
			results := 0
			require.Equal(t, err, s.Apply(100, start, slices.Clone(rec), func(*Result) { results++ }))
			if err == nil {
				require.Equal(t, n, results)
			}
			s2, loadErr := Load(s.Save())
			require.NoError(t, loadErr)
			require.Equal(t, s.Save(), s2.Save())
		}
	})
}
