// Package bench is the command that drives a room, checks it and measures it.
package bench

import (
	"context"
	"errors"
)

// Run drives the room until all is sent and received, or a signal stops it.
func Run(ctx context.Context, args []string) error { return errors.New("not yet") }
