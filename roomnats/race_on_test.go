//go:build race

package roomnats_test

const raceEnabled = true
