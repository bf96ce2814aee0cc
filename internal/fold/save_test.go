package fold

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// full is a room in which there is something of everything.
func full(t testing.TB) *log {
	l := newRoom(t)
	l.want(Placed, c, Entry{Kind: Open})
	l.want(Placed, c, join("cy"))
	l.want(Placed, b, say("bob", 300))
	l.now = l.now.Add(time.Second)
	l.want(Placed, c, Entry{Kind: NodeLeft})
	l.want(Placed, b, Entry{Kind: NodeDown, Node: a})
	l.want(Placed, b, Entry{Kind: Join, ID: "eve", Name: "bob", Addr: netip.MustParseAddr("2001:db8::1")})
	l.want(Placed, b, Entry{Kind: Mute, ID: "eve", Until: start.Add(time.Hour)})
	l.want(Placed, b, Entry{Kind: Ban, Name: "x", Prefix: netip.MustParsePrefix("192.0.2.0/24"), Until: start.Add(time.Hour), Text: "spam"})
	l.want(Placed, b, Entry{Kind: Ban, Name: "y"})
	l.want(Placed, b, join("fay"))
	l.want(Placed, b, say("fay", 7))
	l.want(Placed, b, Entry{Kind: Leave, ID: "fay"})
	l.put(l.header(b), Entry{Kind: Beat})
	return l
}

func TestSave(t *testing.T) {
	l := full(t)
	saved := l.Save()
	s, err := Load(saved)
	require.NoError(t, err)
	require.Equal(t, saved, s.Save())
	require.Equal(t, l.Sum(), s.Sum())
	for m := range l.Members() {
		require.Equal(t, m, s.Member(m.ID))
	}
	require.Equal(t, l.Bans(start), s.Bans(start))
	require.Equal(t, l.Due(start.Add(time.Hour)), s.Due(start.Add(time.Hour)))
	require.Equal(t, l.Pos(), s.Pos())
	require.Equal(t, l.Time(), s.Time())
	require.Equal(t, l.NodeNumber(c), s.NodeNumber(c))

	l.want(Placed, b, Entry{Kind: Message})
	require.NotEqual(t, l.Sum(), s.Sum())
	again, err := Load(saved)
	require.NoError(t, err)
	require.Equal(t, saved, again.Save(), "a checkpoint is not a part of the state")

	l.want(Placed, b, Entry{Kind: Kick, ID: "cy"})
	again, err = Load(l.Save())
	require.NoError(t, err)
	open := encode(Header{Node: d, Batch: 1}, Entry{Kind: Open})
	require.NoError(t, again.Apply(l.pos+1, start.Add(time.Second+time.Hour-1), open, nil))
	require.EqualValues(t, 3, again.NodeNumber(c), "it is known for an hour after its end")

	l.want(Placed, b, join("fay"))
	require.EqualValues(t, 7, l.Member("fay").Number)

	empty, err := Load(New().Save())
	require.NoError(t, err)
	require.Equal(t, New().Save(), empty.Save())
}

// TestCheckpointBytes: another version may have to read it.
func TestCheckpointBytes(t *testing.T) {
	l := newLog(t)
	l.want(Placed, a, Entry{Kind: Open})
	l.want(Placed, a, Entry{Kind: Begin, Epoch: epoch1})
	l.want(Placed, a, join("ada"))
	zeros := func(n int) string { return strings.Repeat("00", n) }
	now := "1886caf21c963206"
	require.Equal(t, "b201"+"03"+"61"+zeros(15)+"0000000000000003"+now+"01"+zeros(15)+"8040"+"00"+zeros(8)+
		"01"+"01"+"61"+zeros(15)+"01"+"00"+"0000000000000003"+"00"+zeros(8)+
		"01"+"01"+"03616461"+"03616461"+"00"+"8060"+"00"+"00"+"80c8afa025"+"04c0000261"+hex.EncodeToString(append([]byte("hash of ada"), make([]byte, 21)...))+
		"00"+"00"+"00", hex.EncodeToString(l.Save()))
}

func TestLoadFaults(t *testing.T) {
	good := string(full(t).Save())
	_, err := Load([]byte(good))
	require.NoError(t, err)
	at := func(i int, bytes string) string { return good[:i] + bytes + good[i+len(bytes):] }
	members := strings.Index(good, "\x03ada\x03ada") - 1
	mutes := strings.Index(good, "\x03eve\x03bob\x18")
	former := strings.LastIndex(good, "\x03fay\x07")
	bans := strings.Index(good, "\x01x\x04\xc0\x00\x02\x00\x18")
	for _, row := range []struct {
		name, saved, what string
	}{
		{"nothing", "", "the format has 1 bytes"},
		{"a record", string(encode(Header{}, Entry{Kind: Open})), "it begins with 0xb1, a checkpoint begins with 0xb2"},
		{"another version", at(1, "\x02"), "version 2, this one knows 1"},
		{"a position too large", at(2, "\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), "the position is"},
		{"a time before the log", at(27, "\xff"), "the time is -"},
		{"an epoch without a begin", strings.Replace(good, "\x80\x60", "\x00\x60", 1), "the begin of the epoch is at 0"},
		{"a byte more", good + "x", "1 bytes behind the end"},
		{"a node's state", at(nodesAt(good)+17, "\x03"), "the node's state is 3"},
		{"a node's number", at(nodesAt(good)+16, "\x00"), "the node's number is 0, behind 0"},
		{"a node's number above that of the last", at(nodesAt(good)+16, "\x04"), "the node's number is 4, it may be 3"},
		{"a node's life", at(nodesAt(good)+26, "\x01"), "the node's life is 1, it may be 0"},
		{"a node twice", at(nodesAt(good)+35, "a"), "a node that was there before"},
		{"a member's flags", at(members, "\x07"), "flags 0x7"},
		{"a member's home", at(members+9, "\x03"), "the member's home is 3, it may be 2"},
		{"a member's join", at(members+10, "\x00"), "a join at the position of the one before"},
		{"a member without an ID", at(members+1, "\x00\x06"), "or one without"},
		{"a member twice", strings.Replace(good, "\x03bob\x03bob", "\x03ada\x03bob", 1), `two members with the ID "ada"`},
		{"a hash twice", strings.Replace(good, "hash of bob", "hash of ada", 1), "two members with one hash"},
		{"a link at a node that is down", strings.Replace(good, "\x01\x03bob\x03bob\x01", "\x01\x03bob\x03bob\x00", 1), "whose home is not open"},
		{"a mute without an end", good[:mutes+8] + strings.Repeat("\x00", 8) + good[mutes+16:], "the end is 0, before 1"},
		{"a prefix that is not plain", at(bans+6, "\x01"), "not in its plain form"},
		{"a ban of nobody", strings.Replace(good, "\x01y\x00", "\x00\x00\x00", 1), "a ban"},
		{"a ban twice", string(New().Save()[:len(New().Save())-2]) + "\x02" + strings.Repeat("\x01y\x00"+strings.Repeat("\x00", 9), 2) + "\x00", "two bans of one name"},
		{"a mute twice", string(New().Save()[:len(New().Save())-3]) + "\x02" + strings.Repeat("\x01y\x00\x00\x00\x00\x00\x00\x00\x00\x01", 2) + "\x00\x00", `two mutes of "y"`},
		{"a former member without a number", at(former+4, "\x00"), "without an ID or a number"},
		{"a former member that is there", at(former+1, "bob"), `"bob" is there more than once`},
		{"a former member of tomorrow", at(former+5, "\x7f"), "a member that left at 9"},
		{"former members in another order", at(former-1, "\x02") + good[former:len(good)-8] + "\x00\x00\x00\x00\x00\x00\x00\x01", "when it left is 1, before 1"},
		{"too many former members", good[:former-1] + "\xe9\x07" + strings.Repeat(good[former:], 1001), "1001 former members"},
		{"members without nodes", string(New().Save()[:len(New().Save())-4]) + "\x01\x00\x00\x00\x00\x00\x00\x00\x00", "members, but no nodes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, err := Load([]byte(row.saved))
			require.Nil(t, s)
			var fault *FormatError
			require.ErrorAs(t, err, &fault)
			require.Contains(t, err.Error(), row.what)
			require.Contains(t, err.Error(), "checkpoint: byte ")
		})
	}
	for i := range good {
		_, err := Load([]byte(good[:i]))
		require.ErrorIs(t, err, ErrFormat, "the first %d bytes", i)
	}
}

// nodesAt is where the nodes begin in the checkpoint of full.
func nodesAt(saved string) int { return strings.Index(saved, "\x03\x03a\x00") + 2 }

// FuzzLoad: a checkpoint that is loaded is the only form of its state, and can go on.
func FuzzLoad(f *testing.F) {
	f.Add(New().Save())
	f.Add(newRoom(f).Save())
	f.Add(full(f).Save())
	rooms := [...]func(testing.TB) *log{newRoom, full}
	for _, room := range rooms {
		l := room(f)
		l.want(Placed, b, Entry{Kind: End, Force: true})
		f.Add(l.Save())
	}
	f.Fuzz(func(t *testing.T, saved []byte) {
		s, err := Load(saved)
		if err != nil {
			require.IsType(t, (*FormatError)(nil), err)
			return
		}
		require.Equal(t, saved, s.Save())
		if s.Pos() > MaxPosition-10 {
			return
		}
		entries := []Entry{{Kind: Open}, {Kind: Reclaim, Replaces: a, IDs: []string{"ada"}}, join("new"), {Kind: Mute, ID: "new"}, {Kind: Ban, Name: "x"}, {Kind: Beat}}
		for m := range s.Members() {
			if entries = append(entries, Entry{Kind: Rename, ID: m.ID, Name: "x"}, Entry{Kind: Kick, ID: m.ID}); len(entries) > 1000 {
				break
			}
		}
		h := Header{Node: Node{'f'}, Batch: 1<<63 | 1, Epoch: s.Epoch()}
		require.NoError(t, s.Apply(s.Pos()+1, s.Time(), encode(h, entries...), nil))
		again, err := Load(s.Save())
		require.NoError(t, err)
		require.Equal(t, s.Save(), again.Save())
	})
}
