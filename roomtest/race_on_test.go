//go:build race

package roomtest_test

const raceEnabled = true
