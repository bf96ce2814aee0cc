package main

import (
	"syscall"
	"time"
	"unsafe"
)

// These system calls go past the scheduler of goroutines, which is not told
// that its thread may wait: for loops that have a thread to themselves and call
// them on sockets that do not block.

func rawRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), e
}

func rawWrite(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), e
}

// sysEpollPwait2 has this number on every architecture; Linux 5.11 brought it.
const sysEpollPwait2 = 441

// rawEpollWait waits for at most timeout, for ever if it is negative.
func rawEpollWait(epfd int, events []syscall.EpollEvent, timeout time.Duration) (int, syscall.Errno) {
	ts := [2]int64{int64(timeout / time.Second), int64(timeout % time.Second)}
	at := &ts
	if timeout < 0 {
		at = nil
	}
	n, _, e := syscall.RawSyscall6(sysEpollPwait2, uintptr(epfd),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)),
		uintptr(unsafe.Pointer(at)), 0, 0)
	return int(n), e
}

// epollSet adds fd to epfd, or changes it, to be told as tag.
func epollSet(epfd, op, fd, tag int, events uint32) error {
	return syscall.EpollCtl(epfd, op, fd, &syscall.EpollEvent{Events: events, Fd: int32(tag)})
}
