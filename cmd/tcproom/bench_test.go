//go:build unix

package main

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A benchResult is what bench -json prints, as far as the tests look at it.
type benchResult struct {
	OK, Interrupted bool
	Sent, Received  int
	Delivery        struct{ Count, Min, P50, Max float64 } `json:"delivery_ms"`
	LastMember      struct{ Count float64 }                `json:"last_member_ms"`
	Faults          struct {
		Lost, Doubled, Late, Crossed, Damaged, Skipped, Ended, Refused int
		What                                                           []string
	}
}

// benching runs the command with -json.
func benching(t *testing.T, status int, args ...string) *benchResult {
	t.Helper()
	return resultOf(t, start(t, append([]string{"bench", "-json"}, args...)...), status)
}

func resultOf(t *testing.T, p *process, status int) *benchResult {
	t.Helper()
	out, errs := rest(t, p.out), rest(t, p.err)
	require.Equal(t, status, p.status(), "%s%s", out, errs)
	res := new(benchResult)
	require.NoError(t, json.Unmarshal([]byte(out), res), "%s%s", out, errs)
	return res
}

// TestBenchRooms: rooms that do what they promise, spoken to in every way.
func TestBenchRooms(t *testing.T) {
	for _, tt := range []struct{ name, serve, bench string }{
		{name: "text"},
		{name: "raw", serve: "-codec raw", bench: "-codec raw"},
		{name: "json", serve: "-framing length4 -codec json", bench: "-framing length4 -codec json"},
		{name: "names", serve: "-ask-name", bench: "-ask-name"},
		{name: "hub by text", serve: "-rooms", bench: "-room kitchen"},
		{name: "hub by json", serve: "-rooms -codec json", bench: "-room kitchen -codec json"},
		{name: "hub without a room", serve: "-rooms -codec json", bench: "-codec json"},
		{name: "history", serve: "-history 100"},
		{name: "rate", bench: "-rate 2000"},
		{name: "large", bench: "-size 5000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, addr := serving(t, append([]string{"-log", "off"}, strings.Fields(tt.serve)...)...)
			args := append(strings.Fields(tt.bench), "-members", "5", "-senders", "2", "-messages", "401", addr)
			res := benching(t, 0, args...)
			require.True(t, res.OK, "%v", res.Faults)
			require.False(t, res.Interrupted)
			require.Equal(t, 401, res.Sent)
			require.Equal(t, 401*4, res.Received)
			require.EqualValues(t, 401*4, res.Delivery.Count)
			require.EqualValues(t, 401, res.LastMember.Count)
			require.Positive(t, res.Delivery.Min)
			require.LessOrEqual(t, res.Delivery.P50, res.Delivery.Max)
			require.Empty(t, res.Faults.What)
		})
	}
}

func TestBenchTable(t *testing.T) {
	t.Parallel()
	_, addr := serving(t, "-log", "off")
	p := start(t, "bench", "-messages", "50", addr)
	out := rest(t, p.out)
	require.Zero(t, p.status())
	require.Contains(t, out, "room      "+addr+" (lines, text), 10 members, of which 1 send\n")
	require.Contains(t, out, "sent      50 messages of 64 bytes, at most 128 of a sender on their way\n")
	require.Contains(t, out, "received  450 in ")
	require.Regexp(t, `(?m)^ *to the last member( +[0-9.]+){7}$`, out)
	require.Contains(t, out, "checked: nothing was lost, doubled, damaged or out of order\n")
}

// TestBenchInterrupted: what was measured is printed, and the progress before it.
func TestBenchInterrupted(t *testing.T) {
	t.Parallel()
	_, addr := serving(t, "-log", "off")
	p := start(t, "bench", "-json", "-rate", "500", "-duration", "1h", addr)
	require.Regexp(t, `^ +1 s  sent \d+  received [1-9][0-9,]* \([0-9,]+/s\)  99 % in [0-9.]+ ms  ok$`, p.errLine())
	p.signal(os.Interrupt)
	res := resultOf(t, p, 0)
	require.True(t, res.OK)
	require.True(t, res.Interrupted)
	require.Positive(t, res.Sent)
	require.Equal(t, res.Sent*9, res.Received)
}

// TestBenchServerStops: members whose connections end are told of.
func TestBenchServerStops(t *testing.T) {
	t.Parallel()
	s, addr := serving(t, "-log", "off")
	p := start(t, "bench", "-json", "-rate", "500", "-duration", "1h", "-members", "3", addr)
	p.errLine()
	s.signal(os.Interrupt)
	res := resultOf(t, p, 1)
	require.False(t, res.OK)
	require.Positive(t, res.Faults.Ended, "the run ends with the first")
	require.Contains(t, fmt.Sprint(res.Faults.What), "its connection ended: ")
	require.Contains(t, fmt.Sprint(res.Faults.What), "room closed")
}

// A relay is a server that sends each line to all others, by a rule that may be bad. The
// first line of a member, its name, ends with its number.
type relay struct {
	rule func(r *relay, from, to, sender, number int, line string)
	end  func(r *relay, member int) // called when a member has said its last; or nil

	mu      sync.Mutex // guards what follows; held while lines are written
	members map[int]net.Conn
	held    map[int]string // of members, for rules
}

// relaying starts a relay. The rule is called for each numbered message and each
// member that is to get it.
func relaying(t *testing.T, rule func(r *relay, from, to, sender, number int, line string), end func(r *relay, member int)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{rule: rule, end: end, members: make(map[int]net.Conn), held: make(map[int]string)}
	var all sync.WaitGroup
	all.Go(func() { r.accept(l, &all) })
	t.Cleanup(func() {
		l.Close()
		r.mu.Lock()
		for _, nc := range r.members {
			nc.Close()
		}
		r.mu.Unlock()
		all.Wait() // those without a name ended with the program
	})
	return l.Addr().String()
}

func (r *relay) accept(l net.Listener, all *sync.WaitGroup) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		all.Go(func() { r.read(nc) })
	}
}

func (r *relay) read(nc net.Conn) {
	defer nc.Close()
	lines := bufio.NewScanner(nc)
	lines.Scan()
	name := lines.Text()
	from, err := strconv.Atoi(name[strings.LastIndexByte(name, '-')+1:])
	if err != nil {
		return
	}
	r.mu.Lock()
	r.members[from] = nc
	r.mu.Unlock()
	for lines.Scan() {
		r.relay(from, lines.Text())
	}
	if r.end != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.end(r, from)
	}
}

func (r *relay) relay(from int, line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	parts := strings.Split(line, ":") // ~run:sender:number:due:xxx
	sender, _ := strconv.Atoi(parts[1])
	number, _ := strconv.Atoi(parts[2])
	for to := range r.members {
		switch {
		case to == from:
		case number == 0:
			r.write(to, line) // who is there?
		default:
			r.rule(r, from, to, sender, number, line)
		}
	}
}

func (r *relay) write(to int, lines ...string) {
	for _, line := range lines {
		fmt.Fprintln(r.members[to], line)
	}
}

// TestBenchBadServers: what a server does wrong is reported, with what and where.
func TestBenchBadServers(t *testing.T) {
	good := func(r *relay, from, to, sender, number int, line string) { r.write(to, line) }
	for _, tt := range []struct {
		name   string
		rule   func(r *relay, from, to, sender, number int, line string)
		end    func(r *relay, member int)
		status int
		want   benchResult // its Faults
		what   []string
	}{
		{name: "none", rule: good},
		{name: "echo", rule: func(r *relay, from, to, sender, number int, line string) {
			if to == (from+1)%4 {
				r.write(from, line)
			}
			r.write(to, line)
		}},
		{name: "loses", status: 1, rule: func(r *relay, from, to, sender, number int, line string) {
			if to != 2 || sender != 1 || number < 5 || number > 7 {
				r.write(to, line)
			}
		}, want: faultsOf(3, 0, 0, 0, 0, 0), what: []string{"member 2 did not receive messages 5 to 7 of sender 1"}},
		{name: "loses the last", status: 1, rule: func(r *relay, from, to, sender, number int, line string) {
			if to != 3 || sender != 0 || number != 50 {
				r.write(to, line)
			}
		}, want: faultsOf(1, 0, 0, 0, 0, 0), what: []string{"member 3 did not receive message 50 of sender 0"}},
		{name: "doubles", status: 1, rule: func(r *relay, from, to, sender, number int, line string) {
			r.write(to, line)
			if to == 0 && number == 9 {
				r.write(to, line)
			}
		}, want: faultsOf(0, 1, 0, 0, 0, 0), what: []string{"member 0 received message 9 of sender 1 twice"}},
		{name: "doubles the last", status: 1, rule: func(r *relay, from, to, sender, number int, line string) {
			r.write(to, line)
			if number == 50 {
				r.write(to, line)
			}
		}, want: faultsOf(0, 6, 0, 0, 0, 0), what: []string{" received message 50 of sender 0 twice", " received message 50 of sender 1 twice", "and 1 more like it (doubled)"}},
		{name: "doubles when all are leaving", status: 1, rule: func(r *relay, from, to, sender, number int, line string) {
			r.held[to] = line
			r.write(to, line)
		}, end: func(r *relay, member int) {
			if member == 2 {
				r.write(member, r.held[member])
			}
		}, want: faultsOf(0, 1, 0, 0, 0, 0), what: []string{"member 2 received message 50 of sender "}},
		{name: "reorders", status: 1, rule: func(r *relay, from, to, sender, number int, line string) {
			switch {
			case to == 2 && sender == 0 && number == 5:
				r.held[to] = line
			case to == 2 && sender == 0 && number == 6:
				r.write(to, line, r.held[to])
			default:
				r.write(to, line)
			}
		}, want: faultsOf(0, 0, 1, 0, 0, 0), what: []string{"member 2 received message 5 of sender 0 after its message 6"}},
		{name: "reorders at the reference", status: 1, rule: func(r *relay, from, to, sender, number int, line string) {
			switch {
			case to == 3 && sender == 0 && number == 5:
				r.held[to] = line
			case to == 3 && sender == 0 && number == 6:
				r.write(to, line, r.held[to])
			default:
				r.write(to, line)
			}
		}, want: faultsOf(0, 0, 1, 0, 0, 0), what: []string{"member 3 received message 5 of sender 0 after its message 6"}},
		{name: "has two orders", status: 1, rule: func(r *relay, from, to, sender, number int, line string) {
			// Member 2 gets two neighbours of different senders the wrong way round, once.
			held := r.held[to]
			switch {
			case to != 2 || held == "done":
				r.write(to, line)
			case held == "":
				r.held[to] = line
			case sameSender(held, line):
				r.write(to, held)
				r.held[to] = line
			default:
				r.write(to, line, held)
				r.held[to] = "done"
			}
		}, want: faultsOf(0, 0, 0, 1, 0, 0), what: []string{"and member 3 the other way round"}},
		{name: "damages", status: 1, rule: func(r *relay, from, to, sender, number int, line string) {
			if to == 1 && number == 9 {
				line = line[:len(line)-1] + "y"
			}
			r.write(to, line)
		}, want: faultsOf(0, 0, 0, 0, 1, 0), what: []string{"member 1 received message 9 of sender 0 with another body"}},
		{name: "makes up", status: 1, rule: func(r *relay, from, to, sender, number int, line string) {
			r.write(to, line)
			if to == 2 && sender == 0 && number == 9 {
				r.write(to, strings.Replace(line, ":0:9:", ":0:99999999999:", 1), strings.Replace(line, ":0:9:", ":77:9:", 1))
			}
		}, want: faultsOf(0, 0, 0, 0, 2, 0), what: []string{"number 99999999999 of sender 0", "number 9 of sender 77"}},
		{name: "skips", status: 1, rule: func(r *relay, from, to, sender, number int, line string) {
			if to == 2 && sender == 0 && number == 9 {
				line = "* 1 message skipped"
			}
			r.write(to, line)
		}, want: faultsOf(1, 0, 0, 0, 0, 1), what: []string{"member 2 was told of a gap of 1 events", "member 2 did not receive message 9 of sender 0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr := relaying(t, tt.rule, tt.end)
			res := benching(t, tt.status, "-members", "4", "-senders", "2", "-messages", "100", "-window", "4", "-wait", "1s", "-ask-name", addr)
			require.Equal(t, tt.status == 0, res.OK)
			what := strings.Join(res.Faults.What, "\n")
			for _, want := range tt.what {
				require.Contains(t, what, want)
			}
			res.Faults.What = nil
			require.Equal(t, tt.want.Faults, res.Faults, what)
		})
	}
}

// TestBenchStandsStill: a room that takes messages and passes none on any more is not
// waited for without an end.
func TestBenchStandsStill(t *testing.T) {
	t.Parallel()
	addr := relaying(t, func(r *relay, from, to, sender, number int, line string) {
		if number <= 5 {
			r.write(to, line)
		}
	}, nil)
	res := benching(t, 1, "-members", "3", "-messages", "100", "-window", "4", "-wait", "1s", "-ask-name", addr)
	require.False(t, res.Interrupted)
	require.EqualValues(t, 9, res.Sent)
	require.EqualValues(t, 8, res.Faults.Lost, res.Faults.What)
}

func sameSender(a, b string) bool {
	return strings.Split(a, ":")[1] == strings.Split(b, ":")[1]
}

func faultsOf(lost, doubled, late, crossed, damaged, skipped int) (r benchResult) {
	f := &r.Faults
	f.Lost, f.Doubled, f.Late, f.Crossed, f.Damaged, f.Skipped = lost, doubled, late, crossed, damaged, skipped
	return r
}

// TestBenchCutsMember: a member whose connection the server cuts is reported, and the
// others are checked all the same.
func TestBenchCutsMember(t *testing.T) {
	t.Parallel()
	addr := relaying(t, func(r *relay, from, to, sender, number int, line string) {
		if to == 1 && number == 20 {
			r.write(to, "* goodbye: too slow")
			r.members[to].Close()
			return
		}
		r.write(to, line)
	}, nil)
	p := start(t, "bench", "-members", "4", "-messages", "100", "-window", "4", "-ask-name", addr)
	out := rest(t, p.out)
	require.Equal(t, 1, p.status())
	require.Contains(t, out, "FAULTS: lost 81, doubled 0, late 0, in another order 0, damaged 0, skipped by gaps 0, refused 0, members ended 1\n")
	require.Contains(t, out, "  member 1: its connection ended: ")
	require.Contains(t, out, "too slow")
	require.Contains(t, out, "  member 1 did not receive messages 20 to 100 of sender 0\n")
	require.Contains(t, rest(t, p.err), "tcproom: bench: the room lost, doubled, damaged or reordered messages, or cut members\n")
}

func TestBenchWrongFlags(t *testing.T) {
	for _, tt := range []struct{ name, args, want string }{
		{name: "no address", args: "", want: "want one HOST:PORT"},
		{name: "no port", args: "localhost", want: "want HOST:PORT: address localhost: missing port"},
		{name: "all send", args: "-members 2 -senders 2 h:1", want: "-senders 2: want fewer than -members 2"},
		{name: "one member", args: "-members 1 h:1", want: "-members 1: want a number from 2"},
		{name: "small", args: "-size 10 h:1", want: "-size 10: want a number from "},
		{name: "both", args: "-messages 5 -duration 1s h:1", want: "-messages goes without -duration"},
		{name: "window and rate", args: "-window 5 -rate 1 h:1", want: "-window goes without -rate"},
		{name: "rate", args: "-rate NaN h:1", want: "-rate NaN: want a number"},
		{name: "room in raw", args: "-codec raw -room a h:1", want: "-room goes with codec text or json"},
		{name: "bad room", args: "-room A h:1", want: "-room: tcproom: invalid name of a room"},
		{name: "name in json", args: "-codec json -ask-name h:1", want: "-ask-name goes with codec text only"},
		{name: "no wait", args: "-wait 0s h:1", want: "-wait 0s is not positive"},
		{name: "no file", args: "-tls-ca nosuch.pem h:1", want: "-tls-ca: open nosuch.pem"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, append([]string{"bench"}, strings.Fields(tt.args)...)...)
			got := rest(t, p.err)
			require.Equal(t, 2, p.status(), got)
			require.Contains(t, got, "tcproom: bench: "+tt.want)
			require.Equal(t, 1, strings.Count(got, "\n"))
		})
	}
}

// TestBenchNobodyThere: a run that cannot begin says why.
func TestBenchNobodyThere(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.Close()
	p := start(t, "bench", l.Addr().String())
	require.Regexp(t, `^tcproom: bench: member \d: `, rest(t, p.err))
	require.Equal(t, 1, p.status())
	_, addr := serving(t, "-log", "off", "-codec", "json")
	p = start(t, "bench", addr)
	require.Regexp(t, `^tcproom: bench: member \d, before the first message: `, rest(t, p.err))
	require.Equal(t, 1, p.status())
}

// certificate returns the files of a certificate for 127.0.0.1 and of its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	srv := httptest.NewTLSServer(nil) // has one
	defer srv.Close()
	pair := srv.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	write := func(name, kind string, b []byte) string {
		name = filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
		return name
	}
	return write("cert.pem", "CERTIFICATE", pair.Certificate[0]), write("key.pem", "PRIVATE KEY", der)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	p, addr := serving(t, "-log", "off", "-tls-cert", cert, "-tls-key", key, "-http", "127.0.0.1:0")
	require.Regexp(t, "^open https://127.0.0.1:[0-9]+/$", p.errLine())
	require.True(t, benching(t, 0, "-tls-ca", cert, "-messages", "100", addr).OK)
	b := start(t, "bench", "-tls", addr)
	require.Regexp(t, `^tcproom: bench: member \d: .*certificate`, rest(t, b.err))
	require.Equal(t, 1, b.status())
}
