// Package suite has no code but its tests: scenarios over the exported API of package
// tcproom, as a user of it may meet them. The faults of docs/faults.md, storms of lost
// connections, churn of members, bad peers, and the promises under all that. Tests of
// one file's subject are beside that file; tests with other programs are in
// internal/itest.
package suite
