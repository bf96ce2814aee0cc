package chat

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/tcproom"
)

// What the screen knows of the connection.
type conn struct {
	addr   string
	online bool
	ever   bool      // it has been
	since  time.Time // when it was lost
	again  time.Time // when the client dials again, at the latest
	end    error     // why there is no client any more
	words  string    // with which the server has said goodbye
}

// state says for people how the connection is, in few words if short.
func (c *conn) state(now time.Time, short bool) string {
	switch {
	case c.end != nil:
		return "ended"
	case c.online:
		return "connected"
	case !c.ever:
		return "connecting"
	case short:
		return "offline " + seconds(now.Sub(c.since))
	case c.again.After(now):
		return "offline, again in " + seconds(c.again.Sub(now))
	}
	return "offline for " + seconds(now.Sub(c.since)) + ", trying"
}

// seconds is d for people, of at least a second.
func seconds(d time.Duration) string {
	d = max(d, time.Second).Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d h", d/time.Hour)
}

// reason is why something was refused or has ended, in words, and safe for a terminal.
func reason(err error) string {
	if r, ok := errors.AsType[*tcproom.RefusedError](err); ok {
		return reasonOf(r.Cause, r.Text)
	}
	return bare(err.Error())
}

// reasonOf is the reason of a cause and the peer's words, of which either may be missing.
func reasonOf(cause tcproom.Cause, text string) string {
	word := bare(cause.Error())
	switch {
	case text == "":
		return word
	case cause == "" || cause == "left" || cause == tcproom.ErrDenied || strings.HasPrefix(text, strings.Trim(word, `"`)):
		return safeLine(text)
	}
	return word + ": " + safeLine(text)
}

func bare(s string) string { return safeLine(strings.TrimPrefix(s, "tcproom: ")) }
