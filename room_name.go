package tcproom

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

const (
	maxRoomBytes  = 64 // of any name of a room, see checkRoomName
	maxValidBytes = 32 // of one that ValidRoom allows
)

// allRooms is what stands for the room of all connections of a hub.
const allRooms = "*"

// ValidRoom is the rule for names of rooms if a hub has no other: it returns nil for a
// name of 1 to 32 of the characters "a" to "z", "0" to "9", ".", "_" and "-", the first
// of which is a letter or a digit, and otherwise an error that wraps [ErrRoomName],
// quotes the name and says what is wrong with it.
//
// It demands small letters and makes none: "Lobby" is refused, and not taken for
// "lobby". A name that it allows is one segment of the path of a URL as it is.
//
// It is pure: safe from many goroutines at once.
func ValidRoom(name string) error {
	if err := checkRoomName(name); err != nil {
		return err
	}
	if len(name) > maxValidBytes {
		return roomNameError(name, fmt.Sprintf("%d bytes, of at most %d", len(name), maxValidBytes))
	}
	for i, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		case r != '.' && r != '_' && r != '-':
			return roomNameError(name, fmt.Sprintf("%q is not one of a to z, 0 to 9 and %q", r, "._-"))
		case i == 0:
			return roomNameError(name, "does not begin with a letter or a digit")
		}
	}
	return nil
}

// checkRoomName is the rule for every name of a room, whatever the hub's own rule. With
// it no line of [Text] can be forged by a name, and a name, once it is escaped, is one
// segment of a URL's path. Its error wraps ErrRoomName.
func checkRoomName(name string) error {
	switch name {
	case "":
		return roomNameError(name, "empty")
	case ".", "..": // which no escape saves from being resolved
		return roomNameError(name, "means a directory in a URL")
	}
	return checkRoomPrefix(name)
}

// checkRoomPrefix is the rule for what a name of a room may begin with; that may be
// nothing.
func checkRoomPrefix(prefix string) error {
	switch {
	case len(prefix) > maxRoomBytes:
		return roomNameError(prefix, fmt.Sprintf("%d bytes, of at most %d", len(prefix), maxRoomBytes))
	case !utf8.ValidString(prefix):
		return roomNameError(prefix, "not UTF-8")
	}
	for _, r := range prefix {
		switch {
		case unicode.IsSpace(r):
			return roomNameError(prefix, "holds a space or line separator")
		case r == ':', r == ',', r == '/', r == '*', r == '#':
			return roomNameError(prefix, fmt.Sprintf("holds %q", r))
		case unicode.IsControl(r):
			return roomNameError(prefix, "holds a control character")
		case unicode.Is(unicode.Cf, r):
			return roomNameError(prefix, "holds an invisible format character")
		}
	}
	return nil
}

// checkAnyRoom is checkRoomName that allows the room of all connections too.
func checkAnyRoom(name string) error {
	if name == allRooms {
		return nil
	}
	return checkRoomName(name)
}

// roomNameError is the error for the name of a room with this fault.
func roomNameError(name, fault string) error {
	return fmt.Errorf("%w: %s: %s", ErrRoomName, quotePeer(name), fault)
}
