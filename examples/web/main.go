// Web has a room within an HTTP service whose users log in: at /chat/ they chat, by the
// names that the service knows.
//
//	go run ./examples/web # and open http://localhost:8080/; ada's password is lovelace
package main

import (
	"crypto/rand"
	"crypto/subtle"
	"flag"
	"io"
	"log"
	"net/http"
	"sync"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomhttp"
)

var (
	passwords = map[string]string{"ada": "lovelace", "grace": "hopper"} // a real service has hashes
	sessions  sync.Map                                                  // from the value of a cookie to a name
)

const form = `<!doctype html><title>Log in</title><form method="post" action="/login">
<label>Name <input name="name" autofocus></label> <label>Password <input name="password" type="password"></label>
<button>Log in</button></form>`

func main() {
	addr := flag.String("addr", "localhost:8080", "listen on `HOST:PORT`")
	flag.Parse()
	room := tcproom.New(tcproom.WithHistory(tcproom.History{Messages: 50}), tcproom.WithSessions(tcproom.Sessions{}))
	srv := &http.Server{Addr: *addr, Handler: service(room), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second}
	log.Printf("open http://%s/", *addr)
	log.Fatal(srv.ListenAndServe())
}

func service(room *tcproom.Room) http.Handler {
	chat := http.StripPrefix("/chat", roomhttp.New(roomhttp.One("lobby", room), roomhttp.WithAuth(identify)))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'")
		io.WriteString(w, form)
	})
	mux.HandleFunc("POST /login", logIn)
	mux.Handle("/chat/", chat)
	mux.HandleFunc("GET /chat/{$}", func(w http.ResponseWriter, r *http.Request) {
		if _, err := identify(r); err != nil {
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		chat.ServeHTTP(w, r)
	})
	return http.NewCrossOriginProtection().Handler(mux) // no other site's page logs anybody in
}

// logIn begins a session, whose cookie no script and no other site's form can use.
func logIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	name, got := r.PostFormValue("name"), r.PostFormValue("password")
	if want, ok := passwords[name]; !ok || subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 0 {
		http.Error(w, "wrong name or password", http.StatusForbidden)
		return
	}
	id := rand.Text()
	sessions.Store(id, name)
	http.SetCookie(w, &http.Cookie{Name: "session", Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil})
	http.Redirect(w, r, "/chat/", http.StatusSeeOther)
}

// identify tells roomhttp who somebody is.
func identify(r *http.Request) (tcproom.Identity, error) {
	if cookie, err := r.Cookie("session"); err == nil {
		if name, ok := sessions.Load(cookie.Value); ok {
			return tcproom.Identity{Name: name.(string)}, nil
		}
	}
	return tcproom.Identity{}, roomhttp.ErrUnauthorized
}
