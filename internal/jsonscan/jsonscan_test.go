package jsonscan

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// scan reads a text that is one value.
func scan(text string) error {
	s := Scanner{Text: []byte(text)}
	value, err := s.Value(0)
	if err != nil {
		return err
	}
	if s.Space(); s.At != len(text) {
		return s.Fail("want the end")
	}
	if want := strings.Trim(text, " \t\r\n"); string(value) != want {
		return errors.New("not the value as it stands: " + string(value))
	}
	return nil
}

// TestLikeEncodingJSON: of random edits of texts, the two take the same.
func TestLikeEncodingJSON(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	seeds := []string{
		`{"type":"x","n":[0,-1.5e+3,true,false,null,{"a":"\u00e9\n"}],"":{}}`,
		` [ 1 , "a" , { } , [ ] ] `, `"\"\\\/\b\f\n\r\t\ud83d\ude00"`, `-0.5E-7`, `true`, `null`,
	}
	alphabet := []byte("{}[]\",:\\u0123456789eE+-.truefalsnul \t\n\rabx\x00\x1f\x7f")
	took := 0
	for range 20_000 {
		text := []byte(seeds[rnd.IntN(len(seeds))])
		for range rnd.IntN(3) {
			i, c := rnd.IntN(len(text)), alphabet[rnd.IntN(len(alphabet))]
			switch rnd.IntN(3) {
			case 0:
				text[i] = c
			case 1:
				text = slices.Insert(text, i, c)
			default:
				if text = slices.Delete(text, i, i+1); len(text) == 0 {
					text = append(text, ' ')
				}
			}
		}
		err := scan(string(text))
		require.Equal(t, json.Valid(text), err == nil, "%q: %v", text, err)
		if err == nil {
			took++
		}
	}
	require.Greater(t, took, 5_000)
	require.Less(t, took, 15_000)
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "want a value at byte 0",
		"[1":                      "want a comma or the end of the array at byte 2",
		`{"a"}`:                   "want a colon at byte 4",
		`{"a":1 "b"}`:             "want a comma or the end of the object at byte 7",
		`{1}`:                     "want a string at byte 1",
		`"a`:                      "want the end of the string at byte 2",
		`"\x"`:                    "not an escape at byte 1",
		"\"\n\"":                  "a bare control character at byte 1",
		"1.":                      "want a digit at byte 2",
		"nul":                     "want a value at byte 0",
		strings.Repeat("[", 1000): "nested too deeply at byte 33",
		"1 2":                     "want the end at byte 2",
	} {
		err := scan(text)
		require.EqualError(t, err, want, "%.20q", text)
		require.ErrorAs(t, err, new(*Error))
	}
	require.NoError(t, scan(strings.Repeat("[", 32)+strings.Repeat("]", 32)))
}

func TestFields(t *testing.T) {
	s := Scanner{Text: []byte(`{ "a" : [1, {"b": 2}] ,"b":"c"}]`)}
	require.True(t, s.Next('{'))
	for n, want := range [][2]string{{`"a"`, `[1, {"b": 2}]`}, {`"b"`, `"c"`}} {
		key, value, ok, err := s.Field(n, 1)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, want, [2]string{string(key), string(value)})
	}
	_, _, ok, err := s.Field(2, 1)
	require.NoError(t, err)
	require.False(t, ok)
	require.True(t, s.Next(']'))
}

func TestUnescape(t *testing.T) {
	for _, text := range []string{``, `abc`, `\"\\\/\b\f\n\r\t`, `\u0000\u00e9\u65E5\uffff`, `\ud83d\uDE00x`, `é\u0041é`} {
		var want string
		require.NoError(t, json.Unmarshal([]byte(`"`+text+`"`), &want))
		got, ok := Unescape([]byte("x"), []byte(text))
		require.True(t, ok)
		require.Equal(t, "x"+want, string(got))
	}
	for _, half := range []string{`\ud83d`, `\ude00`, `\ud83d\u0041`, `\ud83dx\ude00`, `\ud83d\n\ude00`, `\ude00\ud83d`} {
		_, ok := Unescape(nil, []byte(half))
		require.False(t, ok, half)
	}
}

// Each byte at each place, because Plain reads eight at a time.
func TestPlain(t *testing.T) {
	for b := range 256 {
		for i := range 17 {
			s := []byte("0123456789abcdefg")
			s[i] = byte(b)
			want := len(s)
			if b < ' ' || b >= utf8.RuneSelf || b == '"' || b == '\\' {
				want = i
			}
			require.Equal(t, want, Plain(s), "%q", s)
		}
	}
}

// FuzzScan: no text makes the scanner panic, and it takes what encoding/json takes.
func FuzzScan(f *testing.F) {
	f.Add(`{"a":[1,"\u00e9",{}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		err := scan(text)
		if err != nil && strings.Contains(err.Error(), "nested too deeply") {
			return
		}
		require.Equal(t, json.Valid([]byte(text)), err == nil, "%v", err)
	})
}
