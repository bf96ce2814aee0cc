// Package itest tests tcproom from outside, by its exported API alone, with
// what the core does not require: programs in other languages that know nothing
// of this library, and other modules. It exports nothing.
package itest
