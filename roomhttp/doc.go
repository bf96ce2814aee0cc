// Package roomhttp serves rooms over HTTP: browsers join by WebSocket, read by
// server-sent events, and programs read and post by plain requests. Whoever comes by it
// is in the same room as the members over TCP.
//
//	room := tcproom.New(tcproom.WithHistory(tcproom.History{Messages: 100}))
//	h := roomhttp.New(roomhttp.One("lobby", room))
//	go http.ListenAndServe("localhost:8080", h)
//	log.Fatal(room.ListenAndServe("localhost:9000"))
//
// docs/http.md shows each request by curl, with its answer. [Serve] serves HTTP and TCP
// at one port. New serves the rooms of a [*tcproom.Hub] in the same way.
//
// # Routes
//
//	GET  /                            the page, unless WithPage(nil)
//	GET  /ws                          WebSocket: the room of One, or the hub
//	GET  /rooms?prefix=&after=&limit= the rooms and how many members each has
//	GET  /rooms/{room}                one of them, and where its order stands
//	GET  /rooms/{room}/ws             WebSocket
//	GET  /rooms/{room}/events         server-sent events
//	GET  /rooms/{room}/members        ?after=&limit=, by ID
//	GET  /rooms/{room}/messages       ?after=&limit=, the history behind a seq
//	POST /rooms/{room}/messages       one more message
//	GET  /healthz                     200; 503 once the room of One or the hub is stopping
//
// HEAD works as GET, OPTIONS tells the methods of a path. All answers but the page, and
// those of WebSocket and events, are JSON. An error is application/problem+json, as RFC
// 9457 has it, with a code for programs: a [tcproom.Cause], or one of "unauthorized",
// "not-found", "method-not-allowed", "not-acceptable", "unsupported-type", "timeout",
// "misdirected" and "number-used". A limit is at most 1000, and 100 if there is none.
// Messages end at 1 MiB too, or with one that is longer; "more" says that there are more.
//
// # A hub
//
// By /ws a connection is in the rooms that its hello names, and one whose hello names
// none in that of [tcproom.WithDefaultRoom]. By /rooms/{room}/ws and /rooms/{room}/events
// it enters that room, which is made for it as the hub allows. If nobody could enter it
// now, or the client is banned, the answer says so (see [tcproom.Hub.Check]); what hooks
// refuse is the first event. No other route makes a room. A room that is [tcproom.Hidden]
// is there for the tokens of its own members alone, but may be entered.
//
// # Who may do what
//
// Without options everybody who reaches the server may read and join, and nobody may
// post but members, by the token of their session as Authorization: Bearer. [WithAuth]
// asks who somebody is, for all routes but the page and /healthz. Requests of pages of
// other origins are refused where they do something, and cannot read what is answered,
// unless [WithOrigins] lists them. A server on loopback answers requests for its own
// names only, and those of [WithHosts].
//
// What a room asks of connections holds for requests too. If it has a WithHandshake
// hook, also by [WithConn], or its hub has [tcproom.OnEnter], members alone may read,
// unless WithAuth says who else: of a hub for each room, which its function finds by
// [http.Request.PathValue] of "room". If it has an OnMessage hook or WithRate, nobody may
// post, unless [OnPost] decides what. A client that is banned or muted in a hub posts
// nothing. The token of a connection of a hub is good for the rooms in which it is, as a
// member of each.
package roomhttp
