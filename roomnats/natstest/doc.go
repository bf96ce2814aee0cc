// Package natstest runs NATS servers with JetStream inside a test, for tests of programs
// that use roomnats, or NATS alone.
//
//	func TestRoom(t *testing.T) {
//		s := natstest.Solo(t)
//		order, err := roomnats.Open(t.Context(), s.Conn(), "lobby",
//			roomnats.MaxBytes(64<<20))
//		…
//		s.Restart() // the same port, and what it had on disk
//	}
//
// [Solo] is one server, [Cluster] several that replicate. Between the servers of a
// cluster, and between them and their clients, are [Forwarder]s, which cut connections or
// swallow what is sent. A test can put one in front of any server with [Forward].
//
// The servers listen on 127.0.0.1, keep their port when they are restarted, store below
// t.TempDir, handle no signals and log nothing. All of it ends with the test.
//
// Functions that take a testing.TB, and methods of what they return, must be called on
// the test's goroutine unless they say otherwise: they call its FailNow. A bubble of
// testing/synctest cannot hold a server.
package natstest
