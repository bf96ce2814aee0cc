// Package outside has tests of a room in several processes that are driven from outside: a
// NATS server and three processes of the room are killed, stopped and started again, while
// clients that know nothing but the bytes on the wire talk in the room, and a checker that
// knows nothing of the room's code looks at what they got.
package outside
