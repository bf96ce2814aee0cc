//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// packages are those of npm that servers need. Servers find them by NODE_PATH, which
// they inherit.
var packages nodePackages

// nodePackages is a folder of its own, in which nobody's other packages are.
type nodePackages struct {
	dir    string // empty: nothing was installed yet
	failed map[string]string
}

const (
	installTimeout = 60 * time.Second
	nodePath       = "NODE_PATH"
)

// install installs a package, unless it has tried to before. That it could not is what
// missing says then.
func (n *nodePackages) install(name string) {
	if _, tried := n.failed[name]; tried {
		return
	}
	if n.failed == nil {
		n.failed = make(map[string]string)
	}
	n.failed[name] = ""
	if err := n.tryInstall(name); err != nil {
		n.failed[name] = fmt.Sprintf("npm could not install %s: %v", name, err)
	}
}

func (n *nodePackages) tryInstall(name string) (err error) {
	if n.dir == "" {
		if n.dir, err = os.MkdirTemp("", "tcproom-bench-"); err != nil {
			return err
		}
		if err := os.Setenv(nodePath, filepath.Join(n.dir, "node_modules")); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "install", "--silent", "--no-save", "--no-package-lock", "--ignore-scripts", "--prefix", n.dir, name)
	out, err := cmd.CombinedOutput()
	if out = bytes.TrimSpace(out); err != nil && len(out) > 0 {
		err = fmt.Errorf("%w: %.200s", err, out)
	}
	return errors.Join(err, ctx.Err())
}

// missing says what keeps a package from being used; empty: nothing.
func (n *nodePackages) missing(name string) string {
	if why, tried := n.failed[name]; tried {
		return why
	}
	return name + " of npm is not installed"
}

// remove removes all that was installed.
func (n *nodePackages) remove() {
	if n.dir != "" {
		os.RemoveAll(n.dir)
	}
	*n = nodePackages{}
}
