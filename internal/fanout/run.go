package fanout

// A Run is frames that become part of a log at once, by [Log.AppendRun], though they have
// their sequence numbers already: until then they are nobody's but the caller's. Cursors
// that are attached to the log in the meantime can be told to begin behind a part of it.
// The zero Run is empty. It is guarded by the caller's lock.
type Run struct {
	buf    []byte
	index  []frame
	begins []begin
}

// A begin is where in a run the stream of a cursor begins.
type begin struct {
	cur *Cursor
	off uint32
}

// Add adds a frame. The run keeps nothing of b; an empty b is no frame.
func (r *Run) Add(b []byte, seq uint64) {
	if len(b) == 0 {
		return
	}
	r.buf = append(r.buf, b...)
	r.index = append(r.index, frame{end: uint32(len(r.buf)), seq: seq})
}

// Begin says that c, which was attached to the log since the last append, and to which
// nothing has been said that belongs behind a later one, gets nothing of the run as it is
// now, and what comes after it.
func (r *Run) Begin(c *Cursor) {
	if len(r.index) > 0 {
		r.begins = append(r.begins, begin{c, uint32(len(r.buf))})
	}
}

// Charge is what the log will count for the run, see [Log.MaxRun]. That of a nil run is 0.
func (r *Run) Charge() int {
	if r == nil {
		return 0
	}
	return len(r.buf) + frameCharge*len(r.index)
}

// With returns the size that [Log.Admit] is to be asked for to append the run with one
// more frame of n bytes; n is 0 for the run as it is. A nil run is an empty one.
func (r *Run) With(n int) int {
	if r == nil || len(r.index) == 0 {
		return n
	}
	if n > 0 {
		n += frameCharge
	}
	return r.Charge() - frameCharge + n
}

// MaxRun is the greatest charge of a run of several frames.
func (l *Log) MaxRun() int { return l.cfg.Backlog / 8 }

// AppendRun adds the frames of r, which it empties. A run that Admit has let in as urgent
// stays let in until something else is appended, but Admit has to be called once more,
// under the same lock of the caller's as AppendRun. All of the run becomes visible at
// once, with the cursors that were given to Begin where they are to be: nobody is ever
// served a part of it that begins elsewhere. A cursor that has ended since it was attached
// gets nothing of the run. In all else AppendRun is [Log.Append].
func (l *Log) AppendRun(r *Run) {
	if len(r.index) > 0 {
		if lost := l.appendRun(r); len(lost) > 0 {
			l.group.fan.lose(lost)
		}
	}
	*r = Run{}
}

func (l *Log) appendRun(r *Run) (lost []*Sink) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, lost := l.makeRoomLocked(r.With(0)) // in one segment: an eighth of the backlog is one
	at, off := s.end(), uint32(len(s.buf))
	s.buf = append(s.buf, r.buf...)
	for _, f := range r.index {
		f.end += off
		s.index = append(s.index, f)
	}
	l.frames += uint64(len(r.index))
	for _, b := range r.begins {
		b.cur.beginLocked(at + int64(b.off))
	}
	l.publishLocked()
	return lost
}

// beginLocked moves c, which stands where the head was when it was attached, to pos. What
// was inserted for it stands before that, and so does where it is held: then nothing of
// the log is for it until it is released. No flusher writes log bytes for it meanwhile, for
// there are none yet. One that has ended comes to stand behind its end.
func (c *Cursor) beginLocked(pos int64) {
	if !c.lost {
		c.moveLocked(pos)
	}
}
