package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

const wordBits = 8 * unsafe.Sizeof(uintptr(0))

// cpuMask is the kernel's cpu_set_t, for 4096 CPUs.
type cpuMask [4096 / wordBits]uintptr

func maskOf(cpus []int) (m cpuMask) {
	for _, c := range cpus {
		m[uintptr(c)/wordBits] |= 1 << (uintptr(c) % wordBits)
	}
	return m
}

func (m *cpuMask) cpus() (list []int) {
	for i := range len(m) * int(wordBits) {
		if m[uintptr(i)/wordBits]&(1<<(uintptr(i)%wordBits)) != 0 {
			list = append(list, i)
		}
	}
	return list
}

// affinity returns the CPUs on which the calling thread may run.
func affinity() ([]int, error) {
	var m cpuMask
	if _, _, e := syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(m), uintptr(unsafe.Pointer(&m))); e != 0 {
		return nil, fmt.Errorf("sched_getaffinity: %w", e)
	}
	return m.cpus(), nil
}

// setAffinity says on which CPUs a thread may run, the calling one if tid is 0.
func setAffinity(tid int, cpus []int) error {
	m := maskOf(cpus)
	if _, _, e := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, uintptr(tid), unsafe.Sizeof(m), uintptr(unsafe.Pointer(&m))); e != 0 {
		return fmt.Errorf("sched_setaffinity to CPUs %s: %w", formatCPUs(cpus), e)
	}
	return nil
}

// pinProcess moves all threads of this process to cpus; threads that they
// start inherit it.
func pinProcess(cpus []int) error {
	// The second pass is for threads that began during the first.
	return errors.Join(pinThreads(cpus), pinThreads(cpus))
}

func pinThreads(cpus []int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := setAffinity(tid, cpus); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// startOn makes sure that this process has started with cpus as its CPUs, so
// that its runtime found as many as it has: if not, it sets them and executes
// the same program again.
func startOn(cpus []int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	have, err := affinity()
	if err != nil || slices.Equal(have, cpus) {
		return err
	}
	if err := setAffinity(0, cpus); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(exe, os.Args, os.Environ())
}

func formatCPUs(cpus []int) string {
	var s []string
	for _, c := range cpus {
		s = append(s, strconv.Itoa(c))
	}
	return strings.Join(s, ",")
}

// parseCPUs reads what formatCPUs writes, and ranges as in the kernel's lists.
func parseCPUs(list string) (cpus []int, err error) {
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		a, err := strconv.Atoi(first)
		if err != nil {
			return nil, err
		}
		b, err := strconv.Atoi(last)
		if err != nil {
			return nil, err
		}
		for c := a; c <= b; c++ {
			cpus = append(cpus, c)
		}
	}
	return cpus, nil
}
