//go:build race

package tcproom_test

// raceEnabled says that memory and speed are not what they are without the race detector.
const raceEnabled = true
