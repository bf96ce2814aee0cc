package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A result is what the run found, as -json prints it.
type result struct {
	OK          bool    `json:"ok"`          // nothing went wrong
	Interrupted bool    `json:"interrupted"` // by a signal
	Run         string  `json:"run"`
	Addr        string  `json:"addr"`
	Speaks      string  `json:"speaks"`
	Room        string  `json:"room,omitempty"`
	Members     int     `json:"members"`
	Senders     int     `json:"senders"`
	Size        int     `json:"size"`
	Rate        float64 `json:"rate"`   // asked for; 0: none
	Window      int     `json:"window"` // 0: none
	Sent        uint64  `json:"sent"`
	SendSeconds float64 `json:"send_seconds"`
	Received    uint64  `json:"received"` // deliveries, each counted once
	RecvSeconds float64 `json:"receive_seconds"`
	Delivery    latency `json:"delivery_ms"`
	LastMember  latency `json:"last_member_ms"`
	Faults      faults  `json:"faults"`
}

// A latency is quantiles in milliseconds.
type latency struct {
	Count int64   `json:"count"`
	Min   float64 `json:"min"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
}

func newLatency(h *hdrhistogram.Histogram) latency {
	if h.TotalCount() == 0 {
		return latency{}
	}
	ms := func(ns int64) float64 { return float64(ns) / 1e6 }
	return latency{
		h.TotalCount(), ms(h.Min()), h.Mean() / 1e6,
		ms(h.ValueAtQuantile(50)), ms(h.ValueAtQuantile(90)), ms(h.ValueAtQuantile(99)), ms(h.ValueAtQuantile(99.9)), ms(h.Max()),
	}
}

// result returns what was found. All connections must have ended.
func (r *run) result(interrupted bool) *result {
	f := r.checker.close()
	res := &result{
		OK: !f.any(), Interrupted: interrupted,
		Run: r.id, Addr: r.cfg.addr, Speaks: r.cfg.spoken, Room: r.cfg.room,
		Members: r.cfg.members, Senders: r.cfg.senders, Size: r.cfg.size, Rate: r.cfg.rate,
		SendSeconds: float64(r.lastSent-r.first) / 1e9,
		RecvSeconds: float64(max(r.checker.last.Load()-r.first, 0)) / 1e9,
		Received:    uint64(r.checker.delivery.TotalCount()),
		Delivery:    newLatency(r.checker.delivery),
		LastMember:  newLatency(r.checker.all),
		Faults:      f,
	}
	if r.cfg.rate == 0 {
		res.Window = r.cfg.window
	}
	for _, m := range r.members[:r.cfg.senders] {
		res.Sent += m.taken
	}
	return res
}

func (res *result) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(res)
}

func (res *result) writeTable(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	room := res.Addr
	if res.Room != "" {
		room += " " + res.Room
	}
	fmt.Fprintf(t, "room\t%s (%s), %s members, of which %s send\n", room, res.Speaks, thousands(uint64(res.Members)), thousands(uint64(res.Senders)))
	how := fmt.Sprintf("at most %d of a sender on their way", res.Window)
	if res.Rate > 0 {
		how = fmt.Sprintf("at a rate of %s a second", strconv.FormatFloat(res.Rate, 'f', -1, 64))
	}
	fmt.Fprintf(t, "sent\t%s messages of %s bytes, %s\n", thousands(res.Sent), thousands(uint64(res.Size)), how)
	fmt.Fprintf(t, "\tin %.3f s: %s a second\n", res.SendSeconds, perSecond(res.Sent, res.SendSeconds))
	fmt.Fprintf(t, "received\t%s in %.3f s: %s a second\n", thousands(res.Received), res.RecvSeconds, perSecond(res.Received, res.RecvSeconds))
	t.Flush()
	b.WriteString("\n")
	t = tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "milliseconds\tmin\tmean\t50 %%\t90 %%\t99 %%\t99.9 %%\tmax\t\n")
	for _, row := range []struct {
		name string
		l    latency
	}{{"to each member", res.Delivery}, {"to the last member", res.LastMember}} {
		fmt.Fprintf(t, "%s\t", row.name)
		for _, v := range []float64{row.l.Min, row.l.Mean, row.l.P50, row.l.P90, row.l.P99, row.l.P999, row.l.Max} {
			fmt.Fprintf(t, "%s\t", milliseconds(int64(v*1e6)))
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	b.WriteString("\n")
	if res.Interrupted {
		b.WriteString("interrupted: this is what was measured until then\n")
	}
	b.WriteString(res.verdict())
	_, err := io.WriteString(w, b.String())
	return err
}

// verdict says in words what went wrong.
func (res *result) verdict() string {
	f := &res.Faults
	if res.OK {
		return "checked: nothing was lost, doubled, damaged or out of order\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "FAULTS: lost %s, doubled %s, late %s, in another order %s, damaged %s, skipped by gaps %s, refused %s, members ended %d\n",
		thousands(f.Lost), thousands(f.Doubled), thousands(f.Late), thousands(f.Crossed), thousands(f.Damaged), thousands(f.Skipped), thousands(f.Refused), f.Ended)
	for _, what := range f.What {
		fmt.Fprintf(&b, "  %s\n", what)
	}
	return b.String()
}

func perSecond(n uint64, seconds float64) string {
	if seconds <= 0 {
		return "–"
	}
	return thousands(uint64(float64(n) / seconds))
}

// milliseconds returns a time to three digits or so.
func milliseconds(ns int64) string {
	ms := float64(ns) / 1e6
	switch {
	case ms >= 100:
		return fmt.Sprintf("%.0f", ms)
	case ms >= 1:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.3f", ms)
}
