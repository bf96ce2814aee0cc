package chat

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// wrap breaks text, which is safe, into lines of at most width columns: at line ends, at
// spaces and wide characters, and within a word that is longer than a line. It returns no
// more than most lines, and how many it left out. What is wider than a line is shown as "?".
func wrap(text string, width, most int, m ansi.Method) (lines []string, left int) {
	width = max(width, 1)
	for line := range strings.SplitSeq(text, "\n") {
		for {
			head, rest := breakLine(line, width, m)
			if len(lines) == most {
				left++
			} else {
				lines = append(lines, head)
			}
			if rest == "" {
				break
			}
			if left > 0 { // those are not worth to be measured
				left += len(rest) / width
				break
			}
			line = rest
		}
	}
	return lines, left
}

// breakLine returns the first line of line, and the rest. Of the spaces at the break none
// is part of either.
func breakLine(line string, width int, m ansi.Method) (head, rest string) {
	var b strings.Builder
	used := 0
	space, kept := -1, 0 // the last break, in line and in what is in b
	for i := 0; i < len(line); {
		c, w, size := cluster(line[i:], m)
		if w > width {
			c, w = "?", 1
		}
		if used+w > width {
			if c == " " {
				return strings.TrimRight(b.String(), " "), strings.TrimLeft(line[i:], " ")
			}
			if space > 0 && strings.TrimLeft(line[:space], " ") != "" && fits(line[space:], width, m) {
				return strings.TrimRight(b.String()[:kept], " "), line[space:]
			}
			return b.String(), line[i:]
		}
		if w == 2 { // such scripts have no spaces between words
			space, kept = i, b.Len()
		}
		b.WriteString(c)
		used += w
		i += size
		if c == " " || w == 2 {
			space, kept = i, b.Len()
		}
	}
	return b.String(), ""
}

// fits reports whether the first word of line is no wider than width. A word that is has
// to be broken anyway.
func fits(line string, width int, m ansi.Method) bool {
	for used := 0; line != "" && line[0] != ' '; {
		_, w, size := cluster(line, m)
		if used += w; used > width {
			return false
		}
		line = line[size:]
	}
	return true
}
