package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/tcproom"
)

// attend answers what c receives, until ctx ends, which is no error, or c does.
func attend(ctx context.Context, c *tcproom.Conn) error {
	for ev, err := range c.Events(ctx) {
		end, ended := errors.AsType[*tcproom.EndError](err)
		switch {
		case ctx.Err() != nil:
			return nil
		case ended && end.Text != "":
			return fmt.Errorf("the room ended the connection: %q", end.Text)
		case err != nil:
			return fmt.Errorf("the room is gone: %w", err)
		}
		if answer := answerTo(ev); answer != "" {
			// An error concerns this answer alone, or Events yields it too.
			_ = c.Send(ctx, []byte(answer))
		}
	}
	return nil
}

// answerTo returns what the bot sends for an event; empty: nothing. No answer is a
// command, except for the rest of an echo, which is shorter: so two bots in one room
// come to an end.
func answerTo(ev tcproom.Event) string {
	switch ev.Kind {
	case tcproom.Join:
		return "welcome, " + ev.From.Name
	case tcproom.Message:
		command, rest, _ := strings.Cut(string(ev.Body), " ")
		switch command {
		case "!help":
			return "I know !help, !time and !echo"
		case "!time":
			return "it is " + time.Now().UTC().Format(time.RFC3339)
		case "!echo":
			return rest
		}
	}
	return ""
}
