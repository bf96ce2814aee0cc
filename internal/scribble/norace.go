//go:build !race

package scribble

const race = false
