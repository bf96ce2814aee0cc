//go:build !race

package roomnats_test

const raceEnabled = false
