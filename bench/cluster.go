//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"example.com/tcproom"
)

// The works of this file are about one room over several processes. All processes of a
// server, its engine too, are on the servers' core, if nothing else is said.

// clusterName stands for all of them.
const clusterName = "cluster"

var clusterWorks = []*work{logFloodWork, logLatencyWork, logRateWork, nodesFloodWork, nodeDownWork, logJoinsWork, logMemoryWork}

func oneOf(list ...*server) func(*server) bool {
	return func(s *server) bool { return slices.Contains(list, s) }
}

var logFloodWork = &work{
	name:    "logflood",
	title:   "Flood of a room with a log",
	about:   "Flood of lines of 64 bytes, in a room by itself and in one whose order comes from a log in the memory of its process.",
	counted: "receivers",
	full:    []int{10, 100, 1000},
	quick:   []int{100},
	takes:   func(s *server) bool { return s == tcproomServer || s == tcproomLogServer },
	columns: floodColumns,
	measure: func(r *runner, s step) (outcome, error) {
		return r.flood(s, loadConfig{size: r.lineSize(smallLine), receivers: s.size})
	},
}

const (
	loneP50    = "lone_p50_ms"
	loneP99    = "lone_p99_ms"
	bareP50    = "bare_p50_ms"
	bareP99    = "bare_p99_ms"
	addedP50   = "added_p50_ms"
	addedP99   = "added_p99_ms"
	addedRatio = "added_by_bare_p50"
	addedTail  = "added_by_bare_p99"
)

var logLatencyWork = &work{
	name:  "loglatency",
	title: "Latency of a room with a log",
	about: "500 lines of 64 bytes a second, at fixed times, to few receivers: the time from when one was due until the last receiver has it. " +
		"Added is what that is more than in a room by itself, which is measured straight before; bare is from when a client of JetStream publishes a record of as many bytes until it gets it back, straight behind.",
	counted: "receivers",
	full:    []int{1},
	quick:   []int{1},
	takes:   oneOf(tcproomNATSServer, tcproomNATSFileServer, natsServer),
	columns: []column{
		{title: "p50, ms", metric: lastP50, format: digits(2), spread: true},
		{title: "p99, ms", metric: lastP99, format: digits(2), spread: true},
		value("room by itself, p50", loneP50, digits(2)),
		value("p99", loneP99, digits(2)),
		{title: "bare JetStream, p50", metric: bareP50, format: digits(2), spread: true},
		{title: "p99", metric: bareP99, format: digits(2), spread: true},
		{title: "added ÷ bare, p50", metric: addedRatio, format: digits(2), spread: true},
		{title: "added ÷ bare, p99", metric: addedTail, format: digits(2), spread: true},
	},
	measure: func(r *runner, s step) (outcome, error) {
		m, err := r.logLatency(s)
		return outcome{metrics: m}, err
	},
}

func (r *runner) logLatency(s step) (metrics, error) {
	w := paced{rate: pacedRate, duration: r.shorter(4*time.Second, 500*time.Millisecond), patience: 4 * time.Second}
	cfg := loadConfig{size: smallLine, receivers: s.size, inFlight: w.total()}
	if s.server == natsServer {
		got, err := r.session(s.server, cfg, w.measure)
		return got.metrics, err
	}
	lone, err := r.session(tcproomServer, cfg, w.measure)
	if err != nil {
		return nil, fmt.Errorf("a room by itself: %w", err)
	}
	got, err := r.session(s.server, cfg, w.measure)
	if err != nil {
		return got.metrics, err
	}
	bare, err := bareOf(s.server, r.server)
	if err != nil {
		return nil, err
	}
	defer bare.stop()
	var b bareLatency
	if err := bare.askJSON("latency "+strconv.Itoa(w.total()), &b); err != nil {
		return nil, err
	}
	m := got.metrics
	m[loneP50], m[loneP99] = lone.metrics[lastP50], lone.metrics[lastP99]
	m[bareP50], m[bareP99] = b.P50, b.P99
	m[addedP50], m[addedP99] = m[lastP50]-m[loneP50], m[lastP99]-m[loneP99]
	m[addedRatio], m[addedTail] = m[addedP50]/m[bareP50], m[addedP99]/m[bareP99]
	return m, nil
}

// bareOf starts clients of JetStream that store as s does.
func bareOf(s *server, cpus []int) (*process, error) {
	bare := jetStreamServer
	if s == tcproomNATSFileServer || s == tcproom3NATSFileServer {
		bare = jetStreamFileServer
	}
	return startServer(bare.name, cpus, loadConfig{})
}

const (
	messageRate  = "messages_per_s"
	perRecord    = "messages_per_record"
	recordSize   = "bytes_per_record"
	bareMessages = "bare_messages_per_s"
	rateRatio    = "bare_messages_by_messages"
	readMessages = "bare_messages_read_per_s"
	readRatio    = "bare_messages_read_by_messages"
	roomCPU      = "cpu_us_per_message"
	bareCPU      = "bare_cpu_us_per_message"
	readCPU      = "bare_read_cpu_us_per_message"
	engineShare  = "engine_busy"
)

var logRateWork = &work{
	name:  "lograte",
	title: "Messages a second over three processes",
	about: "A member in each of three processes, who all send lines of 64 bytes, with so many in flight in all; nothing but the generator is bound to a core. " +
		"Bare is what three clients of JetStream publish straight behind, with one record in flight each: the room's messages in a record, times the records. " +
		"Read is the same if each of them also reads all records, as each process of a room must. CPU is that of all processes but the generator.",
	counted: "in flight",
	full:    []int{3, 48, 768, 16_384},
	quick:   []int{48},
	takes:   oneOf(tcproom3NATSServer, tcproom3NATSFileServer, natsHubsServer),
	columns: []column{
		{title: "messages/s", metric: messageRate, format: thousands, spread: true},
		value("messages a record", perRecord, digits(1)),
		value("bytes a record", recordSize, digits(0)),
		{title: "bare messages/s", metric: bareMessages, format: thousands, spread: true},
		{title: "bare ÷ room", metric: rateRatio, format: digits(2), spread: true},
		value("read messages/s", readMessages, thousands),
		{title: "read ÷ room", metric: readRatio, format: digits(2), spread: true},
		value("room, µs CPU a message", roomCPU, digits(1)),
		value("bare, µs", bareCPU, digits(1)),
		value("read, µs", readCPU, digits(1)),
		value("nodes busy", serverBusy, percent),
		value("engine busy", engineShare, percent),
		value("generator busy", generatorBusy, percent),
	},
	measure: func(r *runner, s step) (outcome, error) {
		const members = 3
		w := logRate{flood: flood{window: s.size, duration: r.duration, burst: max(s.size/2/members, 1)}}
		cfg := loadConfig{size: r.lineSize(smallLine), receivers: members, chat: true, inFlight: s.size}
		// On one core the ratio would be that of what processes share it.
		one := r.server
		defer func() { r.server = one }()
		r.server = r.all
		out, err := r.session(s.server, cfg, w.measure)
		if err != nil || s.server == natsHubsServer {
			return out, err
		}
		return out, r.bareRate(s.server, out.metrics)
	},
}

type logRate struct{ flood flood }

func (w logRate) measure(s *session) (metrics, error) {
	l := s.load
	l.watchLevels(uint64(w.flood.window))
	if err := w.flood.warmUp(l, w.flood.duration/3); err != nil {
		return nil, err
	}
	var before, after logSize
	if err := s.logState(&before); err != nil {
		return nil, err
	}
	from, err := s.read()
	if err != nil {
		return nil, err
	}
	engine, err := s.server.engine.ownClock()
	if err != nil {
		return nil, err
	}
	sent := l.streams[0].sent
	if err := w.flood.run(l, w.flood.duration); err != nil {
		return nil, err
	}
	m, err := s.since(from)
	if err != nil {
		return nil, err
	}
	used, err := s.server.engine.ownClock()
	if err != nil {
		return nil, err
	}
	messages := float64(l.streams[0].sent - sent)
	m[messageRate] = messages / m[seconds]
	m[engineShare] = (used - engine).Seconds() / m[seconds]
	m[roomCPU] = (m[serverBusy] + m[engineShare]) * m[seconds] * 1e6 / messages
	if err := s.logState(&after); err != nil {
		return nil, err
	}
	if n := after.Records - before.Records; n > 0 {
		m[perRecord], m[recordSize] = messages/float64(n), after.Each
	}
	return m, l.finish()
}

// logState asks for the log, if there is one.
func (s *session) logState(state *logSize) error {
	if s.server.apart {
		return nil
	}
	return s.server.askJSON("log 0", state)
}

// bareRate adds what bare JetStream does of records as large as the room's.
func (r *runner) bareRate(s *server, m metrics) error {
	bare, err := bareOf(s, r.server)
	if err != nil {
		return err
	}
	defer bare.stop()
	if m[bareMessages], m[bareCPU], err = bare.rate("publish", m); err != nil {
		return err
	}
	if m[readMessages], m[readCPU], err = bare.rate("read", m); err != nil {
		return err
	}
	m[rateRatio] = m[bareMessages] / m[messageRate]
	m[readRatio] = m[readMessages] / m[messageRate]
	return nil
}

// rate has bare clients do something, and returns how many of the room's messages a second
// that would be, and what CPU each takes, in µs.
func (p *process) rate(question string, m metrics) (messages, cpu float64, err error) {
	clock := func() time.Duration {
		used, failed := p.cpu()
		engine, failedToo := p.engine.ownClock()
		err = errors.Join(err, failed, failedToo)
		return used + engine
	}
	var wait sync.WaitGroup
	nodes := p.nodes()
	rates, errs := make([]bareRate, len(nodes)), make([]error, len(nodes))
	before := clock()
	for i, p := range nodes {
		wait.Go(func() { errs[i] = p.askJSON(fmt.Sprintf("%s %d", question, int(m[recordSize])), &rates[i]) })
	}
	wait.Wait()
	used, records := clock()-before, 0.0
	for _, rate := range rates {
		records += rate.Records
		messages += rate.Records / rate.Seconds * m[perRecord]
	}
	return messages, used.Seconds() * 1e6 / (records * m[perRecord]), errors.Join(append(errs, err)...)
}

var nodesFloodWork = &work{
	name:  "nodesflood",
	title: "Flood over three processes",
	about: "Flood of lines of 64 bytes to so many receivers in each of three processes, and to so many in a room by itself. " +
		"CPU a delivery is that of the processes that have members; the engine's is beside it.",
	counted: "receivers a process",
	full:    []int{3000},
	quick:   []int{300},
	takes:   oneOf(tcproomServer, tcproom3NATSServer, natsHubsServer),
	columns: append(slices.Clone(floodColumns), value("engine, µs a delivery", enginePerDelivery, digits(4))),
	measure: func(r *runner, s step) (outcome, error) {
		cfg := loadConfig{size: r.lineSize(smallLine), receivers: s.size * max(s.server.nodes, 1), inFlight: r.window}
		return r.session(s.server, cfg, func(ses *session) (metrics, error) {
			return nodesFlood{flood{window: r.window, duration: r.duration}}.measure(ses)
		})
	},
}

const enginePerDelivery = "engine_cpu_us_per_delivery"

type nodesFlood struct{ flood flood }

// measure is that of a flood, with the engine's clock from the end of the warm-up on.
func (w nodesFlood) measure(s *session) (metrics, error) {
	if s.server.engine == nil {
		return w.flood.measure(s)
	}
	before, err := s.server.engine.ownClock()
	if err != nil {
		return nil, err
	}
	received := s.load.received
	m, err := w.flood.measure(s)
	if err != nil {
		return m, err
	}
	after, err := s.server.engine.ownClock()
	m[enginePerDelivery] = (after - before).Seconds() * 1e6 / (float64(s.load.received-received) / float64(s.load.frame))
	return m, err
}

const (
	resumed      = "resumed"
	notResumed   = "not_resumed"
	resumedP50   = "resumed_p50_ms"
	resumedLast  = "resumed_last_ms"
	leavesTold   = "leaves_told"
	eventsMissed = "events_missed"
	eventsTwice  = "events_twice"
)

var nodeDownWork = &work{
	name:  "nodedown",
	title: "A process is killed",
	about: "So many clients of this library, with sessions and the addresses of all processes, in each of three processes, to whom ten messages a second are said. One process is killed with SIGKILL. " +
		"Until others have declared it dead: how many of its clients have resumed, when the last had its welcome, and what all clients were told of leaves, did not get or got twice.",
	counted: "members a process",
	full:    []int{3000},
	quick:   []int{300},
	takes:   only(tcproom3JSONServer),
	columns: []column{
		value("resumed", resumed, digits(0)),
		{title: "not", metric: notResumed, format: digits(0), spread: true},
		value("median, ms", resumedP50, digits(0)),
		{title: "the last, ms", metric: resumedLast, format: digits(0), spread: true},
		{title: "leaves told", metric: leavesTold, format: digits(0), spread: true},
		{title: "messages missed", metric: eventsMissed, format: digits(0), spread: true},
		{title: "got twice", metric: eventsTwice, format: digits(0), spread: true},
	},
	measure: func(r *runner, s step) (outcome, error) {
		// Another node declares it dead after a lease and what it takes to look.
		w := nodeDown{members: s.size, rate: 10, before: time.Second, after: nodeLease + 3*time.Second}
		m, err := w.measure(s.server.name, r.server)
		return outcome{metrics: m}, err
	},
}

// nodeDown is the work in which one of three processes is killed.
type nodeDown struct {
	members       int // of each process
	rate          int // messages a second
	before, after time.Duration
}

// A survivor is a client that looks at what it gets.
type survivor struct {
	client   *tcproom.Client
	id       string
	messages int // of the speaker
	twice    int
	missed   int
	leaves   int
	welcomes int
	outcome  string // of the last welcome
	resumed  time.Duration
	losses   int
	lost     string // why it was cut last, or could not connect
}

// heed takes note of an event. killed is when the process was; zero: it lives.
func (s *survivor) heed(ev *tcproom.Event, killed time.Time) {
	switch ev.Kind {
	case tcproom.Welcome:
		s.welcomes++
		s.id = ev.From.ID
		s.outcome = ev.Welcome.Outcome
		if !killed.IsZero() {
			s.resumed = time.Since(killed)
		}
	case tcproom.Message:
		n, err := strconv.Atoi(string(ev.Body))
		switch {
		case err != nil:
		case n <= s.messages:
			s.twice++
		default:
			s.missed += n - s.messages - 1
			s.messages = n
		}
	case tcproom.Leave:
		s.leaves++
	case tcproom.Lost:
		s.losses++
		s.lost = ev.End.Error()
	}
}

func (w nodeDown) measure(server string, cpus []int) (metrics, error) {
	p, err := startServer(server, cpus, loadConfig{})
	if err != nil {
		return nil, err
	}
	defer p.stop()
	list, err := p.addrs()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mu sync.Mutex // guards what clients have noted
	var killed time.Time
	connect := func(at int, s *survivor) {
		addrs := make([]string, len(list))
		for i := range list {
			addrs[i] = list[(at+i)%len(list)].String()
		}
		s.client = tcproom.NewClient(ctx, addrs[0], tcproom.Addresses(addrs[1:]...), tcproom.WithFraming(tcproom.Lines{}), tcproom.WithCodec(tcproom.JSON{}),
			tcproom.OnEvent(func(ev tcproom.Event) {
				mu.Lock()
				defer mu.Unlock()
				s.heed(&ev, killed)
			}))
	}
	all := make([]survivor, w.members*len(list))
	for i := range all {
		connect(i%len(list), &all[i])
		if i%300 == 299 || i == len(all)-1 {
			if err := p.awaitMembers(i + 1); err != nil {
				return nil, err
			}
		}
	}
	speaker := new(survivor)
	connect(1, speaker)
	if err := p.awaitMembers(len(all) + 1); err != nil {
		return nil, err
	}
	said := 0
	talk := func(d time.Duration) error {
		start := time.Now()
		for i := 0; time.Since(start) < d; i++ {
			said++
			if err := speaker.client.Send(ctx, strconv.AppendInt(nil, int64(said), 10)); err != nil {
				return err
			}
			time.Sleep(time.Until(start.Add(time.Duration(i+1) * time.Second / time.Duration(w.rate))))
		}
		return nil
	}
	if err := talk(w.before); err != nil {
		return nil, err
	}
	victim := p.others[1]
	var dead []string
	if err := victim.askJSON("here 0", &dead); err != nil {
		return nil, err
	}
	mu.Lock()
	killed = time.Now()
	mu.Unlock()
	if err := victim.cmd.Process.Kill(); err != nil {
		return nil, err
	}
	if err := talk(w.after); err != nil {
		return nil, err
	}
	w.settle(all, &mu, said)
	mu.Lock()
	defer mu.Unlock()
	return w.verdict(all, said, dead)
}

// settle waits until all have what was said, or nothing has come for a while.
func (w nodeDown) settle(all []survivor, mu *sync.Mutex, said int) {
	const patience = 5 * time.Second
	for before, since := -1, time.Now(); time.Since(since) < patience; time.Sleep(50 * time.Millisecond) {
		mu.Lock()
		sum := 0
		for i := range all {
			sum += all[i].messages
		}
		mu.Unlock()
		if sum == said*len(all) {
			return
		}
		if sum != before {
			before, since = sum, time.Now()
		}
	}
}

// verdict is what became of all; dead are the IDs of those whose process was killed.
func (w nodeDown) verdict(all []survivor, said int, dead []string) (metrics, error) {
	m := metrics{leavesTold: 0, eventsMissed: 0, eventsTwice: 0}
	var times []float64
	cut := make(map[string]bool)
	for _, id := range dead {
		cut[id] = true
	}
	others := map[string]int{}
	for i := range all {
		s := &all[i]
		m[leavesTold] += float64(s.leaves)
		m[eventsMissed] += float64(s.missed + said - s.messages)
		m[eventsTwice] += float64(s.twice)
		again := s.welcomes == 2 && s.outcome == "resumed"
		switch {
		case !cut[s.id] && s.welcomes == 1:
		case cut[s.id] && again:
			times = append(times, ms(s.resumed))
		default: // one that joined anew has another ID
			others[fmt.Sprintf("cut %v, %d welcomes, the last %q, %d losses, the last %s", cut[s.id], s.welcomes, s.outcome, s.losses, s.lost)]++
		}
	}
	m[resumed], m[notResumed] = float64(len(times)), float64(len(dead)-len(times))
	if len(times) > 0 {
		m[resumedP50], m[resumedLast] = median(times), slices.Max(times)
	}
	if len(others) > 0 {
		b, _ := json.Marshal(others)
		return m, behindError(fmt.Sprintf("of some became something else: %s", b))
	}
	return m, nil
}

const joinSeconds = "joins_seconds"

var logJoinsWork = &work{
	name:    "logjoins",
	title:   "Joins at once over three processes",
	about:   "Connections made as fast as they are taken, at most 2,000 of which are not counted yet; joins are told together every 250 ms; nothing but the generator is bound to a core. The time until every process counts all of them, and the CPU of those that have members.",
	counted: "joins",
	full:    []int{9000},
	quick:   []int{600},
	fixed:   true,
	takes:   oneOf(tcproomJoinsServer, tcproomLogJoinsServer, tcproom3JoinsServer),
	columns: []column{
		{title: "seconds", metric: joinSeconds, format: digits(2), spread: true},
		{title: "CPU, µs a join", metric: cpuPerJoin, format: digits(0), spread: true},
		value("joins a record", perRecord, digits(1)),
		value("told, bytes a member", noticeBytes, digits(0)),
		value("nodes busy", serverBusy, percent),
		value("engine busy", engineShare, percent),
		value("generator busy", generatorBusy, percent),
	},
	measure: func(r *runner, s step) (outcome, error) {
		// Three processes on one core would be a third of what they are.
		m, err := measureLogJoins(s.server.name, r.all, s.size)
		return outcome{metrics: m}, err
	},
}

func measureLogJoins(server string, cpus []int, n int) (metrics, error) {
	p, err := startServer(server, cpus, loadConfig{})
	if err != nil {
		return nil, err
	}
	defer p.stop()
	if err := enoughDescriptors(n); err != nil {
		return nil, err
	}
	c, err := newCrowd(p)
	if err != nil {
		return nil, err
	}
	defer c.close()
	s := &session{server: p, load: &load{start: time.Now(), frame: 1}}
	from, err := s.read()
	if err != nil {
		return nil, err
	}
	engine := func() (time.Duration, error) {
		if p.engine == nil {
			return 0, nil
		}
		return p.engine.ownClock()
	}
	used, err := engine()
	if err != nil {
		return nil, err
	}
	for i := range n {
		if err := c.join(); err != nil {
			return nil, err
		}
		if i%50 == 49 {
			if err := c.read(0); err != nil {
				return nil, err
			}
		}
		if i%(uncountedInFlight/2) == 0 {
			if err := c.await(p, i-uncountedInFlight/2); err != nil {
				return nil, err
			}
		}
	}
	if err := c.await(p, n); err != nil {
		return nil, err
	}
	m, err := s.since(from)
	if err != nil {
		return nil, err
	}
	after, err := engine()
	if err != nil {
		return nil, err
	}
	if err := c.read(500 * time.Millisecond); err != nil { // what waits is told
		return nil, err
	}
	told := float64(c.bytes)
	if least := float64(n) * float64(n-1) / 2 * float64(len("* x joined\n")); told < least {
		return nil, fmt.Errorf("members were sent %.0f bytes for %d joins, fewer than %.0f", told, n, least)
	}
	joins := metrics{
		joinSeconds: m[seconds], serverBusy: m[serverBusy], generatorBusy: m[generatorBusy], seconds: m[seconds],
		engineShare: (after - used).Seconds() / m[seconds],
		cpuPerJoin:  m[serverBusy] * m[seconds] * 1e6 / float64(n), noticeBytes: told / float64(n),
	}
	if p.engine != nil {
		var log logSize
		if err := s.logState(&log); err != nil {
			return nil, err
		}
		joins[perRecord] = float64(n) / float64(log.Records)
	}
	return joins, nil
}

// await reads until p counts n members.
func (c *crowd) await(p *process, n int) error {
	for since := time.Now(); n > 0; {
		got, err := p.memberCount()
		if err != nil || got >= n {
			return err
		}
		if time.Since(since) > answerTimeout {
			return fmt.Errorf("server %s has %d members, not %d, after %v", p.name, got, n, answerTimeout)
		}
		if err := c.read(5 * time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

const (
	remoteBytes     = "heap_per_remote_member"
	quietLogBytes   = "bytes_per_quiet_room_with_log"
	quietLogOurs    = "goroutines_per_quiet_room_with_log"
	quietLogOthers  = "other_goroutines_per_quiet_room_with_log"
	quietLogsOpened = 50
)

var logMemoryWork = &work{
	name:  "logmemory",
	title: "Memory of a room with a log",
	about: "Bytes of heap of a member with a session that is connected to another process, of so many for whom nobody has asked. Heap and stacks of a room on JetStream in which nobody is, and its goroutines, of 50 in a hub: " +
		"the client of the engine included.",
	counted: "remote members",
	full:    []int{3000},
	quick:   []int{500},
	fixed:   true,
	most:    1,
	takes:   oneOf(tcproomLogServer, tcproomNATSServer),
	columns: []column{
		value("bytes of a remote member", remoteBytes, digits(0)),
		value("bytes of a quiet room", quietLogBytes, digits(0)),
		value("its goroutines", quietLogOurs, digits(2)),
		value("the engine client's", quietLogOthers, digits(2)),
	},
	measure: func(r *runner, s step) (outcome, error) {
		if s.server == tcproomLogServer {
			var got remoteMemory
			err := r.ask(s, "remote", &got)
			return outcome{metrics: metrics{remoteBytes: got.Member}}, err
		}
		var got quietLogs
		s.size = min(quietLogsOpened, s.size)
		err := r.ask(s, "quietlogs", &got)
		return outcome{metrics: metrics{quietLogBytes: got.Bytes, quietLogOurs: got.Ours, quietLogOthers: got.Others}}, err
	},
}

// clusterGoals are those of one room over several processes.
func clusterGoals() []goal {
	return []goal{
		{tcproomLogServer, logFloodWork, 1000, cpuPerDelivery, tcproomServer, 0, 1.1},
		{tcproomNATSServer, logLatencyWork, 1, addedRatio, nil, 0, 3},
		{tcproomNATSServer, logLatencyWork, 1, addedTail, nil, 0, 5},
		{tcproomNATSFileServer, logLatencyWork, 1, addedRatio, nil, 0, 3},
		{tcproomNATSFileServer, logLatencyWork, 1, addedTail, nil, 0, 5},
		{tcproom3NATSServer, logRateWork, 48, rateRatio, nil, 0, 2},
		{tcproom3NATSFileServer, logRateWork, 48, rateRatio, nil, 0, 2},
		{tcproom3NATSServer, logRateWork, 768, rateRatio, nil, 0, 2},
		{tcproom3NATSFileServer, logRateWork, 768, rateRatio, nil, 0, 2},
		{tcproom3NATSServer, nodesFloodWork, 3000, cpuPerDelivery, tcproomServer, 0, 1.15},
		{tcproom3JSONServer, nodeDownWork, 3000, notResumed, nil, 0, 0},
		{tcproom3JSONServer, nodeDownWork, 3000, leavesTold, nil, 0, 0},
		{tcproom3JSONServer, nodeDownWork, 3000, eventsMissed, nil, 0, 0},
		{tcproom3JSONServer, nodeDownWork, 3000, eventsTwice, nil, 0, 0},
		{tcproom3JoinsServer, logJoinsWork, 9000, joinSeconds, tcproomJoinsServer, 0, 2},
		{tcproomLogServer, logMemoryWork, 3000, remoteBytes, nil, 0, 250},
		{tcproomNATSServer, logMemoryWork, 3000, quietLogBytes, nil, 0, 60_000},
		{tcproomNATSServer, logMemoryWork, 3000, quietLogOurs, nil, 0, 2},
	}
}
