package chat

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

const (
	tab = "    " // what a tab is shown as

	// maxCluster bounds the bytes of what is shown in one place: a letter with its marks,
	// or an emoji. Text may pile up marks without end.
	maxCluster = 64
)

// safe returns s so that a terminal sees text and line ends and nothing else, whatever a
// peer put into it: what moves, hides or reorders text, and bytes that are not UTF-8,
// stand as \x1b or \u{202e}, as in lines of tcproom.Text. A tab becomes spaces.
func safe(s string) string {
	i := 0
	for i < len(s) && s[i] >= 0x20 && s[i] < 0x7f {
		i++
	}
	if i == len(s) {
		return s
	}
	var b strings.Builder
	b.WriteString(s[:i])
	for i < len(s) {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\n':
			b.WriteByte('\n')
		case r == '\r' && strings.HasPrefix(s[i+1:], "\n"): // a line end of Windows
		case r == '\t':
			b.WriteString(tab)
		case r == utf8.RuneError && size == 1, r < 0x80 && isControl(r):
			b.WriteString(`\x`)
			b.WriteString(hex(s[i]))
		case isControl(r):
			b.WriteString(`\u{`)
			b.WriteString(strconv.FormatUint(uint64(r), 16))
			b.WriteByte('}')
		default:
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

func hex(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[c>>4], digits[c&15]})
}

// isControl reports whether r moves, hides or reorders text instead of being text.
func isControl(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r <= 0x9f:
		return true
	case r == 0x61c, r == 0x200e, r == 0x200f, r == 0xfeff:
		return true
	case r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// safeLine is safe of what must be one line, such as a name or a reason.
func safeLine(s string) string {
	s = safe(s)
	if !strings.Contains(s, "\n") {
		return s
	}
	return strings.ReplaceAll(s, "\n", `\x0a`)
}

// typed returns what of s may be part of a message that is typed or pasted: all but
// control characters, with line ends as "\n". Nobody can type the others, so they come
// from somewhere by accident.
func typed(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (r < 0x20 || r >= 0x7f && r <= 0x9f || r == utf8.RuneError) {
			return -1
		}
		return r
	}, s)
}

// cluster returns what of s is shown in its first place, how wide that is, and how many
// bytes of s it is. s is safe, and not empty.
func cluster(s string, m ansi.Method) (shown string, width, size int) {
	c, width := ansi.FirstGraphemeCluster(s, m)
	if len(c) == 0 {
		c = s[:1]
	}
	shown = c
	if len(shown) > maxCluster {
		shown = shown[:maxCluster]
		for !utf8.ValidString(shown) {
			shown = shown[:len(shown)-1]
		}
		width = m.StringWidth(shown)
	}
	return shown, max(width, 0), len(c)
}

// fit returns s, of one line, in exactly width columns: cut, with an ellipsis, or filled
// up with spaces.
func fit(s string, width int, m ansi.Method) string {
	if width <= 0 {
		return ""
	}
	var b strings.Builder
	used := 0
	for rest := s; rest != ""; {
		c, w, size := cluster(rest, m)
		if used+w > width || used+w == width && size < len(rest) && widthOf(rest[size:], m) > 0 {
			if used < width {
				b.WriteString("…")
				used++
			}
			break
		}
		b.WriteString(c)
		used += w
		rest = rest[size:]
	}
	for ; used < width; used++ {
		b.WriteByte(' ')
	}
	return b.String()
}

// widthOf returns the columns of s, which is safe.
func widthOf(s string, m ansi.Method) int {
	width := 0
	for s != "" {
		_, w, size := cluster(s, m)
		width += w
		s = s[size:]
	}
	return width
}
