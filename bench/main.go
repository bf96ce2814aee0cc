//go:build linux

// Bench measures tcproom beside a bare relay and a hub as people write it by
// hand, over loopback TCP: one server after another on one core, the load
// generator on another. See README.md.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == serverCommand {
		os.Exit(serverMain(os.Args[2:]))
	}
	status := run(os.Args[1:], os.Stdout, os.Stderr)
	packages.remove()
	os.Exit(status)
}

// run is the program; it returns its exit status: 1 if a measurement failed,
// 2 for a wrong use.
func run(args []string, stdout, stderr io.Writer) int {
	o, out, status := parseOptions(args, stderr)
	if status >= 0 {
		return status
	}
	// The generator waits in system calls of which the scheduler of
	// goroutines is not told: it has one thread to itself and needs no more.
	runtime.LockOSThread()
	runtime.GOMAXPROCS(1)
	r, err := newRunner(o, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	started := time.Now()
	r.run()
	res := results{
		Machine:   thisMachine(len(r.all)),
		Command:   strings.Join(append([]string{"go -C bench run ."}, args...), " "),
		Seconds:   time.Since(started).Seconds(),
		Unpinned:  o.unpinned,
		Missing:   r.missing,
		Versions:  versions(r.servers),
		Summaries: summarize(r.samples),
		Samples:   r.samples,
	}
	if err := out.write(&res, stdout); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	if res.failed() {
		fmt.Fprintln(stderr, "bench: FAILED: see above")
		return 1
	}
	return 0
}

// outputs says where results go.
type outputs struct {
	json, markdown  string
	document, plots string
}

func (o outputs) write(r *results, stdout io.Writer) error {
	if err := r.writeText(stdout); err != nil {
		return err
	}
	if err := writeFile(o.json, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "\t")
		return e.Encode(r)
	}); err != nil {
		return err
	}
	if err := writeFile(o.markdown, r.writeMarkdown); err != nil || o.document == "" {
		return err
	}
	return r.writeDocument(o.document, cmp.Or(o.plots, filepath.Join(filepath.Dir(o.document), "plots")))
}

func writeFile(name string, write func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// parseOptions returns a status of 0 or more where the program ends here.
func parseOptions(args []string, stderr io.Writer) (o options, out outputs, status int) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	names := flags.String("work", strings.Join(usualWorks(), ","), "what to measure; "+clusterName+" is all that is about rooms with a log")
	peers := flags.String("servers", strings.Join(usualServers(), ","), "whom to measure; lossy is there to fail")
	receivers := flags.String("receivers", "", "numbers of receivers, instead of each work's own")
	flags.IntVar(&o.reps, "reps", 3, "repetitions, of works that have no number of their own")
	flags.DurationVar(&o.duration, "duration", 600*time.Millisecond, "length of one flood or chat, after a warm-up")
	flags.IntVar(&o.window, "window", 128, "messages in flight at most, in a flood")
	flags.IntVar(&o.size, "size", 0, "bytes of a line, its newline included, instead of each work's own")
	flags.IntVar(&o.mebibytes, "mib", 50, "MiB that the sender of nowindow sends; each receiver gets them all")
	flags.BoolVar(&o.unpinned, "unpinned", false, "leave all processes free to run on all cores")
	flags.BoolVar(&o.quick, "quick", false, "within a minute: fewer sizes, short runs, one repetition; rough figures")
	flags.StringVar(&profiles, "profile", "", "existing `folder` in which each server leaves a CPU profile each time, which costs it some CPU")
	flags.StringVar(&out.json, "o", "", "write all samples and summaries, as JSON, to this `file`")
	flags.StringVar(&out.markdown, "markdown", "", "write the tables, as Markdown, to this `file`")
	flags.StringVar(&out.document, "write", "", "write the whole report with plots to this `file`, such as ../BENCHMARKS.md")
	flags.StringVar(&out.plots, "plots", "", "`folder` for the plots of -write (default plots, beside the file)")
	if err := flags.Parse(args); err == flag.ErrHelp {
		return o, out, 0
	} else if err != nil {
		return o, out, 2
	}
	if o.quick {
		shorten(&o, flags)
	}
	err := o.choose(*names, *peers, *receivers)
	if err == nil {
		err = o.check(flags.Args())
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return o, out, 2
	}
	return o, out, -1
}

// shorten makes a run quick in all that was not asked for by name.
func shorten(o *options, flags *flag.FlagSet) {
	quick := map[string]func(){
		"reps":     func() { o.reps = 1 },
		"duration": func() { o.duration = 200 * time.Millisecond },
		"mib":      func() { o.mebibytes = 4 },
	}
	flags.Visit(func(f *flag.Flag) { delete(quick, f.Name) })
	for _, set := range quick {
		set()
	}
}

// choose looks up what is asked for by name.
func (o *options) choose(names, peers, receivers string) (err error) {
	for _, name := range splitList(names) {
		if name == clusterName {
			o.works = append(o.works, clusterWorks...)
			continue
		}
		w := workNamed(name)
		if w == nil {
			return fmt.Errorf("-work %s: there is %s and, for all about logs, %s", name, strings.Join(workNames(), ", "), clusterName)
		}
		o.works = append(o.works, w)
	}
	for _, name := range splitList(peers) {
		s := serverNamed(name)
		if s == nil || s == swallowServer {
			return fmt.Errorf("-servers %s: there is %s, %s", name, strings.Join(usualServers(), ", "), lossyServer.name)
		}
		o.servers = append(o.servers, s)
	}
	o.receivers, err = parseNumbers(receivers)
	return err
}

func (o *options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is not a flag", rest[0])
	case len(o.works) == 0 || len(o.servers) == 0:
		return errors.New("nothing to measure")
	case o.reps < 1 || o.duration <= 0 || o.window < 1 || o.mebibytes < 1:
		return errors.New("-reps, -duration, -window and -mib must be positive")
	case o.size != 0 && (o.size < minLine || o.size > maxLine):
		return fmt.Errorf("-size %d: a line has %d to %d bytes", o.size, minLine, maxLine)
	}
	return nil
}

func splitList(s string) []string {
	return slices.DeleteFunc(strings.Split(s, ","), func(p string) bool { return p == "" })
}

func parseNumbers(s string) (list []int, err error) {
	for _, p := range splitList(s) {
		n, err := strconv.Atoi(strings.ReplaceAll(p, "_", ""))
		if err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("-receivers %s: not a number from 1 to 65535", p)
		}
		list = append(list, n)
	}
	return list, nil
}
