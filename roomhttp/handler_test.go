package roomhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestMessages: pages of the history, the ETag of what there is, and the address of a
// message that was posted.
func TestMessages(t *testing.T) {
	room := newRoom(t, tcproom.WithHistory(tcproom.History{Messages: 3}))
	s := serve(t, New(One("lobby", room), WithAnonymousPost(true)))
	for i := range 4 {
		a := s.ask("POST", messages, fmt.Sprint("<", i, ">"), plainly)
		require.Equal(t, 201, a.StatusCode)
		got := s.ask("GET", "/rooms/lobby/"+a.Header.Get("Location"), "")
		all := got.json["messages"].([]any)
		require.Len(t, all, 1)
		msg := all[0].(map[string]any)
		require.Equal(t, fmt.Sprint("<", i, ">"), msg["body"])
		require.Equal(t, a.json["seq"], msg["seq"])
		require.Equal(t, map[string]any{"id": "web", "name": "web"}, msg["from"])
		require.Equal(t, a.json["epoch"], got.json["epoch"])
		require.Equal(t, false, got.json["more"])
	}
	bodies := func(a *answer) (all []any) {
		for _, m := range a.json["messages"].([]any) {
			all = append(all, m.(map[string]any)["body"])
		}
		return all
	}
	a := s.ask("GET", messages, "")
	require.Equal(t, []any{"<1>", "<2>", "<3>"}, bodies(a))
	require.Equal(t, true, a.json["gap"])
	a = s.ask("GET", messages+"?after=1&limit=2", "")
	require.Equal(t, []any{"<1>", "<2>"}, bodies(a))
	require.Equal(t, false, a.json["gap"])
	require.Equal(t, true, a.json["more"])
	a = s.ask("GET", messages+"?after=2&limit=2", "")
	require.Equal(t, []any{"<2>", "<3>"}, bodies(a))
	require.Equal(t, false, a.json["more"])

	etag := a.Header.Get("ETag")
	require.Equal(t, fmt.Sprintf(`"%s-4"`, a.json["epoch"]), etag)
	for _, same := range []string{etag, "W/" + etag, `"x", ` + etag, "*"} {
		a := s.ask("GET", messages+"?after=2&limit=2", "", "If-None-Match: "+same)
		require.Equal(t, 304, a.StatusCode, same)
		require.Equal(t, etag, a.Header.Get("ETag"))
		require.Equal(t, "private, no-cache", a.Header.Get("Cache-Control"))
		require.Equal(t, "Origin", a.Header.Get("Vary"))
		require.Empty(t, a.body)
	}
	for _, other := range []string{`"x"`, strings.Trim(etag, `"`), "", etag[:len(etag)-1]} {
		require.Equal(t, 200, s.ask("GET", messages+"?after=2&limit=2", "", "If-None-Match: "+other).StatusCode, other)
	}
	require.Equal(t, 304, s.ask("HEAD", messages+"?after=2", "", "If-None-Match: "+etag).StatusCode)
	head := s.ask("HEAD", messages+"?after=2", "")
	require.Equal(t, 200, head.StatusCode)
	require.Equal(t, etag, head.Header.Get("ETag"))
	require.Empty(t, head.body)
	require.EqualValues(t, len(s.ask("GET", messages+"?after=2", "").body), head.ContentLength)
	s.ask("POST", messages, "more", plainly)
	require.Equal(t, 200, s.ask("GET", messages+"?after=2", "", "If-None-Match: "+etag).StatusCode)
}

// TestETagOfOldMessages: messages that go by themselves change what there is to read.
func TestETagOfOldMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithHistory(tcproom.History{Age: time.Hour}))
		h := New(One("lobby", room))
		for range 2 {
			_, err := room.Broadcast(t.Context(), []byte("a"))
			require.NoError(t, err)
			time.Sleep(40 * time.Minute)
		}
		seen := make(map[string]bool)
		for range 3 {
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequest("GET", messages+"?after=0", nil))
			require.Equal(t, 200, rec.Code)
			etag := rec.Header().Get("ETag")
			require.False(t, seen[etag], "%s: %s", etag, rec.Body)
			seen[etag] = true
			time.Sleep(time.Hour)
			if len(seen) == 2 {
				break
			}
		}
		require.NoError(t, room.Close())
	})
}

// TestMembers: pages of the members, which go on behind one that has left.
func TestMembers(t *testing.T) {
	room := newRoom(t)
	ends := make(map[string]*tcproom.Conn)
	for _, name := range []string{"ada", "bob", "eve"} {
		m, _, c := join(t, room, name)
		ends[m.ID()] = c
	}
	s := serve(t, New(One("lobby", room)))
	seen := make(map[string]bool)
	for after, more := "", true; more; {
		a := s.ask("GET", "/rooms/lobby/members?limit=1&after="+after, "")
		require.Equal(t, 200, a.StatusCode)
		m := a.json["members"].([]any)[0].(map[string]any)
		after, more = m["id"].(string), a.json["more"].(bool)
		require.Greater(t, m["id"].(string), "")
		seen[m["name"].(string)] = true
		if len(seen) == 1 {
			require.EqualValues(t, 3, a.json["total"])
			left, ok := room.Member(after)
			require.True(t, ok)
			require.NoError(t, left.Kick("")) // and its place is still known
		}
	}
	require.Len(t, seen, 3)
}

// TestPostAsMember: the token of a session speaks for its member, and a number makes a
// repeated request harmless.
func TestPostAsMember(t *testing.T) {
	room := newRoom(t)
	m, token, c := join(t, room, "ada")
	_, _, bob := join(t, room, "bob")
	refused := false
	s := serve(t, New(One("lobby", room), WithAuth(func(*http.Request) (tcproom.Identity, error) {
		refused = true
		return tcproom.Identity{}, ErrUnauthorized
	})))
	auth := "Authorization: Bearer " + string(token)
	first := s.ask("POST", messages, "hi", plainly, auth, "Idempotency-Key: 7")
	require.Equal(t, 201, first.StatusCode, first.body)
	for _, headers := range [][]string{{plainly, auth, `Idempotency-Key: "7"`}, {plainly, "Authorization: bearer " + string(token), "Idempotency-Key: 7"}} {
		again := s.ask("POST", messages, "hi", headers...)
		require.Equal(t, 201, again.StatusCode)
		require.Equal(t, first.body, again.body)
		require.Equal(t, first.Header.Get("Location"), again.Header.Get("Location"))
	}
	require.Equal(t, first.body, s.ask("POST", messages, `{"id":7,"body":"hi"}`, asJSON, auth).body)
	a := s.ask("POST", messages, `{"id":7,"body":"hi"}`, asJSON, auth, "Idempotency-Key: 8")
	require.Equal(t, 400, a.StatusCode)
	a = s.ask("POST", messages, "hi", plainly, auth, "Idempotency-Key: 6")
	require.Equal(t, 409, a.StatusCode, "a smaller one may have been taken")
	require.Equal(t, "number-used", a.code())
	for _, wrong := range []string{"0", "-1", "", "x", "18446744073709551616", `"`} {
		require.Equal(t, 400, s.ask("POST", messages, "hi", plainly, auth, "Idempotency-Key: "+wrong).StatusCode, wrong)
	}
	require.Equal(t, 201, s.ask("POST", messages, "bye", plainly, auth).StatusCode)
	for _, path := range []string{messages, "/rooms/lobby", "/rooms/lobby/members"} {
		require.Equal(t, 200, s.ask("GET", path, "", auth).StatusCode, "a member may read")
	}
	require.False(t, refused, "WithAuth is not asked about members")
	for _, want := range []string{"hi", "bye"} {
		ev, err := bob.Receive(testContext(t))
		require.NoError(t, err)
		require.Equal(t, want, string(ev.Body))
		require.Equal(t, m.Info(), ev.From)
	}
	require.NoError(t, m.Kick(""))
	a = s.ask("POST", messages, "hi", plainly, auth)
	require.Equal(t, 401, a.StatusCode)
	require.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"))
	require.True(t, refused)
	require.NotContains(t, a.body, string(token))
	c.Close()
}

// TestPostByWithAuth: an identity speaks by its name, with an ID that stays the same.
func TestPostByWithAuth(t *testing.T) {
	room := newRoom(t)
	long := strings.Repeat("ж", 32)
	s := serve(t, New(One("lobby", room), WithAuth(func(r *http.Request) (tcproom.Identity, error) {
		return tcproom.Identity{Name: strings.Repeat(r.Header.Get("X-Name"), 1)}, nil
	})))
	ids := make(map[string]string)
	for range 2 {
		for _, name := range []string{"ada", "bob", "жук", long} {
			require.Equal(t, 201, s.ask("POST", messages, "hi", plainly, "X-Name: "+name).StatusCode, name)
		}
	}
	for _, ev := range room.Past(0, 0).Events {
		if id, ok := ids[ev.From.Name]; ok {
			require.Equal(t, id, ev.From.ID)
		}
		ids[ev.From.Name] = ev.From.ID
	}
	require.Len(t, ids, 4)
	require.Equal(t, "web:ada", ids["ada"])
}

// TestPostHeldBack: a post that the room holds back waits for 5 seconds, and is not
// ordered after that either.
func TestPostHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithBacklog(1), tcproom.WithMaxMessage(1<<10), tcproom.WithWriteTimeout(24*time.Hour), tcproom.WithSessions(tcproom.Sessions{}),
			tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSlowMembers(tcproom.Block(10*time.Hour)))
		defer room.Close()
		_, token, _ := join(t, room, "ada")
		here, there := roomtest.Pipe()
		defer here.Close()
		go room.ServeConn(there, tcproom.WithCodec(tcproom.Text{}))
		synctest.Wait()
		said := uint64(0)
		for _, size := range []int{1000, 0} {
			for err := error(nil); err == nil; {
				var seq uint64
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				if seq, err = room.Broadcast(ctx, make([]byte, size)); err == nil {
					said = seq
				}
				cancel()
			}
		}
		h := New(One("lobby", room), WithAnonymousPost(true))
		for _, auth := range []string{"", "Bearer " + string(token)} {
			req := httptest.NewRequestWithContext(t.Context(), "POST", messages, strings.NewReader("late"))
			req.Header.Set("Content-Type", "text/plain")
			if auth != "" {
				req.Header.Set("Authorization", auth)
				req.Header.Set("Idempotency-Key", "1")
			}
			rec, start := httptest.NewRecorder(), time.Now()
			h.ServeHTTP(rec, req)
			require.Equal(t, 503, rec.Code)
			require.Equal(t, 5*time.Second, time.Since(start))
			require.Equal(t, "1", rec.Header().Get("Retry-After"))
			require.Contains(t, rec.Body.String(), `"code":"busy"`)
		}
		go func() {
			for b := make([]byte, 4096); ; {
				if _, err := here.Read(b); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		require.Equal(t, said, room.Past(0, 0).Seq)
	})
}

// TestBelowAPath: with StripPrefix, addresses and the page's own stay right.
func TestBelowAPath(t *testing.T) {
	room := newRoom(t)
	mux := http.NewServeMux()
	mux.Handle("/chat/", http.StripPrefix("/chat", New(One("lobby", room), WithAnonymousPost(true))))
	s := serve(t, mux)
	a := s.ask("POST", "/chat"+messages, "hi", plainly)
	require.Equal(t, 201, a.StatusCode)
	at, err := a.Request.URL.Parse(s.URL + "/chat" + messages)
	require.NoError(t, err)
	at, err = at.Parse(a.Header.Get("Location"))
	require.NoError(t, err)
	require.Equal(t, 200, s.ask("GET", at.RequestURI(), "").StatusCode)
}

// TestClose: a closed Handler answers 503 to everything.
func TestClose(t *testing.T) {
	room := newRoom(t)
	h := New(One("", room))
	d, err := h.door(room, "kind")
	require.NoError(t, err)
	again, err := h.door(room, "kind")
	require.NoError(t, err)
	require.Same(t, d, again)
	other, err := h.door(room, "other")
	require.NoError(t, err)
	require.NotSame(t, d, other)
	s := serve(t, h)
	require.Equal(t, 200, s.ask("GET", "/rooms/lobby", "").StatusCode)
	require.NoError(t, h.Close())
	require.NoError(t, h.Close())
	for _, path := range []string{"/rooms/lobby", "/healthz", "/nothing", "/ws"} {
		a := s.ask("GET", path, "")
		require.Equal(t, 503, a.StatusCode)
		require.Equal(t, "closed", a.code())
		require.Equal(t, "5", a.Header.Get("Retry-After"))
	}
	_, err = h.door(room, "kind")
	require.ErrorIs(t, err, tcproom.ErrRoomClosed)
	here, there := roomtest.Pipe()
	defer here.Close()
	require.Error(t, d.Admit(there, tcproom.Arrival{}), "its doors are closed")
	require.NoError(t, room.Close())
}

// TestDetailIsBounded: what a peer or a hook says is cut at a character.
func TestDetailIsBounded(t *testing.T) {
	rec := httptest.NewRecorder()
	problem(rec, 400, tcproom.ErrMalformed, "x"+strings.Repeat("ж", 1000))
	require.Contains(t, rec.Body.String(), `"x`+strings.Repeat("ж", 255)+`"`)
}

// TestOnPost: the hook gets each message with who it is from, and what it returns is
// posted, for members and others.
func TestOnPost(t *testing.T) {
	room := newRoom(t)
	m, token, _ := join(t, room, "ada")
	var froms []tcproom.MemberInfo
	s := serve(t, New(One("lobby", room), WithAnonymousPost(true), OnPost(func(r *http.Request, from tcproom.MemberInfo, body []byte) ([]byte, error) {
		froms = append(froms, from)
		switch string(body) {
		case "no":
			return nil, nil
		case "fast":
			return body, &tcproom.RefusedError{Cause: "rate-limited", RetryAfter: time.Minute}
		case "rude":
			return body, errors.New("be polite")
		case "boom":
			panic("my secret")
		}
		return []byte("so " + string(body)), nil
	})))
	auth := "Authorization: Bearer " + string(token)
	require.Equal(t, 201, s.ask("POST", messages, "hi", plainly).StatusCode)
	require.Equal(t, 201, s.ask("POST", messages, "ho", plainly, auth).StatusCode)
	require.Equal(t, []tcproom.MemberInfo{anonymous, m.Info()}, froms)
	for body, want := range map[string]int{"no": 403, "fast": 429, "rude": 403, "boom": 500} {
		a := s.ask("POST", messages, body, plainly, auth, "Idempotency-Key: 1")
		require.Equal(t, want, a.StatusCode, "%s: %s", body, a.body)
		require.NotContains(t, a.body, "my secret")
	}
	require.Contains(t, s.log.String(), "OnPost")
	var said []string
	for _, ev := range room.Past(0, 0).Events {
		said = append(said, string(ev.Body))
	}
	require.Equal(t, []string{"so hi", "so ho"}, said)
}
