package tcproom

import (
	"context"
	"crypto/rand"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tcproom/internal/fanout"
	"example.com/tcproom/internal/ledger"
	"example.com/tcproom/internal/lockorder"
	"example.com/tcproom/internal/sock"
)

// A Room is a set of members and one ordered stream of events: joins, leaves
// and messages. What one member sends goes to all others, in one order for all.
//
// All methods may be called from many goroutines and from hooks, Shutdown
// excepted, which in a hook would wait for that hook.
type Room struct {
	cfg   *roomConfig
	hub   *Hub   // nil: it is a room of New
	name  string // in the hub
	num   uint64 // of two rooms the lock of the one with the lower is taken first
	epoch epoch
	group *fanout.Group
	quiet *sock.Lookout // for accepted links from which nothing comes
	// replica keeps the room in step with a log that gives it its order; nil: the room
	// does that itself.
	replica *replica
	done    chan struct{} // closed by reap; of a named room with mu held, nil until somebody asks
	wg      sync.WaitGroup
	logs    logLimit

	bytesIn  atomic.Uint64 // of its members' frames
	tracings atomic.Int64  // traces under way

	patience atomic.Int64 // of the most patient Shutdown, in nanoseconds

	// mu is the sequencer: its holder gives events their place. It is
	// never held during I/O or a hook; framings and codecs run under it.
	mu    lockorder.Mutex
	state roomState
	ordering
	census
	service
}

// ordering is the order of a room and its encodings. It is guarded by the room's lock.
type ordering struct {
	seq     uint64
	said    uint64                // seq of the last message; 0: none
	traced  uint64                // messages that were counted for WithTrace
	inTrace map[*tracing]struct{} // whose calls run: in a hub the room of all connections has those of all
	lanes   []*lane
	held    []*heldPosts // whose hooks have returned, and that is not ordered yet
	history *ring        // of messages, for those who join; nil without WithHistory
	events  *ring        // of all events, for members that resume; nil without WithSessions
	// together is nil without WithNoticesTogether.
	together *together
}

// census is who is in a room, or about to be. It is guarded by the room's lock.
type census struct {
	members  memberList
	reserved int32              // members whose OnJoin runs
	away     int32              // of a hub's room: members that are detached
	names    map[string]*Member // that bear them, if names are unique
	guests   uint64             // names made up
	muted    map[string]mute    // by ID
	tokens   ledger.Tokens[*Member]
	detached ledger.Grace[*Member]
	expiry   *time.Timer // for the first of detached
	stats    counts
}

// service is what a stop waits for. It is guarded by the room's lock.
type service struct {
	links     map[*link]struct{}            // all that somebody attends to
	begun     uint64                        // links that ever were
	pending   int                           // of them, those that are opening
	addresses map[netip.Prefix]addressCount // by what addressOf returns
	doors     map[*Door]struct{}            // that are open
	acceptors map[*acceptor]struct{}
	released  chan struct{} // closed when a link or acceptor is gone; nil until somebody waits
	cut       []CutMember   // while stopping
	unordered int           // what was on its way to a log, or queued for it, when the room stopped
}

// roomState only grows.
type roomState uint8

const (
	roomOpen     roomState = iota
	roomDraining           // Shutdown: nothing new, and members get what was ordered
	roomClosed             // Close: at once
)

// New returns an open room. It listens nowhere and holds no goroutine until
// somebody joins; with [WithLog] it reads the log at once. It never fails: an option that
// cannot work is logged at Warn.
func New(opts ...RoomOption) *Room {
	cfg := newRoomConfig(opts)
	return newRoom(&cfg, fanout.New(), sock.NewLookout(attendTo, overdue), nil, "", 0)
}

// newRoom returns an open room whose connections are served by f and, while they are
// quiet, q.
func newRoom(cfg *roomConfig, f *fanout.Fan, q *sock.Lookout, h *Hub, name string, num uint64) *Room {
	r := &Room{
		cfg:   cfg,
		hub:   h,
		name:  name,
		num:   num,
		group: f.NewGroup(),
		quiet: q,
	}
	r.epoch.set(rand.Text())
	r.mu.SetRank(rankRooms + lockorder.Rank(num))
	if h != nil && name != allRooms {
		r.group.CountIn(&h.totals.out)
		if cfg.trace != nil {
			h.traces.Store(true)
		}
	}
	r.startRings()
	if h == nil || name == allRooms {
		r.done = make(chan struct{})
		r.lanes = append(r.lanes, r.newLane(&r.cfg.conn.limits, r.cfg.form))
		r.lanes[0].configured = 1
	} // else its members bring their lanes, so that ten thousand quiet ones take little
	if d := r.cfg.together; d > 0 && r.cfg.notices {
		r.together = &together{after: d}
	}
	switch {
	case h != nil:
		r.useBackplane()
	case cfg.log != nil:
		r.replica = newReplica(r, cfg.log)
		r.replica.start()
	}
	return r
}

// startRings makes the rings of what is remembered, which are empty.
func (r *Room) startRings() {
	r.history = newRing(r.cfg.history, r.cfg.backlog)
	if s := r.cfg.sessions; s != nil {
		r.events = newRing(&History{Messages: s.Events}, r.cfg.backlog)
	}
}

// Broadcast sends body to everyone, from the room itself, and returns its
// place in the order. It blocks while messages are held back, by the room's own
// speed or by [Block], until ctx ends. The room keeps nothing of body.
//
// It returns [ErrRoomClosed], [ErrFrameTooLarge] or [ErrUnframeable], or the
// cause of ctx; with an error the message is not in the order.
//
// In a room with a log, see [WithLog], it waits until the message has come back from
// that, and returns [ErrUnavailable] too. An error that wraps [ErrUncertain], as the end
// of ctx may, means that the message may be in the order, now or later.
func (r *Room) Broadcast(ctx context.Context, body []byte) (seq uint64, err error) {
	return r.message(ctx, nil, body)
}

func (r *Room) message(ctx context.Context, from *Member, body []byte) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	p := r.pass(ctx, from)
	defer p.end()
	if err := p.sayAllHeld(); err != nil {
		return 0, err
	}
	seq, err := p.say(body)
	if err == nil && from != nil && from.session != nil {
		from.session.posted = r.ofNow(from, seq, p.stream)
	}
	return seq, err
}

// endedNow is a context that has ended.
var endedNow = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// orderHeld orders what is held of hooks, before something that is not a message. If
// ctx has ended, it does not wait for what is held back.
func (r *Room) orderHeld(ctx context.Context) error {
	r.mu.Lock()
	n := len(r.held)
	r.mu.Unlock()
	if n == 0 {
		return nil
	}
	p := r.pass(ctx, nil)
	defer p.end()
	return p.sayAllHeld()
}

// Members returns the members present at the moment of the call, in join order. In a room
// with a log they are those of all processes, as far as this one has read the log; see
// [Member.Remote]. So are those of Member and Len. The value of a member of another
// process is made when it is asked for first, and kept until that member leaves. Once the
// room stops here, they are those that are connected here.
func (r *Room) Members() iter.Seq[*Member] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Values(r.allLocked())
}

// Member returns the member with the given ID.
func (r *Room) Member(id string) (*Member, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.memberLocked(id)
	return m, m != nil
}

// Len returns the number of members.
func (r *Room) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lenLocked()
}

// MaxMessage returns the limit of [WithMaxMessage] for the bodies of the room's
// messages, in bytes.
func (r *Room) MaxMessage() int { return r.cfg.conn.maxMessage }

// Stats are counts of what a room has seen, taken at one moment.
//
// In a room with a log, see [WithLog], Members, Messages, Bytes, Seq and LogGaps are of
// the room in all processes, as far as this one has read the log. Members and Seq are the
// same everywhere then. Messages, Bytes and LogGaps count what this process has read
// since it began, each message once, wherever it was sent: do not add them up over
// processes. All others are of this process alone. Joined and Left count those that
// joined, or were, here. A member that resumes in another process counts there in
// Resumed, not in Joined, and here in Left with [ErrElsewhere]. Detached are the members
// that have lost their connection here; those of a process that has died are in no
// Detached.
type Stats struct {
	Members  int    // present
	Detached int    // of them, those that have lost their connection and may resume
	Pending  int    // connections that have not joined yet
	Joined   uint64 // members ever
	Resumed  uint64 // connections with which members came back
	Refused  uint64 // connections that did not join
	Messages uint64 // ordered, from members and the room itself
	Bytes    uint64 // of their bodies
	Skipped  uint64 // events that members jumped over, see [Skip]
	Seq      uint64 // of the last event
	Stopping bool   // Shutdown or Close was called

	// BytesIn counts the bytes of frames that members have sent, with what the framing adds,
	// and BytesOut those that their connections have taken of the room's stream: events,
	// welcomes and history, once for each member. TLS and handshakes are not in them.
	// Delivered counts the events in BytesOut, once for each member, but not those that it
	// is sent of the past: of the history, or because it has resumed.
	BytesIn, BytesOut, Delivered uint64

	// Waiting is how many members wait for their connections, which take nothing at the
	// moment. The one furthest behind has Backlog bytes of the stream to take, and the one
	// that has waited longest does so for SlowestFor. All are 0 if nobody waits. Not in
	// Backlog is what the room is writing to a connection, 16 KiB or one event at most. A
	// connection of a hub that waits does so in all of its rooms. One that speaks TLS, or
	// has no direct path, counts from the first event on that finds it blocked.
	Waiting    int
	Backlog    int
	SlowestFor time.Duration

	LogGaps      uint64 // records that the log of WithLog had taken and has lost, as far as known
	AcceptErrors uint64 // times at which a listener failed to accept, and went on
	// Left counts the members that are gone by cause.
	Left map[Cause]uint64
}

// counts are the Stats that a room keeps.
type counts struct {
	Joined, Resumed, Refused, Messages, Bytes, acceptErrors, logGaps uint64
	Left                                                             map[Cause]uint64 // nil while nobody has left
}

// leftBy counts a member that is gone.
func (c *counts) leftBy(cause Cause) {
	if c.Left == nil {
		c.Left = make(map[Cause]uint64)
	}
	c.Left[cause]++
}

// Stats returns the counts of this moment.
func (r *Room) Stats() Stats {
	s := Stats{Left: make(map[Cause]uint64)}
	r.addTo(&s)
	s.BytesIn = r.bytesIn.Load()
	s.setTraffic(r.group.Traffic())
	return s
}
