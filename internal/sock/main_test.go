package sock

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain runs all tests twice where there is a direct path, with and without
// it, over memory that is poisoned before it is used again. Goroutines that
// are left over fail it.
func TestMain(m *testing.M) {
	flag.Parse()
	scrub = func(b []byte) {
		for i := range b {
			b[i] = 0xdb
		}
	}
	code := run(m)
	if f := flag.Lookup("test.bench"); code == 0 && Direct && f.Value.String() == "" {
		Direct = false
		fmt.Println("once more, without the direct path")
		code = run(m)
	}
	os.Exit(code)
}

// run runs the tests and reports goroutines that they left.
func run(m *testing.M) int {
	before := runtime.NumGoroutine()
	code := m.Run()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			fmt.Printf("goroutines are left over:\n%s\n", buf[:runtime.Stack(buf, true)])
			return 1
		}
	}
	return code
}

// frameHead is the length and the number of a frame of the tests; bytes follow that
// are made from the number.
const frameHead = 4 + 8

func appendFrame(dst []byte, num uint64, size int) []byte {
	size = max(size, frameHead)
	dst = binary.BigEndian.AppendUint32(dst, uint32(size))
	dst = binary.BigEndian.AppendUint64(dst, num)
	for i := frameHead; i < size; i++ {
		dst = append(dst, byte(num)+byte(i)&0x3f)
	}
	return dst
}

// cutFrame returns the number and the size of the first frame of b; n is 0 when it is
// not all there.
func cutFrame(b []byte) (num uint64, n int, err error) {
	if len(b) < 4 {
		return 0, 0, nil
	}
	n = int(binary.BigEndian.Uint32(b))
	if n < frameHead || n > 1<<24 {
		return 0, 0, fmt.Errorf("no frame begins with %x", b[:min(len(b), 32)])
	}
	if len(b) < n {
		return 0, 0, nil
	}
	num = binary.BigEndian.Uint64(b[4:])
	for i := frameHead; i < n; i++ {
		if b[i] != byte(num)+byte(i)&0x3f {
			return num, 0, fmt.Errorf("frame %d: byte %d of %d is %#x", num, i, n, b[i])
		}
	}
	return num, n, nil
}

// tcpPair returns both ends of a TCP connection.
func tcpPair(t testing.TB) (here, there *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	s, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(); s.Close() })
	return s.(*net.TCPConn), c.(*net.TCPConn)
}

// unixPair returns both ends of a unix stream connection.
func unixPair(t testing.TB) (here, there *net.UnixConn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	require.NoError(t, err)
	s, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(); s.Close() })
	return s.(*net.UnixConn), c.(*net.UnixConn)
}
