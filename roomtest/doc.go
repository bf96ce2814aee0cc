// Package roomtest does for rooms of package tcproom what httptest does for HTTP: a
// room for a test, members that send and have expectations, and faults on demand.
//
//	func TestPoliteRoom(t *testing.T) {
//		srv := roomtest.NewServer(t, politeRoom()...) // the service's options
//		ada, bob := srv.Join("ada"), srv.Join("bob")
//
//		ada.Send("darn, it rains")
//		bob.Expect(roomtest.Message("ada", "****, it rains"))
//		bob.Send("/whisper it does")
//		ada.Expect(roomtest.Joined("bob"))
//		ada.Refute(roomtest.Any(tcproom.Message))
//	}
//
// Nothing has to be closed. The room ends with the test, and fails it by name
// for what does not end with it: a hook that has not returned, a connection, a
// client, a goroutine. A hook that panics, or in which a require fails, fails
// its own test, whichever goroutine it runs on.
//
// # Servers
//
// [NewServer] listens on loopback, for clients in any language and of any
// program. [NewMemServer] is the same room on a [Network] in memory. Every
// server has its own room: tests may run in parallel. [Server.Dial] connects a
// [tcproom.Conn] that speaks as the server does; [Server.Listen] adds a listener that
// speaks otherwise, and [Server.Serve] one of the test's own.
//
// # Members
//
// [Server.Join] makes a [Member], in memory with either server, and
// [Server.Watch] makes one of a client that is there. [Member.Send] returns when the
// room has dealt with the message, so that what is sent by one after another has
// that order. What a member receives is compared with a [Match]:
//
//   - [Member.Await]: such an event comes, after any others. Use it if joins and
//     leaves of other members may come between.
//   - [Member.Expect]: these events come next, and none in between.
//   - [Member.Refute]: no such event has come. It asks the room, and does not
//     wait and hope. [Member.RefuteFor] does look at a time to come.
//   - [Member.AwaitEnd]: the stream ends.
//
// [Server.Refuses] expects that the room does not let a connection in.
//
// They wait for ten seconds, or [Server.Within], or [Member.Within]. One that fails
// ends the test and shows the room's order, in which > marks what this member has
// received. What a peer sent is quoted there unless it is plain text:
//
//	roomtest: bob expected:
//		message ada: ****, it rains
//	but then came:
//		ada: darn, it rains
//	the room's order (> is what bob has received):
//		     1  * ada joined
//		     2  * bob joined
//		>    3  ada: darn, it rains
//
// [Server.Transcript] is the whole of that order, for golden files, and
// [Server.TranscriptAfter] waits until there is more of it.
//
// # Hubs
//
// [NewHub] is a server in memory whose members are in named rooms. Join with
// [tcproom.InRooms] makes one in several, which has [Member.SendTo],
// [Member.EnterRoom], [Member.LeaveRoom] and [Member.MoveRoom]; [InRoom] is a [Match] in
// one room, and [Entered] that of a welcome:
//
//	hub := roomtest.NewHub(t, tcproom.WithOpenRooms(false), tcproom.WithRoom("kitchen"))
//	ada := hub.Join("ada", tcproom.InRooms("kitchen"))
//	ada.EnterRoom("attic")
//	ada.Expect(roomtest.InRoom("attic", roomtest.Any(tcproom.Refused)))
//
// # Faults
//
// A [Conn] is an end of a connection in memory, or by [Wrap] one of any other
// net.Conn, and takes a [Fault] in each direction: [Stall], [Latency], [Jitter],
// [Bandwidth], [Chop], [ChopRandom], [CutAfter], [ResetAfter] and [BlackHole].
// Member.Link is the member's end, and Server.Listener hands out the room's:
//
//	bob.Link.In(roomtest.Stall())               // bob stops reading
//	srv.Listener.OnAccept(func(c *roomtest.Conn) {
//		c.Out(roomtest.CutAfter(100))       // clients lose the room
//	})
//	srv.Listener.Refuse(true)                   // and cannot come back
//	srv.Listener.FailAccept(syscall.EMFILE, 3)  // the process has no descriptors
//
// [Member.Pause] stops reading without a fault.
//
// # Bots
//
// A chat client in any language is tested against a room in which [Server.Bot] plays
// the other members and [Server.Answer] makes the room itself answer. Both follow
// rules: a [Rule] is for when, an [Action] for what.
//
//	srv.Bot("broker",
//		roomtest.On(roomtest.MessageLike("", `^!price (\w+)$`),
//			roomtest.Say("a $1 is 3")),
//		roomtest.Every(time.Minute, roomtest.Say("still here")))
//	srv.Bot("crowd",
//		roomtest.JoinAfter(time.Second, roomtest.Flood(10_000, "message $n")))
//	srv.Answer(roomtest.On(roomtest.Message("", "bye"), roomtest.Kick("as you wish")))
//
// [InTurn] makes answers change. [Bot.Do] makes a bot do something without a rule.
// [Server.Kick] removes a client, and [Server.Link] is the room's end of its connection,
// for faults.
//
// # Virtual time
//
// A server in memory works in a bubble of testing/synctest: an hour passes there as
// soon as nothing else is left to do:
//
//	func TestIdleMembersLeave(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			srv := roomtest.NewMemServer(t, tcproom.WithIdleTimeout(time.Hour))
//			bob := srv.Join("bob")
//			began := time.Now()
//			bob.Within(2 * time.Hour).Expect(roomtest.Goodbye())
//			require.Equal(t, time.Hour, time.Since(began)) // exactly
//		})
//	}
//
// # Logs
//
// A [Log] is an engine in memory for rooms that live in several nodes. Each node has a
// [Backplane], which takes faults: [Backplane.Delay], [Backplane.Cut], [Backplane.Stall],
// [Backplane.Stale] and [Backplane.Uncertain]. Faults of the engine are [Log.Trim],
// [Log.Rollback], [Log.Replace] and [Log.Stop].
//
// # Clusters
//
// [NewCluster] is one room in several nodes on such a log, each of them a [Server]. Its
// members go on at another node by [Server.Resume], its nodes take faults, crash and
// restart, and [Cluster.Verify] holds what everybody has seen against the log:
//
//	c := roomtest.NewCluster(t, 3, tcproom.WithSessions(tcproom.Sessions{}))
//	ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
//	c.Crash(1)
//	bob = c.Room(2).Resume(bob)
//	c.Verify()
//
// A hub in several nodes is a [NewHub] for each of them on one log. Their Backplanes take
// the faults; there is no Verify for them:
//
//	log := roomtest.NewLog()
//	b := log.Attach()
//	near := roomtest.NewHub(t, tcproom.WithBackplane(log.Attach()))
//	far := roomtest.NewHub(t, tcproom.WithBackplane(b))
//	b.Cut()
//
// # Conformance
//
// [TestFraming], [TestCodec] and [TestConn] test whether your own framing, codec or
// net.Conn does what a room needs of it. Package roomtest/logtest does so for an engine
// that keeps logs.
//
// # Bodies on loan
//
// In a test that imports this package a room overwrites the body that OnMessage had
// when the hook returns, so that a hook which keeps it shows.
//
// # Programs
//
// A program that is no test may use this package too, to be the fake backend of tests in
// another language. It gives a [testing.TB] of its own to [NewServer], one that embeds
// the interface and has Helper, Name, Logf, Errorf, Failed, Cleanup and Fatalf, of which
// Fatalf ends its goroutine. The command tcproom fake is such a program.
package roomtest
