package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// start serves a room and returns the address, and a browser without cookies.
func start(t *testing.T) (room *tcproom.Room, base string, client *http.Client) {
	room = tcproom.New()
	srv := httptest.NewServer(service(room))
	t.Cleanup(func() {
		srv.Close()
		room.Close()
		<-room.Done()
	})
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return room, srv.URL, &http.Client{Jar: jar}
}

// login sends the form; it returns the answer after the redirects.
func login(t *testing.T, client *http.Client, base, name, password string, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequest("POST", base+"/login", strings.NewReader(url.Values{"name": {name}, "password": {password}}.Encode()))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// join asks for a WebSocket and returns the status, and the connection if that is 101.
func join(t *testing.T, base, origin string, cookies []*http.Cookie) (int, net.Conn) {
	t.Helper()
	host := strings.TrimPrefix(base, "http://")
	nc, err := net.Dial("tcp", host)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	cookie := ""
	for _, c := range cookies {
		cookie += "Cookie: " + c.String() + "\r\n"
	}
	_, err = fmt.Fprintf(nc, "GET /chat/ws HTTP/1.1\r\nHost: %s\r\nOrigin: %s\r\n%sConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: tcproom.json\r\n\r\n", host, origin, cookie)
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(nc), nil)
	require.NoError(t, err)
	return res.StatusCode, nc
}

func TestLogIn(t *testing.T) {
	room, base, client := start(t)
	res, err := client.Get(base + "/chat/")
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, "/", res.Request.URL.Path, "who is not logged in is sent to the form")
	require.Contains(t, res.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
	status, _ := join(t, base, base, nil)
	require.Equal(t, http.StatusUnauthorized, status)

	res = login(t, client, base, "ada", "lovelace")
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, "/chat/", res.Request.URL.Path)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Contains(t, string(body), "chat.js")
	res, err = client.Get(base + "/chat/chat.js")
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode)

	u, err := url.Parse(base)
	require.NoError(t, err)
	status, nc := join(t, base, base, client.Jar.Cookies(u))
	require.Equal(t, http.StatusSwitchingProtocols, status)
	hello := `{"type":"hello","name":"grace"}`
	_, err = io.WriteString(nc, string([]byte{0x81, 0x80 | byte(len(hello)), 0, 0, 0, 0})+hello)
	require.NoError(t, err)
	_, err = io.ReadFull(nc, make([]byte, 2)) // of its welcome
	require.NoError(t, err)
	for m := range room.Members() {
		require.Equal(t, "ada", m.Name(), "the cookie's name, whatever the page says")
	}
	require.Equal(t, 1, room.Len())

	status, _ = join(t, base, "http://evil.example", client.Jar.Cookies(u))
	require.Equal(t, http.StatusForbidden, status)
}

func TestCookie(t *testing.T) {
	_, base, client := start(t)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	var values []string
	for range 2 {
		res := login(t, client, base, "ada", "lovelace")
		require.Equal(t, http.StatusSeeOther, res.StatusCode)
		require.Len(t, res.Cookies(), 1)
		c := res.Cookies()[0]
		require.True(t, c.HttpOnly)
		require.Equal(t, http.SameSiteLaxMode, c.SameSite)
		values = append(values, c.Value)
	}
	require.NotEqual(t, values[0], values[1])
	require.GreaterOrEqual(t, len(values[0]), 26, "nobody guesses it")
}

func TestNoLogIn(t *testing.T) {
	for _, tt := range []struct {
		name, user, password string
		header               []string
	}{
		{name: "wrong password", user: "ada", password: "hopper"},
		{name: "no password", user: "ada"},
		{name: "nobody"},
		{name: "unknown name", user: "<script>alert(1)</script>", password: "x"},
		{name: "other site", user: "ada", password: "lovelace", header: []string{"Origin", "http://evil.example"}},
		{name: "other site of a browser", user: "ada", password: "lovelace", header: []string{"Sec-Fetch-Site", "cross-site"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, base, client := start(t)
			res := login(t, client, base, tt.user, tt.password, tt.header...)
			require.Equal(t, http.StatusForbidden, res.StatusCode)
			require.Empty(t, res.Cookies())
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NotContains(t, string(body), "<script>")
		})
	}
}
