//go:build race

package testkit

// RaceEnabled says that the race detector is on: memory and speed are then not what
// they are without it.
const RaceEnabled = true
