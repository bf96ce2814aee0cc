package serve

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/tcproom"
)

// A doorman talks with people, who read lines of text, before they join.
type doorman struct {
	all  *tcproom.Room // of all members
	asks bool          // for names
}

type personKey struct{}

// receive is a WithHandshake hook. It marks the member as a person.
func (d doorman) receive(ctx context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
	who := tcproom.Identity{Context: context.WithValue(context.Background(), personKey{}, true)}
	if !d.asks {
		return who, nil
	}
	refused := ""
	for {
		if err := n.Send(ctx, []byte(refused+"What is your name?")); err != nil {
			return who, err
		}
		answer, err := n.Receive(ctx)
		if err != nil {
			return who, err
		}
		who.Name = string(bytes.TrimSpace(answer))
		if err := d.check(who.Name); err != nil {
			refused = strings.TrimPrefix(err.Error(), "tcproom: ") + ". "
			continue
		}
		return who, nil
	}
}

// check returns why nobody can be called that now. The empty name leaves it to the
// room, which also refuses the second of two who want one name at the same instant.
func (d doorman) check(name string) error {
	if name == "" {
		return nil
	}
	if err := tcproom.ValidName(name); err != nil {
		return err
	}
	for m := range d.all.Members() {
		if m.Name() == name {
			return fmt.Errorf("%w: %q", tcproom.ErrNameTaken, name)
		}
	}
	return nil
}

// maxShown is how many names showAround tells; /who tells more.
const maxShown = 20

// showAround is the OnJoined hook of a hub: it tells a person who is in the room.
func showAround(m *tcproom.Member, _ uint64) {
	if m.Context().Value(personKey{}) == nil {
		return
	}
	var others []string
	for other := range m.Room().Members() {
		others = append(others, other.Name())
	}
	if i := slices.Index(others, m.Name()); i >= 0 {
		others = slices.Delete(others, i, i+1)
	}
	here := "nobody else is here"
	switch more := len(others) - maxShown; {
	case more > 0:
		here = fmt.Sprintf("here: %s and %d more", strings.Join(others[:maxShown], ", "), more)
	case len(others) > 0:
		here = "here: " + strings.Join(others, ", ")
	}
	m.Send(m.Context(), []byte(here+"; /help lists the commands"))
}
