//go:build !race

package scribble

// Race says that this is a race build.
const Race = false
