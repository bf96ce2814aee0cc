// Package roomtest is a chat backend for tests: rooms of package tcproom on
// loopback or in memory, members with expectations, and faults on demand.
package roomtest
