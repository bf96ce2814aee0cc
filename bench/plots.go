//go:build linux

package main

import (
	"cmp"
	"image/color"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A picture is a plot with the name of its file and what it shows.
type picture struct {
	file   string
	about  string
	plot   *plot.Plot
	legend *plot.Legend // nil: none
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
		if err := writeFile(filepath.Join(dir, p.file), p.write); err != nil {
			return err
		}
	}
	return nil
}

// write draws the plot with its legend beside it. There are margins, for a
// browser may lack the font and take a wider one.
func (p picture) write(w io.Writer) error {
	const width, height, beside, margin = 21 * vg.Centimeter, 11 * vg.Centimeter, 5.2 * vg.Centimeter, 0.4 * vg.Centimeter
	c := vgsvg.New(width, height)
	all := draw.New(c)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	right := -margin
	if p.legend != nil {
		right = -beside
		p.legend.Draw(draw.Crop(all, width-beside+margin, 0, 0, -1.5*vg.Centimeter))
	}
	p.plot.Draw(draw.Crop(all, margin, right, margin, -margin))
	_, err := c.WriteTo(w)
	return err
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
	for _, f := range []*font.Font{&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font} {
		f.Variant = "Sans"
	}
	return p
}

// addCurves adds them to a plot, and returns a legend of their names.
func addCurves(p *plot.Plot, curves []curve) (*plot.Legend, error) {
	p.Add(plotter.NewGrid())
	legend := plot.NewLegend()
	legend.Left, legend.Top = true, true
	legend.TextStyle.Font.Variant = "Sans"
	legend.Padding = vg.Points(3)
	var lines []plot.Plotter
	for _, c := range curves {
		line, points, err := plotter.NewLinePoints(c.points)
		if err != nil {
			return nil, err
		}
		line.Color, points.Color = colorOf(c.at), colorOf(c.at)
		line.Width = vg.Points(1.2)
		if c.at == 0 {
			line.Width = vg.Points(2.4)
		}
		points.Shape, points.Radius = shapes[c.at%len(shapes)], vg.Points(2.2)
		lines = append(lines, points, line) // backwards, too
		legend.Add(c.name, line, points)
	}
	slices.Reverse(lines) // the first is not to be covered by the others
	p.Add(lines...)
	return &legend, nil
}

var shapes = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.CrossGlyph{}, draw.RingGlyph{}, draw.PlusGlyph{}}

// colorOf gives each server the same color in all plots; these can be told
// apart by the color-blind too.
func colorOf(i int) color.Color {
	palette := []uint32{0xd55e00, 0x000000, 0x0072b2, 0x009e73, 0xcc79a7, 0xe69f00, 0x56b4e9, 0x7f7f7f, 0x8c510a, 0x5e3c99, 0xf0a6a0,
		0xa50026, 0x66c2a5, 0x1b7837, 0x4575b4, 0xb8a100, 0x40e0d0, 0x8073ac, 0x444444}
	c := palette[i%len(palette)]
	return color.RGBA{R: uint8(c >> 16), G: uint8(c >> 8), B: uint8(c), A: 255}
}

// logAxis makes an axis logarithmic; all of it must be above zero. It has ticks
// where they are given, or at powers of ten.
func logAxis(a *plot.Axis, ticks []plot.Tick) {
	a.Scale, a.Tick.Marker = plot.LogScale{}, plot.TickerFunc(decades)
	if ticks != nil {
		a.Tick.Marker = plot.ConstantTicks(ticks)
		return
	}
	a.Min, a.Max = math.Pow(10, math.Floor(math.Log10(a.Min))), math.Pow(10, math.Ceil(math.Log10(a.Max)))
	if a.Min == a.Max { // which plot would widen to zero
		a.Max *= 10
	}
}

// decades are labelled at powers of ten, up to a few of which nobody needs to
// count the zeros.
func decades(least, most float64) (ticks []plot.Tick) {
	for v := math.Pow(10, math.Round(math.Log10(least))); v <= most*1.001; v *= 10 {
		for k := 1.0; k < 10 && v*k <= most*1.001; k++ {
			t := plot.Tick{Value: v * k}
			if k == 1 {
				t.Label = shortNumber(v)
			}
			ticks = append(ticks, t)
		}
	}
	return ticks
}

func shortNumber(v float64) string {
	switch {
	case v > 0.999e6:
		return strconv.FormatFloat(math.Round(v/1e6), 'f', -1, 64) + " M"
	case v > 0.999e4:
		return strconv.FormatFloat(math.Round(v/1e3), 'f', -1, 64) + " k"
	}
	return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'f', -1, 64)
}

// fanOut shows deliveries per server CPU-second against receivers.
func (r *results) fanOut(w *work, file string) (picture, error) {
	p := newPlot(w.title+": deliveries per second of server CPU", w.counted, "")
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
	legend, err := addCurves(p, curves)
	logAxis(&p.X, sizeTicks(r.sizesOf(w)))
	logAxis(&p.Y, nil)
	return picture{file, "deliveries per second of server CPU; more is better", p, legend}, err
}

func sizeTicks(sizes []int) (ticks []plot.Tick) {
	for _, n := range sizes {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: shortNumber(float64(n))})
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
	legend, err := addCurves(p, curves)
	logAxis(&p.X, shareTicks)
	logAxis(&p.Y, nil)
	return picture{file, "the time until the last receiver has a message, by the share of messages that took no longer; less is better", p, legend}, err
}

var shares = []float64{0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999}

var shareTicks = []plot.Tick{
	{Value: 2, Label: "50 %"}, {Value: 10, Label: "90 %"}, {Value: 100, Label: "99 %"}, {Value: 1000, Label: "99.9 %"},
}

// idleMemory shows memory per idle connection.
func (r *results) idleMemory() (picture, error) {
	var (
		names  []string
		bars   []plot.Plotter
		at     plotter.XYs
		values []string
	)
	p := newPlot("Idle: resident memory of the server a connection", "bytes", "")
	grid := plotter.NewGrid()
	grid.Horizontal.Color = nil // it would run through the numbers
	p.Add(grid)
	for i, s := range slices.Backward(r.servers()) { // the first on top
		for _, size := range r.sizesOf(idleWork) {
			if m := r.find(idleWork.name, size, s.name); m != nil {
				bar, err := plotter.NewBarChart(plotter.Values{max(m.Median[rssIdle], 0)}, vg.Points(14))
				if err != nil {
					return picture{}, err
				}
				bar.Horizontal, bar.Color, bar.XMin = true, colorOf(i), float64(len(names))
				bar.LineStyle.Width = 0
				bars = append(bars, bar)
				at = append(at, plotter.XY{X: max(m.Median[rssIdle], 0), Y: float64(len(names))})
				values = append(values, " "+digits(0)(m.Median[rssIdle]))
				names = append(names, s.name)
			}
		}
	}
	if len(names) == 0 {
		return picture{}, nil
	}
	labels, err := plotter.NewLabels(plotter.XYLabels{XYs: at, Labels: values})
	if err != nil {
		return picture{}, err
	}
	labels.Offset = vg.Point{X: vg.Points(3), Y: -vg.Points(3)}
	for i := range labels.TextStyle {
		labels.TextStyle[i].Font.Variant = "Sans"
	}
	p.Add(append(bars, labels)...)
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0, 1.1*p.X.Max // for the number at the longest bar
	return picture{"idle.svg", "resident memory of the server per idle connection; less is better", p, nil}, nil
}

// growth shows what this library's costs do when a room, or their number, grows:
// all by what they are at the smallest size, and the bound that [goals] have.
func (r *results) growth() (picture, error) {
	p := newPlot("tcproom: growth of what a delivery costs, and receiving a message", "receivers, rooms, members", "times")
	var curves []curve
	for i, g := range []struct {
		name   string
		work   *work
		metric string
	}{
		{"flood, 64 B", floodWork, cpuPerDelivery},
		{"flood, 1 KiB", flood1kWork, cpuPerDelivery},
		{"rooms of 10", roomsWork, cpuPerDelivery},
		{"receiving alone", receiveWork, cpuPerMessage},
	} {
		c := curve{name: g.name, at: i}
		least := 0.0 // what it is at the smallest size
		for _, size := range r.sizesOf(g.work) {
			if m := r.find(g.work.name, size, tcproomServer.name); m != nil && m.Median[g.metric] > 0 {
				least = cmp.Or(least, m.Median[g.metric])
				c.points = append(c.points, plotter.XY{X: float64(size), Y: m.Median[g.metric] / least})
			}
		}
		if len(c.points) > 1 {
			curves = append(curves, c)
		}
	}
	if len(curves) == 0 {
		return picture{}, nil
	}
	legend, err := addCurves(p, curves)
	if err != nil {
		return picture{}, err
	}
	logAxis(&p.X, nil)
	bound, err := plotter.NewLine(plotter.XYs{{X: p.X.Min, Y: growthBound}, {X: p.X.Max, Y: growthBound}})
	if err != nil {
		return picture{}, err
	}
	bound.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
	p.Add(bound)
	legend.Add("may be", bound)
	p.Y.Min, p.Y.Max = 0, max(2, 1.05*p.Y.Max)
	return picture{"growth.svg", "what a delivery costs this library as a room or the number of rooms grows, and what receiving costs as members grow, by what it costs at the smallest size; flat is good", p, legend}, nil
}
