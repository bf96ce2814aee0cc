//go:build unix && portable

package fanout

const portable = true
