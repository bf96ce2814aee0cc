package main

import (
	"context"
	"fmt"
	"strings"

	"example.com/tcproom"
)

// What people with nc see first.

// isPerson is the key of a value in the context of members who read lines of text.
type isPerson struct{}

// receive returns the WithHandshake hook for people, which talks with a newcomer before
// it joins: what the hook returns names the member. all is the room of all members.
func receive(cfg *config, all *tcproom.Room) func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
	return func(ctx context.Context, n *tcproom.Newcomer) (id tcproom.Identity, err error) {
		id.Context = context.WithValue(context.Background(), isPerson{}, true)
		if cfg.askName {
			id.Name, err = askName(ctx, n, all)
		}
		return id, err
	}
}

// askName asks for a name until it gets one that can be had. A blank one leaves it to
// the room. Of two who want one name at the same instant, the room refuses the second.
func askName(ctx context.Context, n *tcproom.Newcomer, all *tcproom.Room) (name string, err error) {
	for why := ""; ; {
		if err := n.Send(ctx, []byte(why+"What is your name?")); err != nil {
			return "", err
		}
		line, err := n.Receive(ctx)
		if err != nil {
			return "", err
		}
		name = strings.TrimSpace(string(line))
		if name == "" {
			return "", nil
		}
		err = tcproom.ValidName(name)
		if err == nil && isTaken(all, name) {
			err = fmt.Errorf("%w: %q", tcproom.ErrNameTaken, name)
		}
		if err == nil {
			return name, nil
		}
		why = strings.TrimPrefix(err.Error(), "tcproom: ") + ". "
	}
}

func isTaken(all *tcproom.Room, name string) bool {
	for m := range all.Members() {
		if m.Name() == name {
			return true
		}
	}
	return false
}

// maxShown is how many names showAround tells; /who tells more.
const maxShown = 20

// showAround is the OnJoined hook with -rooms: it tells people who is in the room that
// they enter, behind the line that says which one it is.
func showAround(m *tcproom.Member, _ uint64) {
	if m.Context().Value(isPerson{}) == nil {
		return
	}
	var names []string
	more := 0
	for other := range m.Room().Members() {
		switch {
		case other == m:
		case len(names) < maxShown:
			names = append(names, other.Name())
		default:
			more++
		}
	}
	here := "nobody else is here"
	if len(names) > 0 {
		here = "here: " + strings.Join(names, ", ")
	}
	if more > 0 {
		here += fmt.Sprintf(" and %d more", more)
	}
	m.Send(m.Context(), []byte(here+"; /help lists the commands"))
}
