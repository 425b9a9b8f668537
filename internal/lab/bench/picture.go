package main

import (
	"fmt"
	"html"
	"math"
	"strings"

	"github.com/upshift-k8s/upshift/internal/lab/observer"
)

// Sizes of the picture, in pixels.
const (
	pictureWidth  = 960
	margin        = 24
	labelWidth    = 340
	barHeight     = 26
	timelineTall  = 84
	timelineTitle = 20
)

// Colours, which are told apart also without colour vision.
const (
	colourText = "#1f2328"
	colourDim  = "#6e7781"
	colourOurs = "#0b6e99"
	colourPeer = "#b58900"
	colourOld  = "#c9ced6"
	colourLine = "#d0d7de"
)

// picture shows, for each workload, each contender's time over the bound and the Ready pods over time in its first repetition.
func picture(tables []table) string {
	var body strings.Builder
	y := margin
	for _, t := range tables {
		y = t.drawBars(&body, y)
		y = t.drawTimelines(&body, y)
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12" fill="%s">
<rect width="100%%" height="100%%" fill="#ffffff"/>
%s</svg>
`, pictureWidth, y, pictureWidth, y, colourText, body.String())
}

func draw(b *strings.Builder, format string, args ...any) {
	_, _ = fmt.Fprintf(b, format+"\n", args...)
}

func text(b *strings.Builder, x, y int, attributes, s string) {
	draw(b, `<text x="%d" y="%d" %s>%s</text>`, x, y, attributes, html.EscapeString(strings.ReplaceAll(s, "`", "")))
}

func (c contender) colour() string {
	if c.ours() {
		return colourOurs
	}
	return colourPeer
}

// drawBars draws the medians as bars from 0, the ranges as lines, and the bound as a line at 1.
func (t table) drawBars(b *strings.Builder, y int) int {
	var rows []row
	longest := 1.2
	for _, r := range t.rows {
		if r.overBound.n > 0 {
			rows = append(rows, r)
			longest = max(longest, r.overBound.high)
		}
	}
	if len(rows) == 0 {
		return y
	}
	text(b, margin, y+14, `font-size="15" font-weight="600"`, t.workload.name+": time over the bound (c = 0), median and range")
	y += 30
	right := pictureWidth - margin - 70
	x := func(v float64) int {
		return margin + labelWidth + int(v/longest*float64(right-margin-labelWidth))
	}
	top := y
	for _, r := range rows {
		middle := y + barHeight/2
		text(b, margin, middle+4, "", shortTitle(r.contender))
		draw(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`, x(0), y+5, x(r.overBound.median)-x(0), barHeight-10, r.contender.colour())
		draw(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="2"/>`, x(r.overBound.low), middle, x(r.overBound.high), middle, colourText)
		text(b, x(r.overBound.high)+6, middle+4, "", fmt.Sprintf("%.3f", r.overBound.median))
		y += barHeight
	}
	draw(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-dasharray="4 3"/>`, x(1), top-4, x(1), y+4, colourText)
	text(b, x(1), y+16, fmt.Sprintf(`text-anchor="middle" fill="%s"`, colourDim), "bound")
	return y + 36
}

// shortTitle fits beside a bar.
func shortTitle(c contender) string {
	if c.ours() {
		return c.title
	}
	title, _, _ := strings.Cut(c.title, ":")
	return title
}

// drawTimelines draws Ready pods over time, those on old nodes in grey and those on new ones above them, all to one scale.
func (t table) drawTimelines(b *strings.Builder, y int) int {
	longest, most := 0.0, 0
	var rows []row
	for _, r := range t.rows {
		if len(r.finished) == 0 {
			continue
		}
		rows = append(rows, r)
		first := r.finished[0]
		longest = max(longest, first.Seconds)
		for _, p := range first.Timeline {
			most = max(most, p.Old+p.New)
		}
	}
	if len(rows) == 0 || most == 0 {
		return y
	}
	text(b, margin, y+14, `font-size="15" font-weight="600"`, t.workload.name+": Ready pods over time, on old nodes (grey) and on new ones")
	y += 30
	plot := plot{left: margin, width: pictureWidth - 2*margin - 60, seconds: longest * 1.02, pods: float64(most) * 1.05}
	for _, r := range rows {
		first := r.finished[0]
		text(b, margin, y+12, "", fmt.Sprintf("%s: %.0f s", r.contender.title, first.Seconds))
		plot.top = y + timelineTitle
		plot.draw(b, first, r.contender.colour())
		y += timelineTitle + timelineTall + 10
	}
	step := niceStep(longest)
	for s := 0.0; s <= longest; s += step {
		text(b, plot.x(s), y+8, fmt.Sprintf(`text-anchor="middle" fill="%s"`, colourDim), fmt.Sprintf("%.0f s", s))
	}
	return y + 36
}

// niceStep is a step of an axis with no more than ten of them.
func niceStep(longest float64) float64 {
	for _, step := range []float64{1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800} {
		if longest/step <= 10 {
			return step
		}
	}
	return 3600
}

// A plot is an area in the picture, and its scale.
type plot struct {
	left, top, width int
	seconds, pods    float64
}

func (p plot) x(seconds float64) int {
	return p.left + int(math.Round(seconds/p.seconds*float64(p.width)))
}

func (p plot) y(pods int) int {
	return p.top + timelineTall - int(math.Round(float64(pods)/p.pods*timelineTall))
}

// draw draws one result's timeline from its beginning to its end.
func (p plot) draw(b *strings.Builder, r result, colour string) {
	var points []observer.Point
	for _, point := range r.Timeline {
		point.Seconds = max(0, point.Seconds-r.BeganSeconds)
		if point.Seconds <= r.Seconds {
			points = append(points, point)
		}
	}
	if len(points) == 0 {
		return
	}
	end := points[len(points)-1]
	end.Seconds = r.Seconds
	points = append(points, end)
	bottom := p.top + timelineTall
	area := func(of func(observer.Point) int, fill string) {
		path := fmt.Sprintf("M%d %d", p.x(points[0].Seconds), bottom)
		for i, point := range points {
			if i > 0 { // it stays as it was until it changes
				path += fmt.Sprintf("H%d", p.x(point.Seconds))
			}
			path += fmt.Sprintf("V%d", p.y(of(point)))
			if i == 0 {
				path = fmt.Sprintf("M%d %dV%d", p.x(point.Seconds), bottom, p.y(of(point)))
			}
		}
		draw(b, `<path d="%sV%dZ" fill="%s"/>`, path, bottom, fill)
	}
	area(func(q observer.Point) int { return q.Old + q.New }, colour)
	area(func(q observer.Point) int { return q.Old }, colourOld)
	all := points[0].Old + points[0].New
	draw(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-dasharray="2 3"/>`, p.left, p.y(all), p.left+p.width, p.y(all), colourDim)
	draw(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s"/>`, p.left, bottom, p.left+p.width, bottom, colourLine)
	text(b, p.left+p.width+6, p.y(all)+4, fmt.Sprintf(`fill="%s"`, colourDim), fmt.Sprintf("%d pods", all))
}
