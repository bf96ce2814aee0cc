// Package outside has tests of a room in several processes that are driven from outside: a
// NATS server and three processes of the room are killed, stopped, cut off and started
// again, while clients that know nothing but the bytes on the wire talk in the room, and a
// checker that knows nothing of the room's code looks at what they got.
//
//	GOWORK=off go test . -run 'TestOutside$' -v -outside.for 5m -outside.seed 42
//
// A seed makes the same faults at about the same times; what comes of them depends on more
// than that. With -outside.keep DIR what all processes have logged stays there.
package outside
