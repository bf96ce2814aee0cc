package chat

import (
	"slices"
	"strings"
)

// A completion is what Tab has found, and which of it stands in the input.
type completion struct {
	from   int      // of the word in the input
	words  []string // what it may become
	chosen int      // -1: none yet
}

// completeNext completes the word before the cursor: as far as all that it may become is
// the same, and then by one after the other.
func (s *screen) completeNext(by int) {
	e := s.input()
	c := &s.complete
	if c.words == nil {
		c.from, c.words = s.candidates(e.text[:e.pos])
		c.chosen = -1
		switch len(c.words) {
		case 0:
			s.complete = completion{}
			s.hint = "nothing to complete"
			return
		case 1:
			s.put(c.words[0])
			s.complete, s.hint = completion{}, ""
			return
		}
		word := e.text[c.from:e.pos]
		if common := commonPrefix(c.words); len(common) > len(word) && strings.HasPrefix(strings.ToLower(common), strings.ToLower(word)) {
			s.put(common)
			s.hint = candidateHint(c.words, -1)
			return
		}
	}
	n := len(c.words)
	if c.chosen < 0 && by < 0 {
		c.chosen = 0
	}
	c.chosen = (c.chosen + by + n) % n
	s.put(c.words[c.chosen])
	s.hint = candidateHint(c.words, c.chosen)
}

// put replaces the word that is being completed.
func (s *screen) put(word string) {
	e := s.input()
	e.text = e.text[:s.complete.from] + word + e.text[e.pos:]
	e.pos = s.complete.from + len(word)
}

func candidateHint(words []string, chosen int) string {
	var b strings.Builder
	for i, w := range words {
		w = strings.TrimRight(w, " ")
		if i == chosen {
			w = "[" + w + "]"
		}
		b.WriteString(safeLine(w) + " ")
	}
	return strings.TrimSpace(b.String())
}

// candidates returns what the last word of text may become, and where it begins.
func (s *screen) candidates(text string) (from int, words []string) {
	from = strings.LastIndexAny(text, " \n") + 1
	word := text[from:]
	if name, arg, is := parseCommand(text); is {
		if from == 0 {
			for _, c := range commands() {
				if !s.text || c.alone {
					words = append(words, "/"+c.name+" ")
				}
			}
			if s.text {
				words = append(words, "/join ", "/rooms ", "/who ", "/msg ", "/nick ")
			}
			return from, matching(words, word)
		}
		if full, ok := aliases[name]; ok {
			name = full
		}
		if first := strings.TrimSuffix(arg, word) == ""; first {
			return from, matching(s.arguments(name), word)
		}
	}
	for _, n := range s.names(s.pane()) {
		if from == 0 {
			n += ": "
		} else {
			n += " "
		}
		words = append(words, n)
	}
	if word == "" {
		return from, nil
	}
	return from, matching(words, word)
}

// arguments returns what the first argument of a command may be.
func (s *screen) arguments(name string) (words []string) {
	switch name {
	case "msg":
		for _, n := range s.names(nil) {
			words = append(words, n+" ")
		}
		for n := range s.known {
			words = append(words, n+" ")
		}
	case "room":
		for _, p := range s.panes {
			words = append(words, p.title()+" ")
		}
	case "join", "move", "who", "leave", "rooms":
		for _, p := range s.panes {
			if !p.isDirect() && p.room != "" {
				words = append(words, p.room+" ")
			}
		}
		for _, r := range s.rooms {
			words = append(words, r+" ")
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// matching returns the words that begin with prefix, in capital or small letters.
func matching(words []string, prefix string) []string {
	prefix = strings.ToLower(prefix)
	return slices.DeleteFunc(words, func(w string) bool { return !strings.HasPrefix(strings.ToLower(w), prefix) })
}

// commonPrefix returns what all words begin with, in whole characters.
func commonPrefix(words []string) string {
	common := words[0]
	for _, w := range words[1:] {
		n := 0
		for n < len(common) && n < len(w) && common[n] == w[n] {
			n++
		}
		common = common[:n]
	}
	return strings.ToValidUTF8(common, "")
}
