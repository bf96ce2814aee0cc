package tcproom

import (
	"bytes"
	"errors"
	"fmt"
)

// nextOrStrange is nextEvent, but for the first bytes of what is no room, or of a
// room that speaks otherwise: its error for them wraps [ErrWrongDoor].
func (c *Conn) nextOrStrange() (Event, error) {
	r := &c.reader
	if r.any {
		ev, err := c.nextEvent()
		if ev.Kind != 0 {
			r.suspect = nil
		}
		return ev, err
	}
	if err := c.meet(); err != nil {
		return Event{}, err
	}
	ev, err := c.nextEvent()
	if _, told := err.(*RefusedError); told { // by a room, whatever its cause is
		return ev, err
	}
	if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrFrameTooLarge) || errors.Is(err, ErrWrongDoor) {
		return ev, err
	}
	if r.suspect != nil {
		return ev, r.suspect
	}
	if c.cfg.features.Hello {
		err = wrongDoor("the answer is not in %s: %q", language(c.cfg.codec, c.cfg.framing), err.Error())
	}
	return ev, err
}

// meet looks at the first bytes that a dialling end gets.
//
// If the codec cannot tell a line of a room from a message of a member, as Raw
// cannot, a member could end others by them. There the error counts only if the
// stream ends with these bytes, or they are not in this end's framing.
func (c *Conn) meet() error {
	err := c.strangeAnswer()
	if _, text := c.cfg.codec.(Text); text || c.cfg.features.Hello {
		return err
	}
	c.reader.suspect = err
	return nil
}

func (c *Conn) strangeAnswer() error {
	data, limit, greets := c.src.Held(), c.reader.limit, c.cfg.features.Hello
	if len(data) == 0 {
		return nil
	}
	if begins(data, tlsAlert[:2]) == matches {
		return errTLSRoom
	}
	if bytes.HasPrefix(data, []byte("HTTP/")) {
		return errHTTPRoom
	}
	n, frame, splitErr := c.split(data, limit)
	if greets && n > 0 && !c.cfg.isNoJSON(data, n, frame) {
		return nil // it is for the codec to say
	}
	var ours *Event
	if !greets && n > 0 {
		ours = isOurs(frame)
	}
	if ours == nil {
		_, other := jsonIn(data, c.cfg.framing, limit, greets, isAnswer)
		ours = isOurs(other)
	}
	switch {
	case ours != nil && ours.Kind == Welcome:
		return c.cfg.notMyLanguage(false, data, limit, isAnswer)
	case ours != nil:
		return toldWrongDoor(ours.End)
	case greets && (splitErr != nil || c.cfg.isNoJSON(data, n, frame) && begins(data, "HTTP/") == differs):
		return c.cfg.notMyLanguage(false, data, limit, isAnswer)
	}
	if _, text := c.cfg.codec.(Text); text && n > 0 {
		if reason, ok := bytes.CutPrefix(frame, []byte("* goodbye: wrong door: ")); ok {
			return wrongDoor("the room's reason is %q", cutText(string(reason), maxReasonBytes))
		}
	}
	return nil
}

// toldWrongDoor returns the end of a connection to a room that speaks otherwise, and
// whose last words are still understood.
func toldWrongDoor(words *EndError) error {
	end := *words
	end.Cause = ErrWrongDoor
	end.err = fmt.Errorf("%w: %w", ErrWrongDoor, words.refused())
	return &end
}
