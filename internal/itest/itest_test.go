package itest

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"regexp"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// parallel is how many tests have a server each at the same time.
const parallel = 200

// failing is the environment variable that makes TestMixed run.
const failing = "ITEST_FAILING"

func TestMain(m *testing.M) {
	if os.Getenv(crowdEnv) != "" {
		attendCrowd(os.Stdin, os.Stdout)
		return
	}
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() == "" { // of which that is the number of processes
		flag.Set("test.parallel", strconv.Itoa(parallel)) // all at the same time, however few cores there are
	}
	code := m.Run()
	if os.Getenv(failing) == "" && code == 0 && leftOver() {
		code = 1
	}
	os.Exit(code)
}

// leftOver reports whether a goroutine that runs the code of a room or of its
// tests is left, and prints it.
func leftOver() bool {
	var all bytes.Buffer
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) { // some have returned but for their last instruction
		all.Reset()
		pprof.Lookup("goroutine").WriteTo(&all, 2)
		blocks := strings.Split(all.String(), "\n\n")[1:]
		left := false
		for _, b := range blocks {
			left = left || strings.Contains(b, "example.com/tcproom")
		}
		if !left {
			return false
		}
		if time.Since(began) > 10*time.Second {
			os.Stderr.WriteString("goroutines are left over:\n" + all.String())
			return true
		}
	}
}

func TestTwoHundred(t *testing.T) { run(t, parallel, good()) }

// TestMixed is run by TestTheRightTestsFail.
func TestMixed(t *testing.T) {
	if os.Getenv(failing) == "" {
		t.Skip("fails on purpose")
	}
	run(t, parallel, append(good(), bad()...))
}

// TestTheRightTestsFail runs tests of which some are to fail, in a process of their
// own, and looks at which do, and at their errors.
func TestTheRightTestsFail(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run", "^TestMixed$", "-test.timeout", "2m", "-test.count", "1")
	cmd.Env = append(os.Environ(), failing+"=1")
	began := time.Now()
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.NotContains(t, string(out), "panic: ", "%s", out)
	require.NotContains(t, string(out), "DATA RACE", "%s", out)
	require.NotContains(t, string(out), "test timed out", "%s", out)
	t.Logf("%d tests in %v", parallel, time.Since(began).Round(time.Millisecond))

	said := failures(string(out))
	cases := append(good(), bad()...)
	want := 0
	for i := range parallel {
		c := cases[i%len(cases)]
		name := strings.ReplaceAll(c.name, " ", "_") + "_" + number(i)
		text, failed := said[name]
		require.Equal(t, c.says != nil, failed, "%s: %s", name, text)
		for _, says := range c.says {
			at := strings.Index(text, says)
			require.GreaterOrEqual(t, at, 0, "%s does not say %q, but:\n%s", name, says, text)
			text = text[at+len(says):]
		}
		if failed {
			want++
		}
	}
	require.Len(t, said, want, "no others fail")
}

func number(i int) string {
	return string([]byte{byte('0' + i/100), byte('0' + i/10%10), byte('0' + i%10)})
}

var failLine = regexp.MustCompile(`(?m)^    --- FAIL: TestMixed/(\S+) \(.*\)\n`)

// failures returns the output of each subtest that failed.
func failures(out string) map[string]string {
	said := make(map[string]string)
	at := failLine.FindAllStringSubmatchIndex(out, -1)
	for i, m := range at {
		end := len(out)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		said[out[m[2]:m[3]]] = out[m[1]:end]
	}
	return said
}

func TestAnHourTakesNoSecond(t *testing.T) {
	began := time.Now()
	synctest.Test(t, sleepAnHour)
	require.Less(t, time.Since(began), time.Second)
	t.Logf("an hour took %v", time.Since(began).Round(time.Microsecond))
}
