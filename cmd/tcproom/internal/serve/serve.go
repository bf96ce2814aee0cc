// Package serve is the command that serves a room, or a hub of rooms.
package serve

import (
	"context"
	"errors"
)

// Run serves until a signal stops it.
func Run(ctx context.Context, args []string) error { return errors.New("not yet") }
