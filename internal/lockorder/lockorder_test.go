//go:build lockorder

package lockorder

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func init() { fail = func(what string) { panic(what) } }

func TestOrder(t *testing.T) {
	var first, second, last, other Mutex
	first.SetRank(1)
	second.SetRank(2)
	for range 2 {
		first.Lock()
		second.Lock()
		last.Lock()
		first.Unlock() // in any order
		last.Unlock()
		second.Unlock()
	}
	for _, row := range []struct {
		name         string
		held, wanted *Mutex
	}{
		{"lower", &second, &first},
		{"itself", &first, &first},
		{"behind the last", &last, &first},
		{"another last one", &last, &other},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.held.Lock()
			defer row.held.Unlock()
			require.Panics(t, row.wanted.Lock)
		})
	}
	require.Empty(t, held.locks)
}

func TestUnlockByAnother(t *testing.T) {
	var m Mutex
	m.Lock()
	defer m.Unlock()
	done := make(chan any)
	go func() {
		defer func() { done <- recover() }()
		m.Unlock()
	}()
	require.NotNil(t, <-done)
}
