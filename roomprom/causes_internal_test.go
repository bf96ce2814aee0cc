package roomprom

import (
	"testing"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestCausesAreBounded: causes that are not the library's are one, whatever they are.
func TestCausesAreBounded(t *testing.T) {
	c := newConfig(nil)
	sum := make(map[tcproom.Cause]float64)
	c.addCauses(sum, map[tcproom.Cause]uint64{"spam": 1, "not\xffutf-8": 2, "": 3, tcproom.ErrSlow: 4})
	c.addCauses(sum, map[tcproom.Cause]uint64{tcproom.ErrSlow: 5, "other": 6})
	require.Equal(t, map[tcproom.Cause]float64{"slow": 9, "other": 12}, sum)
	require.Len(t, c.causes, len(tcproom.Causes())+1)
}
