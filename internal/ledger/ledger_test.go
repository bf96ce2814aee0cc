package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTokens(t *testing.T) {
	var tokens Tokens[string]
	_, ok := tokens.Find("")
	require.False(t, ok)
	tokens.Revoke(KeyOf("nothing"))

	ada, adaKey := tokens.Issue("ada")
	bob, bobKey := tokens.Issue("bob")
	require.Len(t, ada, 26, "130 bits, in base32")
	require.NotEqual(t, ada, bob)
	require.Equal(t, KeyOf(ada), adaKey)
	for token, want := range map[string]string{ada: "ada", bob: "bob"} {
		v, ok := tokens.Find(token)
		require.True(t, ok)
		require.Equal(t, want, v)
	}
	for _, wrong := range []string{"", ada[:25], ada + " ", string(adaKey[:]), fmt.Sprintf("%x", adaKey)} {
		v, ok := tokens.Find(wrong)
		require.False(t, ok, "%q", wrong)
		require.Empty(t, v)
	}

	tokens.Revoke(adaKey)
	tokens.Revoke(adaKey)
	_, ok = tokens.Find(ada)
	require.False(t, ok)
	v, ok := tokens.Find(bob)
	require.True(t, ok)
	require.Equal(t, "bob", v)
	tokens.Revoke(bobKey)
	require.Empty(t, tokens.m)
}

func TestEqual(t *testing.T) {
	for _, a := range []string{"", "a", "b", "ab", "abc"} {
		for _, b := range []string{"", "a", "b", "ab", "abc"} {
			require.Equal(t, a == b, Equal(a, b), "%q and %q", a, b)
		}
	}
}

// requireFirst checks what is waited for next.
func requireFirst(t *testing.T, g *Grace[string], v string, until time.Time) {
	t.Helper()
	got, at, ok := g.First()
	require.True(t, ok)
	require.Equal(t, v, got)
	require.Equal(t, until, at)
}

func TestGraceOrder(t *testing.T) {
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var g Grace[string]
	g.Remove("nobody")
	_, _, ok := g.First()
	require.False(t, ok)

	g.Add("a", at(1))
	g.Add("b", at(2))
	g.Add("c", at(2)) // as late as the one before
	g.Add("d", at(3))
	require.Equal(t, 4, g.Len())
	requireFirst(t, &g, "a", at(1))
	requireFirst(t, &g, "a", at(1)) // looking takes nothing out
	g.Remove("b")                   // not the first
	g.Remove("b")
	requireFirst(t, &g, "a", at(1))
	g.Remove("a")
	requireFirst(t, &g, "c", at(2))

	g.Add("a", at(4)) // again, behind the others
	g.Remove("c")
	g.Add("c", at(5))
	require.Equal(t, 3, g.Len())
	requireFirst(t, &g, "d", at(3))
	g.Remove("d")
	requireFirst(t, &g, "a", at(4))
	g.Remove("a")
	requireFirst(t, &g, "c", at(5))
	g.Remove("c")
	require.Zero(t, g.Len())
	_, _, ok = g.First()
	require.False(t, ok)
	require.Nil(t, g.queue)

	g.Add("a", at(6)) // after it was empty
	requireFirst(t, &g, "a", at(6))
}

// TestGraceAgainAtOneTime: an element that was removed and added again is behind what
// was added in between, also if the clock did not move.
func TestGraceAgainAtOneTime(t *testing.T) {
	now := time.Now()
	var g Grace[string]
	for range 100 {
		g.Add("a", now)
		g.Add("b", now)
		g.Remove("a")
		g.Add("a", now)
		requireFirst(t, &g, "b", now)
		g.Remove("b")
		requireFirst(t, &g, "a", now)
		g.Remove("a")
	}
	g.Add("b", now)
	for range 100 {
		g.Add("a", now)
		require.LessOrEqual(t, len(g.queue), 2*2+16)
		g.Remove("a")
	}
	require.Equal(t, 1, g.Len())
}

// TestGraceAgainstAList has a set and a plain list do the same.
func TestGraceAgainstAList(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	var g Grace[int]
	type deadline struct {
		v     int
		until time.Time
	}
	var list []deadline
	remove := func(v int) {
		for i := range list {
			if list[i].v == v {
				list = append(list[:i], list[i+1:]...)
				return
			}
		}
	}
	for step := range 50_000 {
		v := rng.IntN(40)
		switch {
		case slices.ContainsFunc(list, func(d deadline) bool { return d.v == v }) || rng.IntN(8) == 0:
			g.Remove(v)
			remove(v)
		default:
			now = now.Add(time.Duration(rng.IntN(2)))
			g.Add(v, now)
			list = append(list, deadline{v, now})
		}
		require.Equal(t, len(list), g.Len(), "step %d", step)
		require.LessOrEqual(t, len(g.queue), 2*40+17, "what is not waited for is dropped")
		if rng.IntN(3) > 0 {
			continue
		}
		got, until, ok := g.First()
		require.Equal(t, len(list) > 0, ok, "step %d", step)
		if ok {
			require.Equal(t, list[0], deadline{got, until}, "step %d", step)
		}
	}
}
