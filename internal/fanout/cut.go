package fanout

import "runtime"

// lose has sinks that an append has overrun fail with [ErrOverrun], in turn
// and soon. It does not block: an append pays for nobody whom it cuts.
func (f *Fan) lose(sinks []*Sink) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended { // they have been closed
		return
	}
	f.lost = append(f.lost, sinks...)
	if !f.cutting {
		f.cutting = true
		f.wg.Add(1)
		go f.cut()
	}
}

// cut fails the sinks that were lost. It ends when there are no more.
func (f *Fan) cut() {
	defer f.wg.Done()
	for sinks := f.takeLost(); sinks != nil; sinks = f.takeLost() {
		for _, s := range sinks {
			s.fail(ErrOverrun)
			// What the owner does about it comes between: thousands that end at
			// once would keep all others waiting.
			runtime.Gosched()
		}
	}
}

// takeLost returns the sinks of now, or notes that cut ends.
func (f *Fan) takeLost() []*Sink {
	f.mu.Lock()
	defer f.mu.Unlock()
	sinks := f.lost
	f.lost, f.cutting = nil, sinks != nil
	return sinks
}
