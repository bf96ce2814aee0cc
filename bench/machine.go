//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// machine is where a run took place.
type machine struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Build  string `json:"build,omitempty"` // flags that make a difference
	Date   string `json:"date"`
}

func thisMachine(cpus int) machine {
	m := machine{CPUs: cpus, Go: runtime.Version() + " " + runtime.GOARCH, Build: buildFlags(), Date: time.Now().UTC().Format(time.DateOnly)}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = string(bytes.TrimSpace(b))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(b) {
			if name, v, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "model name" {
				m.CPU = string(bytes.TrimSpace(v))
				break
			}
		}
	}
	return m
}

// buildFlags returns the flags with which this program was built, those that
// make its servers others than people run.
func buildFlags() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var flags []string
	for _, s := range info.Settings {
		if slices.Contains([]string{"-race", "-msan", "-asan", "-cover", "-tags", "-gcflags"}, s.Key) && s.Value != "" && s.Value != "false" {
			flags = append(flags, s.Key+"="+s.Value)
		}
	}
	return strings.Join(flags, " ")
}

var versionNumber = regexp.MustCompile(`\d+(\.\d+)+`)

// version returns which one it is; empty where that is this module's, or not known.
func (s *server) version() string {
	if _, version, ok := strings.Cut(s.npm, "@"); ok {
		return version
	}
	if s.program != "" {
		path, err := findProgram(s.program)
		if err != nil || s.says == "" {
			return ""
		}
		ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
		defer cancel()
		out, _ := exec.CommandContext(ctx, path, s.says).CombinedOutput() // it may fail and say it all the same
		return string(versionNumber.Find(out))
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || s.module == "" {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == s.module {
			return strings.TrimPrefix(m.Version, "v")
		}
	}
	return ""
}
