package tcproom_test

import (
	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
)

// Causes without a constant.
const (
	errLeft               = tcproom.Cause("left")
	errCutOff             = tcproom.Cause("cut-off")
	errReset              = tcproom.Cause("reset")
	errEnded              = tcproom.Cause("ended")
	errWriteTimeout       = tcproom.Cause("write-timeout")
	errIdleTimeout        = tcproom.Cause("idle-timeout")
	errHandshakeTimeout   = tcproom.Cause("handshake-timeout")
	errRateLimited        = tcproom.Cause("rate-limited")
	errRetry              = tcproom.Cause("retry")
	errFutureSeq          = tcproom.Cause("future")
	errTooManyPending     = tcproom.Cause("busy")
	errTooManyFromAddress = tcproom.Cause("too-many-from-address")
	errTooManyLanes       = tcproom.Cause("too-many-lanes")
)

// frameCharge is what a frame costs a limiter beside its bytes.
const frameCharge = 32

// What these tests have in common with those of internal/suite.
const (
	within      = testkit.Within
	raceEnabled = testkit.RaceEnabled
)

type (
	causes   = testkit.Causes
	logLines = testkit.Log
)

var (
	testContext     = testkit.Context
	inBubble        = testkit.Bubble
	serve           = testkit.Serve
	serveTCP        = testkit.ServeTCP
	listen          = testkit.Listen
	enter           = testkit.Enter
	pipe            = testkit.Pipe
	waitDone        = testkit.WaitDone
	dial            = testkit.Dial
	join            = testkit.Join
	dialRaw         = testkit.DialRaw
	next            = testkit.Next
	nextMessage     = testkit.NextMessage
	nextOf          = testkit.NextOf
	send            = testkit.Send
	chat            = testkit.Chat
	broadcast       = testkit.Broadcast
	memberOf        = testkit.MemberOf
	only            = testkit.Only
	kib             = testkit.KiB
	eventually      = testkit.Eventually
	waitLen         = testkit.WaitLen
	checkGoroutines = testkit.CheckGoroutines
	descriptors     = testkit.Descriptors
	memory          = testkit.Memory
	newCauses       = testkit.NewCauses
	testTLS         = testkit.TLS
)
