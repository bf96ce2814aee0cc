//go:build unix && portable

package sock

const portable = true
