// Package testkit has the helpers that the tests of package tcproom and those of
// internal/suite have in common: what stands between them and the exported API, where
// a roomtest.Server would stand in the way, for it watches the room's hooks and speaks
// the server's framing and codec.
//
// A helper that takes a testing.TB ends the test when it fails, so it is for the
// test's own goroutine.
package testkit
