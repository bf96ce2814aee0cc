// Package itest tests tcproom from outside, by its exported API alone, with
// what the core does not require: programs in other languages that know nothing
// of this library, and other modules. And it holds whole rooms against their
// promises: by a model, step by step, and by a checker of what all clients saw
// while everything went wrong at once. It exports nothing.
package itest
