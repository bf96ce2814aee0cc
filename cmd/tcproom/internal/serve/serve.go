// Package serve is the command that serves a room, or a hub of rooms.
package serve

import (
	"context"
	"os"
)

// Run serves until a signal, a broken pipe of the log or the end of ctx stops it, or a
// listener breaks. With -print-config it prints the settings in place of that.
func Run(ctx context.Context, args []string) error {
	cfg, err := configure(args)
	if err != nil {
		return err
	}
	if cfg.printConfig {
		return cfg.print(os.Stdout)
	}
	return serve(ctx, cfg)
}
