//go:build linux

package main

import (
	"errors"
	"slices"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// A work is something that servers are measured with.
type work struct {
	name    string
	title   string // in the report
	about   string
	counted string // what its sizes are numbers of
	full    []int  // sizes
	quick   []int
	reps    int // repetitions by this library, once by the others; 0: as usual
	most    int // repetitions at most; 0: any
	columns []column

	fixed   bool               // its sizes are not numbers of receivers, and are what they are
	takes   func(*server) bool // whom it is done with; nil: all
	slow    bool               // leave out servers that are not for so many receivers
	measure func(r *runner, s step) (outcome, error)
}

// works are all that there is, in the order in which they are done.
var works = slices.Concat([]*work{
	floodWork, flood1kWork, chatWork, pacedWork, paced10Work, overloadWork, stallWork,
	idleWork, stormWork, roomsWork,
	inRoomsWork, besideWork, mixedWork, quietRoomsWork, moveWork, noticesWork, receiveWork, emptyRoomsWork, tlsWork, noWindowWork, unpinnedWork,
}, clusterWorks)

// workNamed returns nil where there is none.
func workNamed(name string) *work {
	i := slices.IndexFunc(works, func(w *work) bool { return w.name == name })
	if i < 0 {
		return nil
	}
	return works[i]
}

func workNames() (names []string) {
	for _, w := range works {
		names = append(names, w.name)
	}
	return names
}

// usualWorks are those that are done if none is asked for. Those about logs take minutes
// of their own, and several cores if there are any.
func usualWorks() []string {
	return slices.DeleteFunc(workNames(), func(name string) bool { return slices.Contains(clusterWorks, workNamed(name)) })
}

// onlyRoom is for works that are about this library alone.
func onlyRoom(s *server) bool { return s == tcproomServer }

// A step is one measurement that is to be made.
type step struct {
	work   *work
	size   int // receivers, or what the work counts
	rep    int // from 1
	server *server
}

// An outcome is what a measurement yields.
type outcome struct {
	metrics metrics
	latency *hdr.Histogram // nil where there is none to show
}

// A behindError says that a server did not keep up, which is a result and not
// a failure.
type behindError string

func (e behindError) Error() string { return string(e) }

var errNoCPU = errors.New("there is one CPU only, and server and load generator need one each; use -unpinned to measure all the same")
