//go:build unix && !portable

package sock

// portable, by the build tag of that name, switches the direct path off, so
// that a whole program's tests can run without it.
const portable = false
