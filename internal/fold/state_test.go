package fold

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRules: each rule of the fold, in a room with ada at node a and bob at node b.
func TestRules(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(l *log)
	}{
		// Rule 1: what a node is.
		{"a node that has not opened is fenced", func(l *log) {
			l.want(Fenced, c, join("cy"))
			l.want(Placed, c, Entry{Kind: Open})
			l.want(Placed, c, join("cy"))
		}},
		{"a node that was declared dead is fenced for ever", func(l *log) {
			l.want(Placed, a, Entry{Kind: NodeDown, Node: b})
			l.want(Fenced, b, say("bob", 0))
			l.newLife(b)
			l.want(Fenced, b, Entry{Kind: Open})
			l.want(Fenced, b, say("bob", 0))
		}},
		{"a node that declares itself dead is fenced in the same record", func(l *log) {
			require.Equal(l, []Verdict{Placed, Fenced}, l.put(l.header(b), Entry{Kind: NodeDown, Node: b}, say("bob", 0)))
		}},
		{"a node that has left is fenced until it opens", func(l *log) {
			require.Equal(l, []Verdict{Placed, Fenced, Placed, Placed},
				l.put(l.header(b), Entry{Kind: NodeLeft}, say("bob", 0), Entry{Kind: Open}, say("bob", 0)))
			l.want(Placed, b, Entry{Kind: NodeLeft})
			l.want(Fenced, b, Entry{Kind: NodeLeft})
			l.want(Placed, b, Entry{Kind: Open})
			l.want(Placed, b, say("bob", 0))
		}},
		{"a new life is fenced until it opens", func(l *log) {
			l.newLife(b)
			l.want(Fenced, b, say("bob", 0))
			l.want(Placed, b, Entry{Kind: Open})
			l.want(Placed, b, say("bob", 0))
			require.EqualValues(l, 1, l.Life(b))
		}},
		{"dead comes before stale", func(l *log) {
			h := l.header(b)
			require.Equal(l, []Verdict{Placed}, l.put(h, say("bob", 0)))
			l.want(Placed, a, Entry{Kind: NodeDown, Node: b})
			require.Equal(l, []Verdict{Fenced}, l.put(h, say("bob", 0)))
		}},

		// Rule 2: the number of the record.
		{"a record that is in the log twice is stale", func(l *log) {
			h := l.header(a)
			require.Equal(l, []Verdict{Placed, Placed}, l.put(h, say("ada", 0), say("ada", 0)))
			require.Equal(l, []Verdict{Stale, Stale}, l.put(h, say("ada", 0), say("ada", 0)))
			l.want(Placed, a, say("ada", 0))
			require.Equal(l, []Verdict{Stale, Stale}, l.put(h, say("ada", 0), Entry{Kind: Open}))
			require.Equal(l, l.pos, l.Pos(), "though it is applied")
			n, batch := l.LastID()
			require.Equal(l, a, n)
			require.Equal(l, h.Batch, batch)
		}},
		{"a record of an older life is stale", func(l *log) {
			late := l.header(a)
			l.newLife(a)
			l.want(Placed, a, Entry{Kind: Open})
			require.Equal(l, []Verdict{Stale}, l.put(late, say("ada", 0)))
		}},
		{"a repeated open of one life does not open again", func(l *log) {
			h := l.header(a)
			require.Equal(l, []Verdict{Needless, Placed}, l.put(h, Entry{Kind: Open}, Entry{Kind: NodeLeft}))
			require.Equal(l, []Verdict{Stale, Fenced}, l.put(h, Entry{Kind: Open}, Entry{Kind: NodeLeft}))
			require.False(l, l.IsOpen(a))
		}},
		{"stale comes before elsewhen", func(l *log) {
			h := l.header(a)
			h.Epoch = epoch2
			require.Equal(l, []Verdict{Elsewhen}, l.put(h, say("ada", 0)))
			require.Equal(l, []Verdict{Stale}, l.put(h, say("ada", 0)))
		}},

		// Rule 3: the epoch.
		{"an entry of another epoch is void", func(l *log) {
			for _, epoch := range []Epoch{epoch2, {}} {
				l.believe[a] = epoch
				for kind := range Kind(firstFatal) {
					if kind != Open && kind != Begin {
						l.want(Elsewhen, a, Entry{Kind: kind, ID: "ada", From: "ada", Node: b, Name: "x", Force: true})
					}
				}
			}
		}},
		{"open and begin count in any epoch", func(l *log) {
			l.believe[c] = Epoch{9}
			l.want(Placed, c, Entry{Kind: Open})
			l.want(Placed, c, Entry{Kind: Begin, Epoch: epoch2, Replaces: epoch1})
			require.Equal(l, epoch2, l.Epoch())
		}},
		{"without an epoch there is no stream", func(l *log) {
			l.want(Placed, a, Entry{Kind: End, Force: true})
			for _, kind := range []Kind{Message, Join, Leave, Ban, Reclaim, End} {
				l.want(Elsewhen, a, Entry{Kind: kind, ID: "ada", Name: "x", Force: true})
			}
			l.want(Placed, a, Entry{Kind: Beat})
			l.want(Placed, a, Entry{Kind: NodeDown, Node: b})
			l.want(Unknown, a, Entry{Kind: 99})
			l.want(Placed, a, Entry{Kind: NodeLeft})
		}},
		{"an entry behind a begin in its record is of the epoch before", func(l *log) {
			require.Equal(l, []Verdict{Placed, Elsewhen},
				l.put(l.header(a), Entry{Kind: Begin, Epoch: epoch2, Replaces: epoch1}, join("cy")))
		}},
		{"elsewhen comes before not-member", func(l *log) {
			l.believe[b] = epoch2
			l.want(Elsewhen, b, say("ada", 0))
		}},

		// Rule 4: the home.
		{"a member speaks at its home alone", func(l *log) {
			l.want(Placed, a, say("ada", 1))
			require.Equal(l, "ada", l.last.Member.ID)
			l.want(NotMember, b, say("ada", 2))
			l.want(NotMember, a, say("nobody", 0))
			require.EqualValues(l, 1, l.Member("ada").Number)
		}},
		{"the service speaks for a member anywhere", func(l *log) {
			l.want(Placed, b, Entry{Kind: Message, From: "ada", Service: true})
			l.want(NotMember, b, Entry{Kind: Message, From: "nobody", Service: true})
			l.want(Placed, b, Entry{Kind: Detach, ID: "ada", Service: true})
			l.want(Placed, b, Entry{Kind: Leave, ID: "ada", Service: true})
		}},
		{"not-member comes before duplicate", func(l *log) {
			l.want(Placed, a, say("ada", 1))
			l.want(NotMember, b, say("ada", 1))
		}},
		{"a member is detached by its home alone, once", func(l *log) {
			l.want(NotMember, b, Entry{Kind: Detach, ID: "ada"})
			l.want(NotMember, b, Entry{Kind: Detach, ID: "nobody"})
			require.Zero(l, l.Member("ada").Detached)
			l.want(Placed, a, Entry{Kind: Detach, ID: "ada"})
			require.Equal(l, start, l.Member("ada").Detached)
			l.now = start.Add(time.Second)
			l.want(Needless, a, Entry{Kind: Detach, ID: "ada"})
			require.Equal(l, start, l.Member("ada").Detached)
		}},
		{"a member leaves by its home at any time", func(l *log) {
			l.want(Placed, a, Entry{Kind: Leave, ID: "ada"})
			require.Equal(l, "ada", l.last.Member.ID)
			require.Equal(l, []string{"bob"}, l.here())
			l.want(NotMember, a, Entry{Kind: Leave, ID: "ada"})
			l.want(Placed, b, Entry{Kind: Detach, ID: "bob"})
			l.want(Placed, b, Entry{Kind: Leave, ID: "bob"})
			require.Empty(l, l.here())
		}},
		{"a member leaves by another node when its grace is over", func(l *log) {
			l.now = start.Add(time.Hour)
			l.want(NotMember, b, Entry{Kind: Leave, ID: "ada"})
			l.want(Placed, a, Entry{Kind: Detach, ID: "ada"})
			l.want(NotMember, b, Entry{Kind: Leave, ID: "ada"})
			l.now = l.now.Add(10*time.Second - 1)
			l.want(NotMember, b, Entry{Kind: Leave, ID: "ada"})
			l.now = l.now.Add(1)
			l.want(Placed, b, Entry{Kind: Leave, ID: "ada"})
		}},
		{"a direct message is of the member's home or the room", func(l *log) {
			direct := Entry{Kind: Direct, ID: "bob", From: "ada"}
			l.want(Placed, a, direct)
			require.Equal(l, "bob", l.last.Member.ID, "for whom it is")
			l.want(NotMember, b, direct)
			direct.Service = true
			l.want(Placed, b, direct)
			l.want(Placed, b, Entry{Kind: Direct, ID: "ada"})
			l.want(NotMember, a, Entry{Kind: Direct, ID: "bob", From: "nobody", Service: true})
			l.want(NotMember, a, Entry{Kind: Direct, ID: "nobody", From: "ada"})
		}},
		{"a direct message does not reach one who is away", func(l *log) {
			l.want(Placed, b, Entry{Kind: Detach, ID: "bob"})
			l.want(Away, a, Entry{Kind: Direct, ID: "bob", From: "ada"})
			l.want(Placed, b, Entry{Kind: Direct, ID: "ada", From: "bob"})
		}},

		// Rule 5: numbers.
		{"a number counts once", func(l *log) {
			l.want(Placed, a, say("ada", 5))
			l.want(Duplicate, a, say("ada", 5))
			l.want(Duplicate, a, say("ada", 4))
			l.want(Placed, a, say("ada", 0))
			l.want(Duplicate, a, say("ada", 5))
			l.want(Placed, a, say("ada", 6))
			require.EqualValues(l, 6, l.Member("ada").Number)
			l.want(Placed, b, say("bob", 1))
		}},
		{"a number counts once over all homes", func(l *log) {
			l.want(Placed, a, say("ada", 5))
			l.want(Placed, b, Entry{Kind: Resume, ID: "ada", Hash: hashOf("ada")})
			l.want(Duplicate, b, say("ada", 5))
			l.want(Placed, b, say("ada", 6))
		}},
		{"a number counts once also if its member leaves and comes back", func(l *log) {
			for i, out := range []Entry{{Kind: Leave, ID: "ada", Service: true}, {Kind: Kick, ID: "ada"}, {Kind: End, Force: true}} {
				number := uint64(5 + i)
				l.want(Placed, a, say("ada", number))
				l.want(Placed, b, out)
				if out.Kind == End {
					l.want(Placed, b, Entry{Kind: Begin, Epoch: epoch2})
				}
				l.want(Placed, b, join("ada"))
				require.EqualValues(l, number, l.Member("ada").Number)
				l.want(Duplicate, b, say("ada", number))
				l.now = l.now.Add(time.Minute)
				l.want(Placed, b, Entry{Kind: Resume, ID: "ada", Hash: hashOf("ada")})
				l.want(Placed, a, Entry{Kind: Resume, ID: "ada", Hash: hashOf("ada")})
			}
		}},
		{"a member comes with the number that it has used elsewhere", func(l *log) {
			cy := join("cy")
			cy.Number = 5
			l.want(Placed, a, cy)
			l.want(Duplicate, a, say("cy", 5))
			l.want(Placed, a, say("cy", 6))
			for _, row := range []struct{ elsewhere, want uint64 }{{5, 6}, {7, 7}} {
				l.want(Placed, a, Entry{Kind: Leave, ID: "cy"})
				cy.Number = row.elsewhere
				l.want(Placed, a, cy)
				require.EqualValues(l, row.want, l.Member("cy").Number)
			}
		}},
		{"numbers of members that have left are known for an hour", func(l *log) {
			for _, row := range []struct {
				after time.Duration
				want  uint64
			}{{time.Hour - 1, 5}, {time.Hour, 0}} {
				l.want(Placed, a, say("ada", 5-l.Member("ada").Number))
				l.want(Placed, a, Entry{Kind: Leave, ID: "ada"})
				l.now = l.now.Add(row.after)
				l.want(Placed, a, join("ada"))
				require.EqualValues(l, row.want, l.Member("ada").Number)
			}
		}},
		{"numbers are known of the last members that have left", func(l *log) {
			l.want(Placed, a, say("ada", 5))
			l.want(Placed, a, Entry{Kind: Leave, ID: "ada"})
			for i := range maxFormer {
				l.want(Placed, a, join(fmt.Sprint("x", i)))
				l.want(Placed, a, say(fmt.Sprint("x", i), 1))
				l.want(Placed, a, Entry{Kind: Leave, ID: fmt.Sprint("x", i)})
			}
			l.want(Placed, a, join("ada"))
			require.Zero(l, l.Member("ada").Number)
			l.want(Placed, a, join("x0"))
			require.EqualValues(l, 1, l.Member("x0").Number)
		}},
		{"nothing is kept of members that cannot resume, or have no number", func(l *log) {
			l.want(Placed, b, Entry{Kind: Join, ID: "cy", Name: "cy"})
			l.want(Placed, b, say("cy", 5))
			l.want(Placed, b, Entry{Kind: Kick, ID: "cy"})
			l.want(Placed, b, Entry{Kind: Kick, ID: "ada"})
			require.Empty(l, l.former)
		}},
		{"duplicate comes before muted", func(l *log) {
			l.want(Placed, a, say("ada", 5))
			l.want(Placed, b, Entry{Kind: Mute, ID: "ada", Until: start.Add(time.Hour)})
			l.want(Duplicate, a, say("ada", 5))
			l.want(Muted, a, say("ada", 6))
			require.EqualValues(l, 5, l.Member("ada").Number)
		}},

		// Rules 6 and 7: conditions and changes, kind by kind.
		{"the room speaks at any node", func(l *log) {
			l.want(Placed, b, Entry{Kind: Message, Number: 7})
			require.Nil(l, l.last.Member)
		}},
		{"a guest speaks with a name that is free", func(l *log) {
			guest := Entry{Kind: Message, Guest: true, From: "hook", Name: "Hook"}
			l.want(Placed, a, guest)
			require.Nil(l, l.last.Member)
			guest.Name = "ada"
			l.want(Placed, a, guest)
			guest.Unique = true
			l.want(NameTaken, a, guest)
			guest.From = "ada"
			l.want(Placed, b, guest)
			guest.Name, guest.Unique = "Hook", false
			l.want(NameTaken, b, guest)
		}},
		{"a guest is muted and banned like a member", func(l *log) {
			l.want(Placed, b, Entry{Kind: Mute, ID: "ada", Until: start.Add(time.Hour)})
			l.want(Muted, b, Entry{Kind: Message, Guest: true, From: "hook", Name: "ada"})
			l.want(Muted, b, Entry{Kind: Message, Guest: true, From: "ada", Name: "ada"})
			l.want(Placed, b, Entry{Kind: Ban, Name: "Hook"})
			l.want(Banned, b, Entry{Kind: Message, Guest: true, From: "hook", Name: "Hook"})
			l.want(Placed, b, Entry{Kind: Ban, Prefix: netip.MustParsePrefix("0.0.0.0/0")})
			l.want(Placed, b, Entry{Kind: Message, Guest: true, From: "hook", Name: "Other"})
		}},
		{"a join makes a member", func(l *log) {
			l.now = start.Add(time.Minute)
			e := join("cy")
			l.want(Placed, b, e)
			want := &Member{ID: "cy", Name: "cy", Hash: hashOf("cy"), Home: b, Addr: e.Addr, Grace: e.Grace, Joined: l.pos * MaxEntries}
			require.Equal(l, want, l.Member("cy"))
			require.Same(l, l.Member("cy"), l.last.Member)
			require.Same(l, l.Member("cy"), l.ByHash(hashOf("cy")))
			require.Same(l, l.Member("cy"), l.Named("cy"))
			require.Equal(l, []string{"ada", "bob", "cy"}, l.here())
		}},
		{"a join of who is there is needless", func(l *log) {
			e := join("ada")
			e.MaxMembers, e.Unique = 1, true
			l.want(Needless, b, e)
			require.Same(l, l.Member("ada"), l.last.Member)
			require.Equal(l, a, l.Member("ada").Home)
		}},
		{"a join without an ID, or with the hash of another, is needless", func(l *log) {
			l.want(Needless, b, Entry{Kind: Join, Name: "cy"})
			l.want(Needless, b, Entry{Kind: Join, ID: "cy", Hash: hashOf("ada")})
			l.want(Placed, b, Entry{Kind: Join, ID: "cy"})
			l.want(Placed, b, Entry{Kind: Join, ID: "dan"})
			require.Nil(l, l.ByHash(Hash{}))
		}},
		{"the last place is given once", func(l *log) {
			cy, dan := join("cy"), join("dan")
			cy.MaxMembers, dan.MaxMembers = 3, 3
			l.want(Placed, a, cy)
			l.want(Full, b, dan)
			require.Nil(l, l.last.Member)
			l.want(Placed, a, Entry{Kind: Leave, ID: "cy"})
			l.want(Placed, b, dan)
		}},
		{"a detached member keeps its place", func(l *log) {
			l.want(Placed, a, Entry{Kind: Detach, ID: "ada"})
			cy := join("cy")
			cy.MaxMembers = 2
			l.want(Full, b, cy)
		}},
		{"a unique name is given once", func(l *log) {
			cy := join("cy")
			cy.Name, cy.Unique = "ada", true
			l.want(NameTaken, b, cy)
			l.want(Placed, a, Entry{Kind: Detach, ID: "ada"})
			l.want(NameTaken, b, cy)
			l.want(Placed, a, Entry{Kind: Leave, ID: "ada"})
			l.want(Placed, b, cy)
		}},
		{"a name that need not be unique is given twice", func(l *log) {
			cy := join("cy")
			cy.Name = "ada"
			l.want(Placed, b, cy)
			require.Equal(l, "ada", l.Named("ada").ID, "the one that joined first")
			l.want(Placed, a, Entry{Kind: Leave, ID: "ada"})
			require.Equal(l, "cy", l.Named("ada").ID)
			l.want(NameTaken, b, Entry{Kind: Rename, ID: "bob", Name: "ada", Unique: true})
		}},
		{"full comes before name-taken, and that before banned", func(l *log) {
			l.want(Placed, a, Entry{Kind: Ban, Name: "ada"})
			cy := join("cy")
			cy.Name, cy.Unique, cy.MaxMembers = "ada", true, 2
			l.want(Full, b, cy)
			cy.MaxMembers = 3
			l.want(NameTaken, b, cy)
			cy.Unique = false
			l.want(Banned, b, cy)
		}},
		{"a resume makes another node the home", func(l *log) {
			l.want(Placed, a, Entry{Kind: Detach, ID: "ada"})
			m := l.Member("ada")
			l.now = start.Add(time.Hour) // nobody has said that it left
			resume := Entry{Kind: Resume, ID: "ada", Hash: hashOf("ada"), Addr: netip.MustParseAddr("2001:db8::1")}
			l.want(Placed, b, resume)
			require.Same(l, m, l.Member("ada"))
			require.Equal(l, a, l.last.Old)
			require.Equal(l, b, m.Home)
			require.Equal(l, resume.Addr, m.Addr)
			require.Zero(l, m.Detached)
			require.Zero(l, l.NextDue())
			l.want(NotMember, a, say("ada", 0))
			l.want(NotMember, a, Entry{Kind: Leave, ID: "ada"})
			l.want(Placed, b, say("ada", 0))
		}},
		{"a resume takes over a link", func(l *log) {
			l.want(Placed, b, Entry{Kind: Resume, ID: "ada", Hash: hashOf("ada")})
			l.want(Placed, b, Entry{Kind: Resume, ID: "ada", Hash: hashOf("ada")})
			require.Equal(l, b, l.last.Old)
		}},
		{"a resume that does not know of the last one is void", func(l *log) {
			resume := Entry{Kind: Resume, ID: "ada", Hash: hashOf("ada"), Number: l.Member("ada").Joined}
			l.want(Placed, b, resume)
			at := l.last.Seq
			require.Equal(l, at, l.Member("ada").Resumed)
			l.want(Overtaken, a, resume)
			require.Equal(l, b, l.Member("ada").Home)
			resume.Number = at - 1
			l.want(Overtaken, a, resume)
			resume.Number = at
			l.want(Placed, a, resume)
			require.Equal(l, a, l.Member("ada").Home)
		}},
		{"a detach that does not know of the last resume is void", func(l *log) {
			detach := Entry{Kind: Detach, ID: "ada", Number: l.Member("ada").Joined}
			l.want(Placed, a, Entry{Kind: Resume, ID: "ada", Hash: hashOf("ada")})
			l.want(Overtaken, a, detach)
			require.Zero(l, l.Member("ada").Detached)
			detach.Number = l.Member("ada").Resumed
			l.want(Placed, a, detach)
			require.NotZero(l, l.Member("ada").Detached)
		}},
		{"a resume needs the hash", func(l *log) {
			l.want(NotMember, b, Entry{Kind: Resume, ID: "ada"})
			require.Nil(l, l.last.Member)
			l.want(NotMember, b, Entry{Kind: Resume, ID: "ada", Hash: hashOf("bob")})
			l.want(NotMember, b, Entry{Kind: Resume, ID: "nobody", Hash: hashOf("ada")})
			l.want(Placed, a, Entry{Kind: Join, ID: "cy"})
			l.want(NotMember, b, Entry{Kind: Resume, ID: "cy"})
		}},
		{"a resume behind a kick is void", func(l *log) {
			l.want(Placed, b, Entry{Kind: Kick, ID: "ada"})
			require.Equal(l, "ada", l.last.Member.ID)
			l.want(NotMember, b, Entry{Kind: Kick, ID: "ada"})
			l.want(NotMember, b, Entry{Kind: Resume, ID: "ada", Hash: hashOf("ada")})
			l.want(NotMember, a, say("ada", 0))
			require.Equal(l, []string{"bob"}, l.here())
		}},
		{"a rename gives a free name", func(l *log) {
			l.want(Needless, b, Entry{Kind: Rename, ID: "ada", Name: "ada", Unique: true})
			l.want(NameTaken, b, Entry{Kind: Rename, ID: "ada", Name: "bob", Unique: true})
			l.want(NotMember, b, Entry{Kind: Rename, ID: "nobody", Name: "bob"})
			l.want(Placed, b, Entry{Kind: Rename, ID: "ada", Name: "eva", Unique: true})
			require.Equal(l, "ada", l.last.OldName)
			require.Equal(l, "eva", l.last.Member.Name)
			require.Nil(l, l.Named("ada"))
			require.Same(l, l.Member("ada"), l.Named("eva"))
			l.want(Placed, b, Entry{Kind: Rename, ID: "bob", Name: "ada", Unique: true})
		}},
		{"a rename to a banned name is void", func(l *log) {
			l.want(Placed, b, Entry{Kind: Ban, Name: "eva", Prefix: netip.MustParsePrefix("192.0.2.0/24")})
			l.want(Banned, b, Entry{Kind: Rename, ID: "ada", Name: "eva"})
			l.want(Placed, b, Entry{Kind: Resume, ID: "ada", Hash: hashOf("ada"), Addr: netip.MustParseAddr("192.0.3.1")})
			l.want(Placed, b, Entry{Kind: Rename, ID: "ada", Name: "eva"})
		}},
		{"a mute is of ID and name, until its time", func(l *log) {
			l.want(Placed, b, Entry{Kind: Mute, ID: "ada", Until: start.Add(time.Hour)})
			l.want(Muted, a, say("ada", 0))
			l.want(Muted, b, Entry{Kind: Message, From: "ada", Service: true})
			l.want(Placed, b, say("bob", 0))
			l.want(Placed, a, Entry{Kind: Rename, ID: "ada", Name: "eva"})
			l.want(Muted, a, say("ada", 0))
			l.want(Placed, a, Entry{Kind: Leave, ID: "ada"})
			cy := join("cy")
			cy.Name = "ada"
			l.want(Placed, b, cy)
			l.want(Muted, b, say("cy", 0))
			require.True(l, l.Muted("ada", "", start))
			require.True(l, l.Muted("", "ada", start))
			require.False(l, l.Muted("x", "y", start))
			require.False(l, l.Muted("ada", "ada", start.Add(time.Hour)))
			l.now = start.Add(time.Hour)
			l.want(Placed, b, say("cy", 0))
		}},
		{"a mute ends by a zero time, or one that has passed", func(l *log) {
			l.want(NotMember, a, Entry{Kind: Mute, ID: "nobody", Until: start.Add(time.Hour)})
			for _, until := range []time.Time{{}, start, start.Add(-time.Hour)} {
				l.want(Needless, a, Entry{Kind: Mute, ID: "ada", Until: until})
				l.want(Placed, a, Entry{Kind: Mute, ID: "ada", Until: start.Add(time.Hour)})
				l.want(Muted, a, say("ada", 0))
				l.want(Placed, a, Entry{Kind: Mute, ID: "ada", Until: until})
				l.want(Placed, a, say("ada", 0))
			}
		}},
		{"mutes that are over are dropped by the next, and a second one replaces the first", func(l *log) {
			l.want(Placed, a, Entry{Kind: Mute, ID: "ada", Until: start.Add(time.Second)})
			l.want(Placed, a, Entry{Kind: Mute, ID: "ada", Until: start.Add(time.Minute)})
			require.Len(l, l.mutes, 1)
			l.want(Placed, a, Entry{Kind: Mute, ID: "bob", Until: start.Add(time.Hour)})
			require.Len(l, l.mutes, 2)
			l.now = start.Add(time.Minute)
			l.want(Placed, a, Entry{Kind: Mute, ID: "bob", Until: start.Add(time.Hour)})
			require.Len(l, l.mutes, 1)
		}},
		{"a ban is of a name", func(l *log) {
			l.want(Placed, a, Entry{Kind: Ban, Name: "ada", Text: "spam"})
			require.Equal(l, []string{"ada", "bob"}, l.here(), "their leaves are entries of their own")
			l.want(Placed, a, say("ada", 0))
			cy := join("cy")
			l.want(Placed, b, cy)
			l.want(Placed, b, Entry{Kind: Leave, ID: "cy"})
			cy.Name = "ada"
			l.want(Banned, b, cy)
			l.want(Banned, b, Entry{Kind: Resume, ID: "ada", Hash: hashOf("ada")})
			require.Equal(l, a, l.Member("ada").Home)
			require.Equal(l, "spam", l.Banned("ada", netip.Addr{}, start).Reason)
			require.Nil(l, l.Banned("bob", netip.Addr{}, start))
		}},
		{"a ban is of addresses", func(l *log) {
			l.want(Placed, a, Entry{Kind: Ban, Prefix: netip.MustParsePrefix("::ffff:192.0.2.0/120")})
			cy := join("cy")
			l.want(Banned, b, cy)
			cy.Addr = netip.AddrFrom16(cy.Addr.As16())
			l.want(Banned, b, cy)
			l.want(Banned, b, Entry{Kind: Resume, ID: "ada", Hash: hashOf("ada"), Addr: cy.Addr})
			cy.Addr = netip.MustParseAddr("192.0.3.1")
			l.want(Placed, b, cy)
			l.want(Placed, b, Entry{Kind: Resume, ID: "ada", Hash: hashOf("ada"), Addr: cy.Addr})
			l.want(Placed, a, Entry{Kind: Ban, Prefix: netip.MustParsePrefix("192.0.2.77/24"), Text: "again"})
			require.Equal(l, []BanRule{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Reason: "again"}}, l.Bans(start))
		}},
		{"a ban of name and addresses is of both", func(l *log) {
			l.want(Placed, a, Entry{Kind: Ban, Name: "cy", Prefix: netip.MustParsePrefix("192.0.2.0/24")})
			cy := join("cy")
			l.want(Banned, b, cy)
			cy.Name = "dan"
			l.want(Placed, b, cy)
			dan := join("dan")
			dan.Name, dan.Addr = "cy", netip.Addr{}
			l.want(Placed, b, dan)
		}},
		{"a ban ends by its time, by a lift, or by a time that has passed", func(l *log) {
			e := Entry{Kind: Ban, Name: "cy", Until: start.Add(time.Hour)}
			l.want(Placed, a, e)
			l.want(Banned, a, join("cy"))
			require.Len(l, l.Bans(start), 1)
			require.Empty(l, l.Bans(start.Add(time.Hour)))
			l.now = start.Add(time.Hour)
			l.want(Needless, a, e)
			l.want(Needless, a, Entry{Kind: Ban, Name: "cy", Lift: true})
			l.want(Placed, a, join("cy"))
			l.want(Placed, a, Entry{Kind: Ban, Name: "dan"})
			require.Len(l, l.bans, 1, "what is over is dropped")
			l.want(Placed, a, Entry{Kind: Ban, Name: "dan", Lift: true})
			l.want(Placed, a, join("dan"))
			l.want(Placed, a, Entry{Kind: Ban, Name: "dan"})
			l.want(Placed, a, Entry{Kind: Ban, Name: "dan", Until: start})
			require.Empty(l, l.bans)
		}},
		{"a ban of nobody is needless", func(l *log) {
			l.want(Needless, a, Entry{Kind: Ban, Text: "why"})
		}},
		{"bans are told oldest first, and mutes and bans outlive a begin", func(l *log) {
			l.want(Placed, a, Entry{Kind: Mute, ID: "ada", Until: start.Add(time.Hour)})
			l.want(Placed, a, Entry{Kind: Ban, Name: "x"})
			l.want(Placed, a, Entry{Kind: Ban, Name: "y"})
			l.want(Placed, a, Entry{Kind: Ban, Name: "x", Text: "again"})
			l.want(Placed, a, Entry{Kind: Begin, Epoch: epoch2, Replaces: epoch1})
			require.Equal(l, []BanRule{{Name: "y"}, {Name: "x", Reason: "again"}}, l.Bans(start))
			require.True(l, l.Muted("", "ada", start))
			l.want(Placed, a, Entry{Kind: End, Force: true})
			require.False(l, l.Muted("", "ada", start))
			require.Len(l, l.Bans(start), 2)
		}},

		// Nodes.
		{"nodes are numbered as they open", func(l *log) {
			require.EqualValues(l, 1, l.NodeNumber(a))
			require.EqualValues(l, 2, l.NodeNumber(b))
			require.Zero(l, l.NodeNumber(c))
			l.want(Placed, a, Entry{Kind: NodeLeft})
			l.want(Placed, c, Entry{Kind: Open})
			l.want(Placed, a, Entry{Kind: Open})
			require.EqualValues(l, 1, l.NodeNumber(a), "it is the same one")
			require.EqualValues(l, 3, l.NodeNumber(c))
			require.Equal(l, []Node{a, b, c}, slices.Collect(l.Alive()))
		}},
		{"a new life of an open node opens it, and keeps its members", func(l *log) {
			l.want(Needless, a, Entry{Kind: Open})
			l.newLife(a)
			l.want(Placed, a, Entry{Kind: Open})
			require.EqualValues(l, 1, l.Life(a))
			require.Zero(l, l.Life(c))
			require.Zero(l, l.Member("ada").Detached)
			require.EqualValues(l, 1, l.NodeNumber(a))
		}},
		{"the end of a node detaches its members", func(l *log) {
			l.want(Placed, a, join("cy"))
			l.want(Placed, a, Entry{Kind: Detach, ID: "ada"})
			l.now = start.Add(time.Second)
			l.want(Placed, a, Entry{Kind: NodeLeft})
			require.Equal(l, []string{"cy"}, ids(l.members))
			require.Equal(l, start, l.Member("ada").Detached)
			require.Equal(l, l.now, l.Member("cy").Detached)
			require.Zero(l, l.Member("bob").Detached)
			require.Equal(l, []Node{b}, slices.Collect(l.Alive()))
			l.want(Placed, b, Entry{Kind: NodeDown, Node: b})
			require.Equal(l, []string{"bob"}, ids(l.members))
			require.False(l, l.IsOpen(b))
			_, ok := l.Lowest()
			require.False(l, ok)
		}},
		{"the first node-down counts", func(l *log) {
			l.want(Placed, c, Entry{Kind: Open})
			l.want(Placed, a, Entry{Kind: NodeDown, Node: b})
			l.want(Needless, c, Entry{Kind: NodeDown, Node: b})
			l.want(Needless, c, Entry{Kind: NodeDown, Node: d})
			l.want(Placed, a, Entry{Kind: NodeLeft})
			l.want(Needless, c, Entry{Kind: NodeDown, Node: a})
			n, ok := l.Lowest()
			require.True(l, ok)
			require.Equal(l, c, n)
		}},
		{"nodes that ended an hour ago are forgotten, unless they are a home", func(l *log) {
			l.want(Placed, c, Entry{Kind: Open})
			l.want(Placed, a, Entry{Kind: NodeDown, Node: b})
			l.want(Placed, c, Entry{Kind: NodeLeft})
			l.now = start.Add(time.Hour - 1)
			l.want(Placed, Node{'x'}, Entry{Kind: Open})
			require.EqualValues(l, 3, l.NodeNumber(c))
			l.now = start.Add(time.Hour)
			l.want(Placed, Node{'y'}, Entry{Kind: Open})
			require.Zero(l, l.NodeNumber(c))
			require.EqualValues(l, 2, l.NodeNumber(b), "bob's home")
			require.EqualValues(l, 5, l.NodeNumber(Node{'y'}), "numbers are not used again")
			l.want(Placed, a, Entry{Kind: Leave, ID: "bob"})
			l.want(Placed, Node{'z'}, Entry{Kind: Open})
			require.Zero(l, l.NodeNumber(b))
			l.want(Fenced, b, join("bob"))
			require.Len(l, l.byNode, 4)
		}},
		{"a reclaim brings members home", func(l *log) {
			for _, id := range []string{"cy", "dan", "eve", "fay"} {
				l.want(Placed, b, join(id))
			}
			l.want(Placed, a, Entry{Kind: NodeDown, Node: b})
			l.want(Placed, a, Entry{Kind: Resume, ID: "cy", Hash: hashOf("cy")})
			l.now = start.Add(time.Minute)
			l.want(Placed, a, Entry{Kind: Leave, ID: "dan"})
			l.want(Placed, a, Entry{Kind: Detach, ID: "ada"})
			l.want(Placed, c, Entry{Kind: Open})
			l.want(Placed, c, Entry{Kind: Reclaim, Replaces: b, IDs: []string{"fay", "bob", "cy", "dan", "ada", "bob"}})
			require.Equal(l, []string{"fay", "bob"}, ids(l.members))
			require.Equal(l, b, l.last.Old)
			require.Equal(l, c, l.Member("bob").Home)
			require.Zero(l, l.Member("bob").Detached)
			require.Equal(l, a, l.Member("cy").Home)
			require.Equal(l, a, l.Member("ada").Home)
			require.Equal(l, []string{"eve"}, ids(l.Due(l.now)))
			l.want(Needless, c, Entry{Kind: Reclaim, Replaces: b, IDs: []string{"fay", "cy", "dan"}})
		}},
		{"a reclaim takes nothing from a node that is open", func(l *log) {
			l.want(Placed, b, Entry{Kind: Detach, ID: "bob"})
			l.want(Needless, a, Entry{Kind: Reclaim, Replaces: b, IDs: []string{"bob"}})
			require.Equal(l, b, l.Member("bob").Home)
		}},
		{"a node that has left reclaims its own members", func(l *log) {
			require.Equal(l, []Verdict{Placed, Placed, Placed},
				l.put(l.header(b), Entry{Kind: NodeLeft}, Entry{Kind: Open}, Entry{Kind: Reclaim, Replaces: b, IDs: []string{"bob"}}))
			require.Zero(l, l.Member("bob").Detached)
			l.want(Needless, b, Entry{Kind: Reclaim, Replaces: b, IDs: []string{"bob"}})
		}},

		// Epochs.
		{"of several begins one counts, and empties the room", func(l *log) {
			begin := Entry{Kind: Begin, Epoch: epoch2, Replaces: epoch1}
			l.want(Placed, b, begin)
			require.Equal(l, epoch2, l.Epoch())
			require.Empty(l, l.here())
			require.Nil(l, l.Member("ada"))
			require.Nil(l, l.Named("ada"))
			require.Nil(l, l.ByHash(hashOf("ada")))
			l.want(Placed, a, join("ada"))
			l.want(Needless, a, begin)
			l.want(Needless, a, Entry{Kind: Begin, Epoch: epoch1})
			l.want(Needless, a, Entry{Kind: Begin, Epoch: epoch2, Replaces: epoch2})
			l.want(Needless, a, Entry{Kind: Begin, Replaces: epoch2})
			require.Equal(l, []string{"ada"}, l.here())
		}},
		{"a begin of one that has read on from behind the begin in force shows that", func(l *log) {
			at := uint64(3 * MaxEntries) // of the begin in force
			for known, differs := range map[uint64]bool{0: false, at - 1: false, at: true, at + MaxEntries: true} {
				l.want(Needless, b, Entry{Kind: Begin, Epoch: epoch2, Number: known})
				require.Equal(l, differs, l.last.Differs, known)
			}
			l.want(Needless, b, Entry{Kind: Begin, Epoch: epoch2, Replaces: epoch2, Number: at})
			require.True(l, l.last.Differs)
			l.want(Placed, b, Entry{Kind: Begin, Epoch: epoch2, Replaces: epoch1, Number: at})
			require.False(l, l.last.Differs)
			l.want(Needless, b, Entry{Kind: Begin, Epoch: epoch1, Number: at + MaxEntries})
			require.False(l, l.last.Differs)
		}},
		{"a begin drops those that were detached", func(l *log) {
			l.want(Placed, b, Entry{Kind: Detach, ID: "bob"})
			l.want(Placed, b, Entry{Kind: Begin, Epoch: epoch2, Replaces: epoch1})
			require.Zero(l, l.NextDue())
			require.Empty(l, l.Due(start.Add(time.Hour)))
		}},
		{"an end needs an empty room and no other node", func(l *log) {
			l.want(Needless, a, Entry{Kind: End})
			l.want(Placed, a, Entry{Kind: Leave, ID: "ada"})
			l.want(Placed, b, Entry{Kind: Leave, ID: "bob"})
			l.want(Needless, a, Entry{Kind: End})
			l.want(Placed, b, Entry{Kind: NodeLeft})
			l.want(Placed, a, join("ada"))
			l.want(Needless, a, Entry{Kind: End})
			l.want(Placed, a, Entry{Kind: Leave, ID: "ada"})
			l.want(Placed, a, Entry{Kind: End})
			require.Zero(l, l.Epoch())
			l.want(Placed, a, Entry{Kind: NodeLeft})
			l.want(Placed, b, Entry{Kind: Open})
			l.want(Placed, b, Entry{Kind: Begin, Epoch: epoch2})
		}},
		{"an end by force needs nothing", func(l *log) {
			l.want(Placed, a, Entry{Kind: End, Force: true})
			require.Zero(l, l.Epoch())
			require.Empty(l, l.here())
			require.Equal(l, []Node{a, b}, slices.Collect(l.Alive()))
		}},

		// The rest.
		{"a kind that is not known is skipped", func(l *log) {
			l.want(Unknown, a, Entry{Kind: 11, Body: []byte("x")})
			l.want(Unknown, a, Entry{Kind: 127})
			l.want(Unknown, a, Entry{})
		}},
		{"a beat compares what nodes have made of the records", func(l *log) {
			l.put(l.header(a), Entry{Kind: Beat})
			require.False(l, l.last.Differs)
			seq, sum := l.LastBeat()
			require.Equal(l, l.last.Seq, seq)
			require.NotZero(l, sum)
			l.want(Placed, a, say("ada", 0))
			for _, beat := range []struct {
				seq, sum uint64
				differs  bool
			}{{seq, sum + 1, true}, {seq, sum + 1, false}, {0, 1, false}} { // the second is of no beat that is the last
				l.put(l.header(b), Entry{Kind: Beat, Number: beat.seq, Sum: beat.sum})
				require.Equal(l, beat.differs, l.last.Differs)
				require.Equal(l, Placed, l.last.Verdict)
			}
			seq, sum = l.LastBeat()
			l.put(l.header(b), Entry{Kind: Beat, Number: seq, Sum: sum})
			require.False(l, l.last.Differs)
		}},
		{"time does not fall", func(l *log) {
			l.now = start.Add(-time.Hour)
			l.want(Placed, a, Entry{Kind: Detach, ID: "ada"})
			require.Equal(l, start, l.Member("ada").Detached)
			require.Equal(l, start, l.Time())
			l.now = time.Time{}
			l.want(Placed, b, Entry{Kind: Detach, ID: "bob"})
			require.Equal(l, start, l.Member("bob").Detached)
		}},
		{"a log without times has one", func(l *log) {
			l.State, l.now = New(), time.Time{}
			l.want(Placed, a, Entry{Kind: Open})
			l.want(Placed, a, Entry{Kind: Begin, Epoch: epoch1})
			l.want(Placed, a, join("ada"))
			l.want(Placed, a, Entry{Kind: Detach, ID: "ada"})
			require.False(l, l.Member("ada").Detached.IsZero())
			l.want(Placed, a, Entry{Kind: Resume, ID: "ada", Hash: hashOf("ada")})
			require.Zero(l, l.NextDue())
		}},
		{"records that a node has written and the log has lost are counted", func(l *log) {
			for range 3 {
				l.header(a)
			}
			l.want(Placed, a, say("ada", 0))
			require.EqualValues(l, 3, l.last.Missing)
			l.want(Placed, a, say("ada", 0))
			require.Zero(l, l.last.Missing)
			l.newLife(a)
			l.want(Placed, a, Entry{Kind: Open})
			require.Zero(l, l.last.Missing)
			l.newLife(a)
			l.header(a)
			l.put(l.header(a), Entry{Kind: Open}, say("ada", 0))
			require.Zero(l, l.last.Missing, "of the first entry alone")
			l.newLife(a)
			l.header(a)
			l.want(Placed, a, Entry{Kind: Open})
			require.EqualValues(l, 1, l.last.Missing)
			l.header(c)
			l.want(Fenced, c, say("cy", 0))
			require.Zero(l, l.last.Missing)
		}},
		{"a record that is fenced is not missing", func(l *log) {
			l.want(Placed, a, Entry{Kind: NodeLeft})
			l.want(Fenced, a, say("ada", 0))
			l.want(Placed, a, Entry{Kind: Open})
			require.Zero(l, l.last.Missing)
		}},
		{"positions and indexes are told", func(l *log) {
			h, n := l.header(a), 0
			l.pos++
			require.NoError(l, l.Apply(l.pos, start, encode(h, say("ada", 0), say("ada", 0)), func(r *Result) {
				require.Equal(l, n, r.Index)
				require.Equal(l, l.pos*MaxEntries+uint64(n), r.Seq)
				require.Equal(l, h, r.Header)
				require.Equal(l, "hello", string(r.Entry.Body))
				n++
			}))
			require.Equal(l, 2, n)
			require.NoError(l, l.Apply(l.pos+1, start, encode(l.header(a), say("ada", 0)), nil))
		}},
	} {
		t.Run(row.name, func(t *testing.T) { row.do(newRoom(t)) })
	}
}

func TestPositions(t *testing.T) {
	l := newRoom(t)
	rec := encode(l.header(a), say("ada", 0))
	before := l.Save()
	for _, pos := range []uint64{0, 1, l.pos, MaxPosition + 1, 1 << 63} {
		err := l.Apply(pos, start, rec, func(*Result) { t.Error("applied") })
		require.ErrorIs(t, err, ErrPosition)
		require.Contains(t, err.Error(), fmt.Sprint(pos))
	}
	require.Equal(t, before, l.Save())
	require.NoError(t, l.Apply(MaxPosition, start, rec, nil), "others may be of another room")
	require.Equal(t, uint64(MaxPosition), l.Pos())
}

// TestHalfARecord: a fault in the last entry keeps the first from being applied.
func TestHalfARecord(t *testing.T) {
	l := newRoom(t)
	rec := encode(l.header(a), join("cy"), Entry{Kind: 130})
	before := l.Save()
	err := l.Apply(l.pos+1, start, rec, func(*Result) { t.Error("applied") })
	require.ErrorIs(t, err, ErrNewer)
	require.Contains(t, err.Error(), "upgrade")
	require.Equal(t, before, l.Save())
	l.want(Placed, a, join("cy"))
}

func TestDue(t *testing.T) {
	l := newRoom(t)
	for i, grace := range []time.Duration{5, 3, 5, 0, 1<<63 - 1} {
		e := join(fmt.Sprint("m", i))
		e.Grace = grace
		l.want(Placed, a, e)
		require.Empty(t, l.Due(start.Add(time.Hour)))
	}
	for i := range 5 {
		l.want(Placed, a, Entry{Kind: Detach, ID: fmt.Sprint("m", 4-i)})
	}
	require.Equal(t, start, l.NextDue())
	require.Empty(t, l.Due(start.Add(-1)))
	require.Equal(t, []string{"m3"}, ids(l.Due(start)))
	require.Equal(t, []string{"m3", "m1"}, ids(l.Due(start.Add(3))))
	require.Equal(t, []string{"m3", "m1", "m0", "m2"}, ids(l.Due(start.Add(5))))
	l.want(Placed, a, Entry{Kind: Leave, ID: "m3"})
	l.want(Placed, b, Entry{Kind: Resume, ID: "m0", Hash: hashOf("m0")})
	require.Equal(t, start.Add(3), l.NextDue())
	require.Equal(t, []string{"m1", "m2"}, ids(l.Due(start.Add(time.Hour))))
	l.want(Placed, a, Entry{Kind: Kick, ID: "m1"})
	l.want(Placed, a, Entry{Kind: Kick, ID: "m2"})
	require.Equal(t, 2262, l.NextDue().Year(), "the end of time")
}

// TestRoster: members that join, are renamed and go are found as maps find them.
func TestRoster(t *testing.T) {
	rnd := newRand(1)
	var r roster
	model := map[string]*Member{}
	check := func() {
		names, first := map[string]int{}, map[string]*Member{}
		for _, m := range r.order {
			require.Same(t, m, model[m.ID])
			require.Same(t, m, r.byID(m.ID))
			require.Same(t, m, r.byHash(m.Hash))
			if names[m.Name]++; first[m.Name] == nil {
				first[m.Name] = m
			}
		}
		require.Len(t, r.order, len(model))
		require.True(t, slices.IsSortedFunc(r.order, byJoin))
		for name, m := range first {
			require.Same(t, m, r.named(name))
		}
		for name, list := range r.others {
			require.Len(t, list, names[name]-1)
		}
	}
	for i := range 4000 {
		grow := i < 1000 || i%1000 < 500
		switch k := rnd.IntN(10); {
		case k < 3 || k < 7 && grow:
			m := &Member{ID: fmt.Sprint("m", i), Name: fmt.Sprint("n", rnd.IntN(80)), Joined: uint64(i + 1)}
			m.Hash = hashOf(m.ID)
			r.add(m)
			model[m.ID] = m
		case len(r.order) == 0:
		case k < 9:
			m := r.order[rnd.IntN(len(r.order))]
			r.remove(m)
			delete(model, m.ID)
			require.Nil(t, r.byID(m.ID))
			require.Nil(t, r.byHash(m.Hash))
		default:
			r.rename(r.order[rnd.IntN(len(r.order))], fmt.Sprint("n", rnd.IntN(80)))
		}
		if i%50 == 0 {
			check()
		}
	}
	for len(r.order) > 0 {
		r.remove(r.order[len(r.order)/3])
	}
	require.Nil(t, r.named("n1"))
	require.Empty(t, r.others)
	for _, table := range []table{r.ids, r.hashes, r.names} {
		require.Zero(t, table.n)
		require.False(t, slices.ContainsFunc(table.slots, func(m *Member) bool { return m != nil }))
	}
}

// members returns a log with a room of n members, whose names and IDs are those of rooms.
func members(t testing.TB, n int) *log {
	l := newRoom(t)
	var e []Entry
	for i := range n {
		m := join(fmt.Sprintf("abcdefgh-%d", i))
		m.Name = fmt.Sprintf("guest-1-%d", i)
		if e = append(e, m); len(e) == 1000 || i == n-1 {
			l.put(l.header(a), e...)
			e = e[:0]
		}
	}
	return l
}

// heap returns how many bytes what is in use takes.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestMemory: a member of a large room costs 250 bytes at most, on each of its nodes.
func TestMemory(t *testing.T) {
	const n, limit = 9000, 250
	saved := members(t, n).Save()
	before := heap()
	s, err := Load(saved)
	require.NoError(t, err)
	each := (heap() - before) / n
	t.Logf("loaded: %d bytes a member; a checkpoint has %d", each, len(saved)/n)
	require.Less(t, each, limit)
	runtime.KeepAlive(s)
	runtime.KeepAlive(saved) // which is in both

	s = nil
	before = heap()
	l := members(t, n)
	each = (heap() - before) / n
	t.Logf("joined: %d bytes a member", each)
	require.Less(t, each, limit)
	require.Greater(t, each, 100, "no member is smaller")
	before = heap()
	l.want(Placed, b, Entry{Kind: NodeDown, Node: a})
	l.members, l.last = nil, Result{}
	t.Logf("detached: %d bytes more", (heap()-before)/n)
	runtime.KeepAlive(l)
}

// TestAllocations: messages of members cost the fold no allocation.
func TestAllocations(t *testing.T) {
	l := members(t, 100)
	var e []Entry
	for i := range 100 {
		e = append(e, Entry{Kind: Message, From: fmt.Sprintf("abcdefgh-%d", i), Body: []byte("hello")})
	}
	h := l.header(a)
	recs := make([][]byte, 110)
	for i := range recs {
		recs[i] = encode(h, e...)
		h.Batch++
	}
	i, placed := 0, 0
	count := func(r *Result) {
		if r.Verdict == Placed {
			placed++
		}
	}
	allocs := testing.AllocsPerRun(100, func() {
		l.pos++
		if err := l.Apply(l.pos, start, recs[i], count); err != nil {
			panic(err)
		}
		i++
	})
	require.Equal(t, 100*i, placed)
	require.Zero(t, allocs)
}
