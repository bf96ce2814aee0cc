package tcproom_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// The testers that users are given hold for what the library brings itself.

func TestFramingsConform(t *testing.T) {
	for _, f := range []tcproom.Framing{
		tcproom.Lines{},
		tcproom.Delimiter(""), tcproom.Delimiter("\x00"), tcproom.Delimiter("\r\n"), tcproom.Delimiter("aa"), tcproom.Delimiter("aba"), tcproom.Delimiter("--boundary--"),
		tcproom.Length{}, tcproom.Length{Bytes: 1}, tcproom.Length{Bytes: 2}, tcproom.Length{Bytes: 4}, tcproom.Length{Bytes: 8},
		tcproom.Length{Bytes: 1, LittleEndian: true}, tcproom.Length{Bytes: 2, LittleEndian: true}, tcproom.Length{Bytes: 4, LittleEndian: true}, tcproom.Length{Bytes: 8, LittleEndian: true},
		tcproom.Varint{}, tcproom.Netstring{}, tcproom.ContentLength{}, tcproom.Chunks{},
		blocks(4),
	} {
		t.Run(fmt.Sprintf("%#v", f), func(t *testing.T) {
			t.Parallel()
			require.NoError(t, roomtest.TestFraming(f))
		})
	}
}

func TestCodecsConform(t *testing.T) {
	for _, c := range []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}, tcproom.JSON{}} {
		t.Run(fmt.Sprintf("%T", c), func(t *testing.T) {
			t.Parallel()
			require.NoError(t, roomtest.TestCodec(c))
		})
	}
}
