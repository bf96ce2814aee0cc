// Command alone prints the environment in which the go command sees the module in a
// directory by itself, as its users will: without go.work, and with the other modules
// of the repository as they are here. Usage: alone [-tidy] DIR SCRATCH; with -tidy it
// is that for go mod tidy. Files that the environment needs are written to the
// directory SCRATCH.
package main

import (
	"flag"
	"fmt"
	"os"
	"path"
	"slices"

	"example.com/tcproom/tools/internal/repo"
)

func main() {
	tidy := flag.Bool("tidy", false, "for go mod tidy")
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	how := repo.Alone
	if *tidy {
		how = repo.ForTidy
	}
	if err := alone(path.Clean(flag.Arg(0)), flag.Arg(1), how); err != nil {
		fmt.Fprintln(os.Stderr, "alone:", err)
		os.Exit(1)
	}
}

func alone(dir, scratch string, how func(string, repo.Module, []repo.Module, string) ([]string, error)) error {
	all, err := repo.Find(".")
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(m repo.Module) bool { return m.Dir == dir })
	if i < 0 {
		return fmt.Errorf("no module in %s", dir)
	}
	env, err := how(".", all[i], all, scratch)
	if err != nil {
		return err
	}
	for _, v := range env {
		fmt.Println(v)
	}
	return nil
}
