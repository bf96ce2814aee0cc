package tcproom_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/internal/fold"
	"example.com/tcproom/roomtest"
)

// What a hub of several nodes does when one of them, or the log of a room, has a bad day.

// A bentBackplane is one that a test may bend.
type bentBackplane struct {
	tcproom.Backplane
	// append is what comes of an Append to the log of a room; see bentLog.
	append func(ctx context.Context, room string, rec []byte) (pos uint64, err error, bent bool)
}

func (b *bentBackplane) Open(ctx context.Context, room string) (tcproom.Log, error) {
	l, err := b.Backplane.Open(ctx, room)
	if err != nil {
		return nil, err
	}
	bent := &bentLog{Log: l}
	bent.bend(func(ctx context.Context, _ string, rec []byte) (uint64, error, bool) {
		return b.append(ctx, room, rec)
	})
	return bent, nil
}

// startBent is start with that.
func (f *farm) startBent(append func(ctx context.Context, room string, rec []byte) (uint64, error, bool), opts ...tcproom.HubOption) *stable {
	f.t.Helper()
	b := f.log.Attach()
	f.t.Cleanup(func() { b.Close() })
	s := newStable(f.t, slices.Concat(opts, []tcproom.HubOption{tcproom.WithBackplane(&bentBackplane{b, append})})...)
	f.t.Cleanup(b.Heal)
	f.nodes, f.links = slices.Concat(f.nodes, []*stable{s}), slices.Concat(f.links, []*roomtest.Backplane{b})
	require.NoError(f.t, s.hub.Ready(testContext(f.t)))
	return s
}

// crash ends a node as the end of its process does.
func (f *farm) crash(i int) {
	f.t.Helper()
	f.links[i].Cut()
	f.nodes[i].hub.Close()
	f.nodes[i].serving.Wait()
}

// gate returns a channel that is closed by open, which may be called again.
func gate() (let chan struct{}, open func()) {
	let = make(chan struct{})
	return let, sync.OnceFunc(func() { close(let) })
}

// TestHubClusterTwoMoves: a connection is moved again while a record of its first move has
// no place yet. It is in one room after that, and gets all of each room, one after the other.
func TestHubClusterTwoMoves(t *testing.T) {
	for _, row := range []struct {
		name, room string
		kind       fold.Kind
		from       string
		want       error
		got        []string
	}{
		{"before the join has a place", "c", fold.Join, "lobby", tcproom.ErrNotMember, []string{"bob: hi", "* you are eve in c"}},
		{"before the leave has a place", "lobby", fold.Leave, "lobby", tcproom.ErrNotMember, []string{"bob: hi", "* you are eve in c"}},
		{"of the room that it enters", "lobby", fold.Leave, "c", nil, []string{"bob: hi", "* you are eve in c", "* you are eve in d"}},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			f := newFarm(t, 1)
			let, open := gate()
			s := f.startBent(func(_ context.Context, room string, rec []byte) (uint64, error, bool) {
				if room == row.room && slices.Contains(kinds(t, rec), row.kind) {
					<-let
				}
				return 0, nil, false
			})
			t.Cleanup(open)
			eve, bob := s.person("eve"), f.nodes[0].person("bob")
			f.settle()
			eve.got()
			move := func(from, to string) chan error {
				m, moved := s.member(from, "eve"), make(chan error, 1)
				go func() {
					_, err := s.hub.Move(testContext(t), m, to)
					moved <- err
				}()
				f.settle()
				return moved
			}
			first := move("lobby", "c")
			second := move(row.from, "d")
			bob.say("hi")
			f.settle()
			open()
			require.NoError(t, <-first)
			require.ErrorIs(t, <-second, row.want)
			f.settle()
			require.Equal(t, row.got, eve.got())
			require.Equal(t, []string{"bob"}, s.names("lobby"))
			in := []string{}
			for _, r := range s.hub.Rooms("") {
				for m := range r.Members() {
					in = append(in, m.Name())
				}
			}
			slices.Sort(in)
			require.Equal(t, []string{"bob", "eve"}, in)
		})
	}
}

// TestHubClusterRenameOnArrival: a program gives a connection another name while it resumes
// in that process, which does not know of it yet. It has that name in all its rooms.
func TestHubClusterRenameOnArrival(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		opts := []tcproom.HubOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute})}
		f := newFarm(t, 1, opts...)
		let := map[fold.Kind]chan struct{}{fold.Resume: make(chan struct{}), fold.Rename: make(chan struct{})}
		s := f.startBent(func(_ context.Context, room string, rec []byte) (uint64, error, bool) {
			if held := let[kinds(t, rec)[0]]; room == "*" && held != nil {
				<-held
			}
			return 0, nil, false
		}, opts...)
		ada := f.nodes[0].labelled("ada", "a")
		f.settle()
		welcome := ada.objects()
		s.labelled("bob", "a")
		f.settle()
		s.ride(s.json, "10.0.0.1", helloOf(object{
			"rooms": []string{},
			"resume": object{"token": welcome[0]["token"], "epoch": welcome[0]["epoch"], "seq": welcome[0]["seq"],
				"rooms": object{"a": object{"epoch": welcome[1]["epoch"], "seq": welcome[1]["seq"]}}},
		}))
		f.settle()
		renamed := make(chan error)
		go func() { renamed <- s.hub.Rename(s.member("*", "ada"), "eve") }()
		f.settle()
		close(let[fold.Resume])
		f.settle()
		require.Equal(t, []string{"ada", "bob"}, s.names("a"))
		close(let[fold.Rename])
		require.NoError(t, <-renamed)
		f.settle()
		for _, s := range f.nodes {
			require.Equal(t, []string{"bob", "eve"}, s.names("a"))
		}
	})
}

// TestHubClusterResumeWithoutARoom: a connection resumes at another node, and does not name a
// room in which it was. It has left that before anything else of it is dealt with, and what
// it had said there is not ordered again.
func TestHubClusterResumeWithoutARoom(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		opts := []tcproom.HubOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute})}
		f := newFarm(t, 1, opts...)
		let, open := gate()
		s := f.startBent(func(_ context.Context, room string, rec []byte) (uint64, error, bool) {
			if room == "a" && slices.Contains(kinds(t, rec), fold.Leave) {
				<-let
			}
			return 0, nil, false
		}, opts...)
		t.Cleanup(open)
		ada, bob := f.nodes[0].labelled("ada", "a", "b"), s.labelled("bob", "a", "b")
		f.settle()
		at := ada.objects()
		ada.say(`{"type":"message","room":"a","id":1,"body":"one"}`)
		f.settle()
		bob.told()
		ada.nc.Reset()
		f.settle()
		ada = s.ride(s.json, "10.0.0.1", helloOf(object{
			"rooms": []string{},
			"resume": object{"token": at[0]["token"], "epoch": at[0]["epoch"], "seq": at[0]["seq"],
				"rooms": object{"b": object{"epoch": at[2]["epoch"], "seq": at[2]["seq"]}}},
		}), `{"type":"message","room":"b","body":"two"}`)
		f.settle()
		require.Empty(t, bob.told())
		open()
		f.settle()
		require.Equal(t, map[string][]string{"a": {"leave ada"}, "b": {"ada: two"}}, bob.told())
		_, err := s.hub.Enter(t.Context(), s.member("*", "ada"), "a")
		require.NoError(t, err)
		ada.told()
		ada.say(`{"type":"message","room":"a","id":1,"body":"one"}`)
		f.settle()
		require.Equal(t, map[string][]string{"a": {"ack 1"}}, ada.told())
		require.Equal(t, map[string][]string{"a": {"join ada"}}, bob.told())
	})
}

// TestHubClusterLeaveInAStop: a connection asks to leave a room when its process has left
// that room's log already. It is not told that it has left, for the room has it still; it
// resumes in another process, with the room or without it.
func TestHubClusterLeaveInAStop(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		opts := []tcproom.HubOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute})}
		f := newFarm(t, 1, opts...)
		let, open := gate()
		s := f.startBent(func(_ context.Context, room string, rec []byte) (uint64, error, bool) {
			if room == "*" && slices.Contains(kinds(t, rec), fold.NodeLeft) {
				<-let
			}
			return 0, nil, false
		}, opts...)
		t.Cleanup(open)
		bob, ada := f.nodes[0].labelled("bob", "a", "b"), s.labelled("ada", "a", "b")
		f.settle()
		token := ada.objects()[0]
		stopped := make(chan error)
		go func() { stopped <- s.hub.Shutdown(testContext(t)) }()
		f.settle()
		bob.told()
		bob.say(`{"type":"message","room":"a","body":"one"}`, `{"type":"message","room":"b","body":"two"}`)
		ada.say(`{"type":"leave","room":"b","ref":1}`)
		f.settle()
		open()
		require.NoError(t, <-stopped)
		require.True(t, ada.gone())
		require.Equal(t, map[string][]string{"": {"goodbye restarting"}}, ada.told())
		require.Empty(t, bob.told()["b"])
		again := f.nodes[0].ride(f.nodes[0].json, "10.0.0.1", helloOf(object{
			"rooms":  []string{},
			"resume": object{"token": token["token"], "epoch": token["epoch"], "seq": token["seq"], "rooms": object{"a": object{"epoch": f.nodes[0].room("a").Past(0, 0).Epoch, "seq": 0}}},
		}))
		f.settle()
		require.Equal(t, []string{"welcome resumed"}, again.told()["*"])
		require.Equal(t, map[string][]string{"b": {"leave ada"}}, bob.told())
	})
}

// TestHubClusterCrashInMove: a node dies between the two halves of a move. The member is in
// both rooms, and resumes in those that it names, or leaves both.
func TestHubClusterCrashInMove(t *testing.T) {
	for _, row := range []struct {
		name   string
		resume []string // the rooms that it names
		told   map[string][]string
	}{
		{"never comes back", nil, map[string][]string{"a": {"leave ada"}, "b": {"leave ada"}}},
		{"resumes where it was", []string{"a"}, map[string][]string{"b": {"leave ada"}}},
		{"resumes where it went", []string{"b"}, map[string][]string{"a": {"leave ada"}}},
		{"resumes in both", []string{"a", "b"}, map[string][]string{}},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			opts := []tcproom.HubOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute})}
			f := newFarm(t, 2, opts...)
			dying := f.startBent(func(ctx context.Context, room string, rec []byte) (uint64, error, bool) {
				if room != "a" || !slices.Contains(kinds(t, rec), fold.Leave) {
					return 0, nil, false
				}
				<-ctx.Done()
				return 0, context.Cause(ctx), true
			}, opts...)
			bob := f.nodes[0].labelled("bob", "a", "b")
			f.settle()
			ada := dying.labelled("ada", "a")
			time.Sleep(30 * time.Second) // until nodes trust their leases
			f.settle()
			token := ada.objects()[0]
			bob.told()
			ada.say(`{"type":"move","room":"a","to":"b"}`)
			f.settle()
			require.Equal(t, map[string][]string{"b": {"join ada"}}, bob.told())
			require.Empty(t, ada.told(), "what comes of the new room before the old one has ended")
			f.crash(2)
			require.True(t, ada.gone())
			f.settle()
			require.Empty(t, bob.told())
			if row.resume != nil {
				rooms := object{}
				for _, name := range row.resume {
					past := f.nodes[0].room(name).Past(0, 0)
					rooms[name] = object{"epoch": past.Epoch, "seq": past.Seq}
				}
				again := f.nodes[0].ride(f.nodes[0].json, "10.0.0.1", helloOf(object{
					"rooms":  []string{},
					"resume": object{"token": token["token"], "epoch": token["epoch"], "seq": token["seq"], "rooms": rooms},
				}))
				f.settle()
				heard := again.told()
				require.Equal(t, []string{"welcome resumed"}, heard["*"])
				for _, name := range row.resume {
					require.Equal(t, []string{"welcome resumed"}, heard[name])
				}
				require.Len(t, heard, 1+len(row.resume))
			}
			time.Sleep(3 * time.Minute)
			require.Equal(t, row.told, bob.told())
			for _, name := range []string{"a", "b"} {
				want := []string{"bob"}
				if slices.Contains(row.resume, name) {
					want = []string{"ada", "bob"}
				}
				require.Equal(t, want, f.nodes[0].names(name))
			}
		})
	}
}

// TestHubClusterSlowRooms: whatever holds up one room, or silences its log, others go on.
// An engine that is silent holds up all of them, until it answers.
func TestHubClusterSlowRooms(t *testing.T) {
	ask := []string{
		`{"type":"message","room":"b","body":"1"}`, `{"type":"leave","room":"b"}`, `{"type":"enter","room":"c"}`,
		`{"type":"move","room":"c","to":"b"}`, `{"type":"message","room":"b","body":"2"}`,
	}
	told := map[string][]string{"b": {"ada: 1", "leave ada", "join ada", "ada: 2"}}
	never := func(context.Context, string, []byte) (uint64, error, bool) { return 0, nil, false }
	opts := []tcproom.HubOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxOutage(time.Hour)}
	check := func(t *testing.T, f *farm, hold func(bob, cat *rider)) (cat *rider) {
		bob, cat := f.nodes[0].labelled("bob", "a", "b"), f.nodes[0].labelled("cat", "a", "b")
		ada, eve := f.nodes[0].labelled("ada", "b"), f.nodes[1].labelled("eve", "b")
		f.settle()
		hold(bob, cat)
		f.settle()
		eve.told()
		ada.say(ask...)
		f.settle()
		require.Equal(t, told, eve.told())
		_, err := f.nodes[1].hub.Enter(testContext(t), f.nodes[1].member("*", "eve"), "d")
		require.NoError(t, err)
		require.NoError(t, f.nodes[0].hub.Remove("b", ""))
		_, err = f.nodes[0].hub.All().Broadcast(testContext(t), []byte("3"))
		require.NoError(t, err)
		f.settle()
		return cat
	}
	inBubble("its log is silent", t, func(t *testing.T) {
		f := &farm{t: t, log: roomtest.NewLog()}
		silent := make(chan struct{})
		f.startBent(func(ctx context.Context, room string, rec []byte) (uint64, error, bool) {
			if room == "a" && slices.Contains(kinds(t, rec), fold.Message) {
				select {
				case <-silent:
				case <-ctx.Done():
					return 0, context.Cause(ctx), true
				}
			}
			return 0, nil, false
		}, opts...)
		f.start(opts...)
		cat := check(t, f, func(bob, _ *rider) { bob.say(`{"type":"message","room":"a","body":"held"}`) })
		require.NotContains(t, cat.told()["a"], "bob: held")
		close(silent)
		f.settle()
		require.Equal(t, []string{"bob: held"}, cat.told()["a"])
	})
	inBubble("its members block", t, func(t *testing.T) {
		f := &farm{t: t, log: roomtest.NewLog()}
		slow := tcproom.WithRoom("a", tcproom.WithBacklog(1), tcproom.WithSlowMembers(tcproom.Block(time.Hour)))
		f.startBent(never, append(opts, slow)...)
		f.start(opts...)
		check(t, f, func(bob, cat *rider) {
			cat.nc.In(roomtest.Stall())
			for range 400 {
				go bob.say(`{"type":"message","room":"a","body":"` + strings.Repeat("x", 1<<10) + `"}`)
			}
		})
	})
	inBubble("its hook waits", t, func(t *testing.T) {
		f := &farm{t: t, log: roomtest.NewLog()}
		held := make(chan struct{})
		slow := tcproom.WithRoom("a", tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { <-held; return body, nil }))
		f.startBent(never, append(opts, slow)...)
		f.start(opts...)
		check(t, f, func(bob, _ *rider) { bob.say(`{"type":"message","room":"a","body":"held"}`) })
		close(held)
		f.settle()
	})
	inBubble("the engine is silent", t, func(t *testing.T) {
		f := newFarm(t, 2, append(opts, tcproom.WithSessions(tcproom.Sessions{}))...)
		ada, eve := f.nodes[0].labelled("ada", "b"), f.nodes[1].labelled("eve", "b")
		f.settle()
		eve.told()
		f.log.Stop()
		ada.say(ask...)
		time.Sleep(5 * time.Second)
		require.Empty(t, eve.told())
		f.log.Start()
		time.Sleep(10 * time.Second)
		require.Equal(t, told, eve.told())
	})
}

// TestHubClusterSentAwayInTurn: a node of a hub that stops with WithDrain sends its
// connections away one after the other, and so does one whose engine is silent, however
// many rooms they are in.
func TestHubClusterSentAwayInTurn(t *testing.T) {
	const n, over, outage = 12, 15 * time.Second, 6 * time.Second
	for _, row := range []struct {
		name string
		end  func(f *farm)
		want string
		// No more than a third of the connections end in a third of that time.
		in, after time.Duration
	}{
		{"drain", func(f *farm) {
			go f.nodes[0].hub.Shutdown(f.t.Context())
		}, "goodbye restarting", over, 0},
		{"silence", func(f *farm) { f.log.Stop() }, "goodbye unavailable", over, outage},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithDrain(over), tcproom.WithMaxOutage(outage),
				tcproom.WithSessions(tcproom.Sessions{Grace: time.Hour}))
			var riders []*rider
			for i := range n {
				riders = append(riders, f.nodes[0].labelled(fmt.Sprint("r", i), fmt.Sprint("room", i), "all"))
			}
			f.nodes[1].labelled("eve", "all")
			f.settle()
			row.end(f)
			time.Sleep(row.after)
			var ended []time.Duration
			for began := time.Now(); len(ended) < n && time.Since(began) < time.Minute; time.Sleep(time.Second / 4) {
				synctest.Wait()
				for i := 0; i < len(riders); {
					if !riders[i].gone() {
						i++
						continue
					}
					require.Equal(t, []string{row.want}, riders[i].told()[""])
					ended = append(ended, time.Since(began))
					riders = slices.Delete(riders, i, i+1)
				}
			}
			require.Len(t, ended, n)
			require.Greater(t, ended[n-1]-ended[0], row.in/3, "%v", ended)
			together := 0
			for i := range ended[1:] {
				if ended[i] == ended[i+1] {
					together++
				}
			}
			require.Less(t, together, n/2, "%v", ended)
			f.log.Start()
			time.Sleep(time.Minute)
			require.Len(t, f.nodes[1].names("all"), n+1, "all of them may resume")
		})
	}
}

// TestHubClusterNumbersAfterALeave: a connection that has left a room, by whatever way,
// resumes in another process and enters that room again. What it had said there is not
// ordered once more.
func TestHubClusterNumbersAfterALeave(t *testing.T) {
	for name, out := range map[string]func(s *stable, ada *rider) error{
		"leave":  func(_ *stable, ada *rider) error { ada.say(`{"type":"leave","room":"a"}`); return nil },
		"move":   func(_ *stable, ada *rider) error { ada.say(`{"type":"move","room":"a","to":"c"}`); return nil },
		"kick":   func(s *stable, _ *rider) error { return s.member("a", "ada").Kick("out") },
		"remove": func(s *stable, _ *rider) error { return s.hub.Remove("a", "") },
	} {
		inBubble(name, t, func(t *testing.T) {
			f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute}))
			s := f.nodes[1]
			ada, bob := f.nodes[0].labelled("ada", "a", "b"), s.labelled("bob", "a", "b")
			f.settle()
			at := ada.objects()
			ada.say(`{"type":"message","room":"a","id":7,"body":"one"}`)
			f.settle()
			require.NoError(t, out(f.nodes[0], ada))
			f.settle()
			ada.nc.Reset()
			f.settle()
			ada = s.ride(s.json, "10.0.0.1", helloOf(object{
				"rooms": []string{},
				"resume": object{"token": at[0]["token"], "epoch": at[0]["epoch"], "seq": at[0]["seq"],
					"rooms": object{"b": object{"epoch": at[2]["epoch"], "seq": at[2]["seq"]}}},
			}))
			if name == "remove" {
				bob.say(`{"type":"enter","room":"a"}`)
			}
			f.settle()
			ada.say(`{"type":"enter","room":"a"}`)
			f.settle()
			bob.told()
			ada.told()
			ada.say(`{"type":"message","room":"a","id":7,"body":"one"}`, `{"type":"message","room":"a","id":8,"body":"two"}`)
			f.settle()
			require.Equal(t, map[string][]string{"a": {"ack 7", "ack 8"}}, ada.told())
			require.Equal(t, map[string][]string{"a": {"ada: two"}}, bob.told())
		})
	}
}

// TestHubClusterNumbersAfterAMove: a connection that names no rooms says something, is moved
// and resumes in another process. What it had said is not ordered in the room in which it is
// now, neither there nor after one more move.
func TestHubClusterNumbersAfterAMove(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute}))
		s := f.nodes[1]
		ada, bob := f.nodes[0].unlabelled("ada"), s.labelled("bob", "a", "c", "lobby")
		f.settle()
		token := ada.objects()[0]["token"]
		ada.say(`{"type":"message","id":7,"body":"one"}`)
		f.settle()
		ada.objects()
		ada.say(`{"type":"move","to":"a"}`)
		f.settle()
		welcomes := ada.objects()
		welcomes[0]["token"] = token
		ada.nc.Reset()
		f.settle()
		ada = s.ride(s.json, "10.0.0.1", resumeOf(welcomes))
		f.settle()
		ada.told()
		bob.told()
		ada.say(`{"type":"message","id":7,"body":"one"}`, `{"type":"message","id":8,"body":"two"}`)
		f.settle()
		require.Equal(t, map[string][]string{"": {"ack 7", "ack 8"}}, ada.told())
		require.Equal(t, map[string][]string{"a": {"ada: two"}}, bob.told())
	})
}
