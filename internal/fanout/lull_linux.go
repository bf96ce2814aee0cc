package fanout

import (
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// looks says whether a lull does anything.
const looks = true

// A lull is a moment in which the scheduler looks at the network. As long as
// there is a goroutine to run it does not, but every ten milliseconds: where there
// is one processor, whoever works for long, though it yields, keeps all those
// waiting for whom something has come. Who parks for the network itself makes it
// look: an eventfd, which is ready as soon as it is written to, parks for a moment.
//
// Where other goroutines leave the scheduler no such moment it takes those ten
// milliseconds, or minutes: while nobody makes a system call that it knows of, the
// monitor, which would look then, may be asleep. So a look has a deadline, which the
// scheduler heeds.
type lull struct {
	busy     atomic.Bool
	file     *os.File // nil: not needed yet, or there was no descriptor left
	conn     syscall.RawConn
	parked   bool
	callback func(fd uintptr) bool
}

// look parks the caller until the scheduler has looked at the network, or for
// longYield. It does nothing while somebody else is at it.
func (l *lull) look() {
	if !l.busy.CompareAndSwap(false, true) {
		return
	}
	defer l.busy.Store(false)
	if l.file != nil || l.open() {
		l.parked = false
		_ = l.file.SetReadDeadline(time.Now().Add(longYield))
		_ = l.conn.Read(l.callback)
	}
}

func (l *lull) open() bool {
	fd, _, e := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if e != 0 {
		return false
	}
	file := os.NewFile(fd, "eventfd")
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return false
	}
	l.file, l.conn, l.callback = file, conn, l.park
	return true
}

// park makes the descriptor ready and then waits for that, once.
func (l *lull) park(fd uintptr) (done bool) {
	if l.parked {
		return true
	}
	l.parked = true
	one := uint64(1)
	_, _, e := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
	return e != 0
}

// close is called when nobody calls look any more.
func (l *lull) close() {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}
