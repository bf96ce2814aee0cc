//go:build linux

package main

import (
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	_ "gonum.org/v1/plot/vg/vgsvg"
)

// A picture is a plot with the name of its file and what it shows.
type picture struct {
	file  string
	about string
	plot  *plot.Plot
}

// pictures are those for which r has enough.
func (r *results) pictures() ([]picture, error) {
	var list []picture
	for _, make := range []func() (picture, error){
		func() (picture, error) { return r.fanOut(floodWork, "flood.svg") },
		func() (picture, error) { return r.fanOut(flood1kWork, "flood1k.svg") },
		func() (picture, error) { return r.fanOut(chatWork, "chat.svg") },
		func() (picture, error) { return r.quantiles(pacedWork, "paced.svg") },
		func() (picture, error) { return r.quantiles(paced10Work, "paced10.svg") },
		func() (picture, error) { return r.quantiles(overloadWork, "overload.svg") },
		r.idleMemory,
		r.growth,
	} {
		p, err := make()
		if err != nil {
			return nil, err
		}
		if p.plot != nil {
			list = append(list, p)
		}
	}
	return list, nil
}

// savePictures writes them to a folder, which it makes.
func savePictures(list []picture, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range list {
		if err := p.plot.Save(18*vg.Centimeter, 11*vg.Centimeter, filepath.Join(dir, p.file)); err != nil {
			return err
		}
	}
	return nil
}

// A curve is what a server, or a work, has in a plot.
type curve struct {
	name   string
	at     int // of its color
	points plotter.XYs
}

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(6)
	p.Legend.Top, p.Legend.Left = true, false
	p.Legend.Padding = vg.Points(2)
	p.Add(plotter.NewGrid())
	return p
}

// draw adds curves, and room at the right for their names.
func drawCurves(p *plot.Plot, curves []curve) error {
	for _, c := range curves {
		line, points, err := plotter.NewLinePoints(c.points)
		if err != nil {
			return err
		}
		line.Color, points.Color = colorOf(c.at), colorOf(c.at)
		line.Width = vg.Points(1.2)
		if c.at == 0 {
			line.Width = vg.Points(2.4)
		}
		points.Shape, points.Radius = shapes[c.at%len(shapes)], vg.Points(2.2)
		p.Add(line, points)
		p.Legend.Add(c.name, line, points)
	}
	return nil
}

var shapes = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.CrossGlyph{}, draw.RingGlyph{}, draw.PlusGlyph{}}

// colorOf gives each server the same color in all plots; these can be told
// apart by the color-blind too.
func colorOf(i int) color.Color {
	palette := []uint32{0xd55e00, 0x000000, 0x0072b2, 0x009e73, 0xcc79a7, 0xe69f00, 0x56b4e9, 0x7f7f7f, 0x8c510a, 0x5e3c99}
	c := palette[i%len(palette)]
	return color.RGBA{R: uint8(c >> 16), G: uint8(c >> 8), B: uint8(c), A: 255}
}

// logAxis makes an axis logarithmic if everything on it is above zero, with
// ticks at the values given, or at powers of ten.
func logAxis(a *plot.Axis, ticks []plot.Tick) {
	a.Scale, a.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	if ticks != nil {
		a.Tick.Marker = plot.ConstantTicks(ticks)
	}
}

// fanOut shows deliveries per server CPU-second against receivers.
func (r *results) fanOut(w *work, file string) (picture, error) {
	p := newPlot(w.title+": deliveries per second of server CPU", w.counted, "deliveries per CPU-second")
	var curves []curve
	for i, s := range r.servers() {
		c := curve{name: s.name, at: i}
		for _, size := range r.sizesOf(w) {
			if m := r.find(w.name, size, s.name); m != nil && m.Median[cpuPerDelivery] > 0 {
				c.points = append(c.points, plotter.XY{X: float64(size), Y: 1e6 / m.Median[cpuPerDelivery]})
			}
		}
		if len(c.points) > 0 {
			curves = append(curves, c)
		}
	}
	if len(curves) == 0 || len(r.sizesOf(w)) < 2 {
		return picture{}, nil
	}
	logAxis(&p.X, sizeTicks(r.sizesOf(w)))
	logAxis(&p.Y, nil)
	return picture{file, "deliveries per second of server CPU; more is better", p}, drawCurves(p, curves)
}

func sizeTicks(sizes []int) (ticks []plot.Tick) {
	for _, n := range sizes {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: strconv.Itoa(n)})
	}
	return ticks
}

// sizesOf lists the sizes at which a work was measured, in order.
func (r *results) sizesOf(w *work) (sizes []int) {
	for _, s := range r.Summaries {
		if s.Work == w.name && s.Samples > 0 && !slices.Contains(sizes, s.Size) {
			sizes = append(sizes, s.Size)
		}
	}
	slices.Sort(sizes)
	return sizes
}

// quantiles shows how long the last receiver waited for how many of the messages.
func (r *results) quantiles(w *work, file string) (picture, error) {
	p := newPlot(w.title+": until the last receiver has a message", "share of the messages", "ms")
	var curves []curve
	for i, s := range r.servers() {
		for _, size := range r.sizesOf(w) {
			m := r.find(w.name, size, s.name)
			if m == nil || m.latency == nil || m.latency.TotalCount() == 0 {
				continue
			}
			c := curve{name: s.name, at: i}
			if len(r.sizesOf(w)) > 1 {
				c.name += " " + strconv.Itoa(size)
			}
			for _, q := range shares {
				if 1-q >= 1/float64(m.latency.TotalCount()) { // else there is no such message
					c.points = append(c.points, plotter.XY{X: 1 / (1 - q), Y: max(quantileMs(m.latency, q), 0.001)})
				}
			}
			curves = append(curves, c)
		}
	}
	if len(curves) == 0 {
		return picture{}, nil
	}
	logAxis(&p.X, shareTicks)
	logAxis(&p.Y, nil)
	return picture{file, "the time until the last receiver has a message, by the share of messages that took no longer; less is better", p}, drawCurves(p, curves)
}

var shares = []float64{0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999}

var shareTicks = []plot.Tick{
	{Value: 1, Label: "0"}, {Value: 2, Label: "50 %"}, {Value: 10, Label: "90 %"}, {Value: 100, Label: "99 %"}, {Value: 1000, Label: "99.9 %"},
}

// idleMemory shows memory per idle connection.
func (r *results) idleMemory() (picture, error) {
	var values plotter.Values
	var names []string
	var bars []plot.Plotter
	p := newPlot("Idle: resident memory of the server a connection", "bytes", "")
	for i, s := range r.servers() {
		for _, size := range r.sizesOf(idleWork) {
			if m := r.find(idleWork.name, size, s.name); m != nil {
				bar, err := plotter.NewBarChart(plotter.Values{max(m.Median[rssIdle], 0)}, vg.Points(14))
				if err != nil {
					return picture{}, err
				}
				bar.Horizontal, bar.Color, bar.XMin = true, colorOf(i), float64(len(names))
				bar.LineStyle.Width = 0
				bars = append(bars, bar)
				values = append(values, m.Median[rssIdle])
				names = append(names, s.name+" "+digits(0)(m.Median[rssIdle]))
			}
		}
	}
	if len(values) == 0 {
		return picture{}, nil
	}
	p.Add(bars...)
	p.NominalY(names...)
	p.X.Min = 0
	return picture{"idle.svg", "resident memory of the server per idle connection; less is better", p}, nil
}

// growth shows what this library's costs do when a room, or their number, grows.
func (r *results) growth() (picture, error) {
	p := newPlot("tcproom: does the cost grow?", "receivers, members or rooms", "server CPU, µs")
	var curves []curve
	most := 0.0
	for i, g := range []struct {
		name   string
		work   *work
		metric string
	}{
		{"a delivery of 64 bytes, by receivers", floodWork, cpuPerDelivery},
		{"a delivery of 1 KiB, by receivers", flood1kWork, cpuPerDelivery},
		{"a delivery, by rooms of 10 that all talk", roomsWork, cpuPerDelivery},
		{"receiving a message, by members", receiveWork, cpuPerMessage},
	} {
		c := curve{name: g.name, at: i}
		for _, size := range r.sizesOf(g.work) {
			if m := r.find(g.work.name, size, tcproomServer.name); m != nil && m.Median[g.metric] > 0 {
				c.points = append(c.points, plotter.XY{X: float64(size), Y: m.Median[g.metric]})
				most = math.Max(most, m.Median[g.metric])
			}
		}
		if len(c.points) > 1 {
			curves = append(curves, c)
		}
	}
	if len(curves) == 0 {
		return picture{}, nil
	}
	logAxis(&p.X, nil)
	p.Y.Min, p.Y.Max = 0, 1.6*most // room for the legend
	return picture{"growth.svg", "what a delivery costs this library as a room or the number of rooms grows, and what receiving costs as members grow", p}, drawCurves(p, curves)
}
