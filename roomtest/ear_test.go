package roomtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// An event that came between a look and the wait ends the wait.
func TestRecorderWakesThoseBehind(t *testing.T) {
	var r recorder
	waits := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return false
		default:
			return true
		}
	}
	first := r.after(0)
	require.True(t, waits(first))
	r.ordered(&tcproom.Event{Kind: tcproom.Leave, Seq: 1, From: tcproom.MemberInfo{ID: "a"}})
	require.False(t, waits(first))
	require.False(t, waits(r.after(0)))
	next := r.after(1)
	require.True(t, waits(next))
	require.False(t, waits(r.after(0)))
	r.ordered(&tcproom.Event{Kind: tcproom.Leave, Seq: 2, From: tcproom.MemberInfo{ID: "b"}})
	require.False(t, waits(next))

	_, ok := r.at(2)
	require.False(t, ok)
	ev, ok := r.at(1)
	require.True(t, ok)
	require.EqualValues(t, 2, ev.Seq)
	require.Equal(t, 1, r.pastLeave("a"))
	require.Equal(t, 2, r.pastLeave("b"))
	require.Equal(t, 2, r.pastLeave("c"), "where leaves are not told")
}
