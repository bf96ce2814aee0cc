package fake

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// A status is what GET /status answers.
type status struct {
	State        string             `json:"state"` // held, waiting or failed
	Held         bool               `json:"held"`
	Life         int                `json:"life"`
	Events       int                `json:"events"`
	Expectations []expectStatus     `json:"expectations"`
	Failures     []failure          `json:"failures"`
	Connections  []connectionStatus `json:"connections"`
	Bots         []string           `json:"bots"`
}

type expectStatus struct {
	At    string `json:"at"`
	What  string `json:"what"`
	State string `json:"state"`
}

type connectionStatus struct {
	Number int    `json:"number"`
	From   string `json:"from"`
	Name   string `json:"name"` // of the member that it is; empty: it is none, or not any more
}

// status returns what there is to know of the stage.
func (s *stage) status(life int) *status {
	events := s.transcript().Len()
	names := make(map[string]string)
	for m := range s.srv.Room.Members() {
		if addr := m.RemoteAddr(); addr != nil {
			names[addr.String()] = m.Name()
		}
	}
	st := &status{Life: life, Events: events, State: stateHeld,
		Expectations: []expectStatus{}, Connections: []connectionStatus{}, Bots: []string{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.bots {
		if key.name != "*" {
			st.Bots = append(st.Bots, key.name)
		}
	}
	slices.Sort(st.Bots)
	st.Failures = append([]failure{}, s.failures...)
	for i, e := range s.script.expect {
		st.Expectations = append(st.Expectations, expectStatus{s.at(e), e.String(), s.states[i]})
		if s.states[i] != stateHeld {
			st.State = stateWaiting
		}
	}
	if len(st.Failures) > 0 {
		st.State = stateFailed
	}
	st.Held = st.State == stateHeld
	for _, c := range s.conns {
		name := ""
		if s.byAddr[c.addr] == c {
			name = names[c.addr]
		}
		st.Connections = append(st.Connections, connectionStatus{c.number, c.addr, name})
	}
	return st
}

// MarshalJSON writes the event as the codec JSON does, with its number first.
func (e entry) MarshalJSON() ([]byte, error) {
	ev := e.ev
	b, err := tcproom.JSON{}.AppendEvent(nil, &ev)
	if err != nil {
		return nil, fmt.Errorf("event %d: %w", e.n, err)
	}
	return append(strconv.AppendInt([]byte(`{"n":`), int64(e.n), 10), append([]byte{','}, b[1:]...)...), nil
}

// jsonLines is a transcript after the first n events, a line for each.
func jsonLines(tr *roomtest.Transcript, n int) ([]byte, error) {
	var out []byte
	for _, e := range entries(tr, min(n, tr.Len())) {
		b, err := e.MarshalJSON()
		if err != nil {
			return nil, err
		}
		out = append(append(out, b...), '\n')
	}
	return out, nil
}

// An answer is what POST /expect answers.
type answer struct {
	Held    bool    `json:"held"`
	Events  []entry `json:"events"`
	Missing string  `json:"missing,omitempty"`
	Why     string  `json:"why,omitempty"`
	Nearest *entry  `json:"nearest,omitempty"`
	Passed  []entry `json:"passed,omitempty"`
	Text    string  `json:"text,omitempty"`
	Next    int     `json:"next"`
}

func (o *outcome) answer() *answer {
	a := &answer{Held: o.held, Events: append([]entry{}, o.came...), Missing: o.missing, Why: o.why, Nearest: o.nearest, Next: o.next}
	if !o.held {
		a.Text = o.String()
		a.Passed = o.passed[:min(len(o.passed), shownEntries)]
	}
	return a
}

// A ready is the line on standard output.
type ready struct {
	Event       string   `json:"event"`
	Addr        string   `json:"addr"`
	Host        string   `json:"host"`
	Port        int      `json:"port"`
	Control     string   `json:"control"`
	Rooms       []string `json:"rooms"`
	Speaks      string   `json:"speaks"`
	Life        int      `json:"life"`
	Pid         int      `json:"pid"`
	Certificate string   `json:"certificate,omitempty"`
}

func splitAddr(addr net.Addr) (host string, port int) {
	host, text, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String(), 0
	}
	port, _ = strconv.Atoi(text)
	return host, port
}

func toJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		b, _ = json.Marshal(map[string]string{"error": err.Error()})
	}
	return append(b, '\n')
}
