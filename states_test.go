package tcproom

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stateCounts is what moves of members and links change.
type stateCounts struct {
	reserved, members, detached, named int // of members
	pending, lane                      int // of links
	joined, left, refused              uint64
}

func countStates(r *Room, l *link) stateCounts {
	s := stateCounts{
		reserved: int(r.reserved), members: r.members.len(), detached: r.detached.Len(), named: len(r.names),
		pending: r.pending, joined: r.stats.Joined, refused: r.stats.Refused,
	}
	if l != nil {
		s.lane = l.lane.members
	}
	for _, n := range r.stats.Left {
		s.left += n
	}
	return s
}

// change returns what after has more than before; differences of counts that only
// grow are not negative.
func (before stateCounts) change(after stateCounts) stateCounts {
	return stateCounts{
		after.reserved - before.reserved, after.members - before.members, after.detached - before.detached, after.named - before.named,
		after.pending - before.pending, after.lane - before.lane,
		after.joined - before.joined, after.left - before.left, after.refused - before.refused,
	}
}

// stateMember returns a member in the given state of a room with the room's lock held.
func stateMember(t *testing.T, state memberState) (r *Room, m *Member, token string) {
	r = New(WithUniqueNames(true), WithSessions(Sessions{}))
	r.mu.Lock()
	t.Cleanup(func() {
		if r.expiry != nil {
			r.expiry.Stop()
		}
		r.mu.Unlock()
	})
	m = &Member{room: r}
	m.who.Store(&MemberInfo{ID: "id", Name: "ada"})
	r.reserved++
	r.names = map[string]*Member{"ada": m}
	token, key := r.tokens.Issue(m)
	m.session = &session{token: key, until: time.Now().Add(time.Hour)}
	m.setCause(io.EOF, errLeft)
	ways := map[memberState][]memberState{
		memberReserved: nil,
		memberPresent:  {memberPresent},
		memberDetached: {memberPresent, memberDetached},
		memberLeaving:  {memberPresent, memberLeaving},
		memberGone:     {memberPresent, memberLeaving, memberGone},
	}
	for _, to := range ways[state] {
		r.moveLocked(m, to)
	}
	require.Equal(t, state, m.state)
	return r, m, token
}

// TestMemberMoves: a member moves along the ways that memberState names and no
// others, and what the room counts moves with it.
func TestMemberMoves(t *testing.T) {
	allowed := map[[2]memberState]stateCounts{
		{memberReserved, memberPresent}: {reserved: -1, members: 1, joined: 1},
		{memberReserved, memberGone}:    {reserved: -1, named: -1},
		{memberPresent, memberDetached}: {detached: 1},
		{memberDetached, memberPresent}: {detached: -1},
		{memberPresent, memberLeaving}:  {},
		{memberDetached, memberLeaving}: {detached: -1},
		{memberLeaving, memberGone}:     {members: -1, left: 1, named: -1},
	}
	for from := memberReserved; from <= memberGone; from++ {
		for to := memberReserved; to <= memberGone+1; to++ {
			t.Run(fmt.Sprintf("%d to %d", from, to), func(t *testing.T) {
				r, m, token := stateMember(t, from)
				before := countStates(r, nil)
				want, ok := allowed[[2]memberState{from, to}]
				if !ok {
					require.Panics(t, func() { r.moveLocked(m, to) })
					require.Equal(t, from, m.state)
				} else {
					r.moveLocked(m, to)
					require.Equal(t, to, m.state)
				}
				require.Equal(t, want, before.change(countStates(r, nil)))
				there := m.state == memberPresent || m.state == memberDetached
				require.Equal(t, there, m.state.in())
				listed := r.members.byID("id") != nil
				require.Equal(t, there || m.state == memberLeaving, listed, "is listed until its leave has its place")
				require.Equal(t, m.state == memberDetached, r.expiry != nil, "its grace is awaited")
				_, found := r.tokens.Find(token)
				require.Equal(t, m.state != memberGone, found, "its token is revoked when it is gone")
			})
		}
	}
}

// stateLink returns a link in the given state of a room with the room's lock held.
func stateLink(t *testing.T, state streamState) (*Room, *link) {
	r := New()
	here, there := net.Pipe()
	l := r.newLink(there, &r.cfg.conn, nil)
	l.connect((*linkSink)(l))
	r.mu.Lock()
	t.Cleanup(func() {
		l.cur.End()
		r.mu.Unlock()
		l.sink.Close()
		here.Close()
		there.Close()
	})
	r.pending++
	l.lane = r.lanes[0]
	l.lane.members++
	l.cur = l.lane.log.Attach(l.sink, false)
	ways := map[streamState][]streamState{
		streamOpening: nil,
		streamJoined:  {streamJoined},
		streamParted:  {streamJoined, streamParted},
		streamEnded:   {streamJoined, streamEnded},
	}
	for _, to := range ways[state] {
		r.moveStreamLocked(&l.stream, to)
	}
	require.Equal(t, state, l.state)
	return r, l
}

// TestStreamMoves: a stream moves along the ways that streamState names and no others, and
// what the room counts moves with it.
func TestStreamMoves(t *testing.T) {
	allowed := map[[2]streamState]stateCounts{
		{streamOpening, streamJoined}: {pending: -1},
		{streamOpening, streamEnded}:  {pending: -1, refused: 1},
		{streamJoined, streamParted}:  {lane: -1},
		{streamJoined, streamEnded}:   {lane: -1},
		{streamParted, streamEnded}:   {},
	}
	for from := streamOpening; from <= streamEnded; from++ {
		for to := streamOpening; to <= streamEnded+1; to++ {
			t.Run(fmt.Sprintf("%d to %d", from, to), func(t *testing.T) {
				r, l := stateLink(t, from)
				before := countStates(r, l)
				want, ok := allowed[[2]streamState{from, to}]
				if !ok {
					require.Panics(t, func() { r.moveStreamLocked(&l.stream, to) })
					require.Equal(t, from, l.state)
				} else {
					r.moveStreamLocked(&l.stream, to)
					require.Equal(t, to, l.state)
				}
				require.Equal(t, want, before.change(countStates(r, l)))
				// The cursor of one that was joined and is not any more gets nothing.
				l.lane.log.Append([]byte("x"), 1, nil)
				require.Equal(t, from != streamOpening && l.state != streamJoined, l.cur.Missed() == 0)
			})
		}
	}
}

// endingError is an error that ends l at the nth time that it is asked what it is.
type endingError struct {
	l       *link
	nth     int
	asked   *int
	isFirst *bool // l had not ended
}

func (e endingError) Error() string { return "ending" }

func (e endingError) Is(error) bool {
	if *e.asked++; *e.asked == e.nth {
		*e.isFirst = e.l.Err() == nil
		e.l.end(net.ErrClosed)
	}
	return false
}

// TestFirstCauseCountsAmongTwo: an end that comes while the room still finds
// out what another one is, is the first.
func TestFirstCauseCountsAmongTwo(t *testing.T) {
	firsts, asked := 0, 0
	for nth := 1; nth <= asked+1; nth++ {
		var refused error
		var isFirst bool
		asked = 0
		room := New(
			OnJoin(func(m *Member) error { return endingError{m.conn(), nth, &asked, &isFirst} }),
			OnReject(func(_ *Newcomer, cause error) { refused = cause }),
		)
		here, there := net.Pipe()
		here.Close()
		err := room.ServeConn(there)
		if isFirst {
			firsts++
			require.Equal(t, net.ErrClosed, err, "at %d of %d", nth, asked)
		} else {
			require.ErrorAs(t, err, new(endingError))
		}
		require.Equal(t, err, refused)
		require.NoError(t, room.Close())
	}
	require.NotZero(t, firsts)
}
