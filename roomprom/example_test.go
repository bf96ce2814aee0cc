package roomprom_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"example.com/tcproom"
	"example.com/tcproom/roomprom"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A room's metrics, as a Prometheus server gets them.
func Example() {
	metrics := roomprom.New()
	room := tcproom.New(metrics.HookTimer())
	defer room.Close()
	metrics.Add("lobby", room)

	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()

	if _, err := room.Broadcast(context.Background(), []byte("hello")); err != nil {
		log.Fatal(err)
	}
	resp, err := http.Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if line := lines.Text(); strings.Contains(line, "messages_total") && !strings.HasPrefix(line, "#") {
			fmt.Println(line)
		}
	}
	// Output:
	// tcproom_messages_total 1
	// tcproom_room_messages_total{room="lobby"} 1
}

// A hub of which only some rooms are told apart: the names of the others are of
// their users' choice, and stay out of the metrics.
func ExampleWithRooms() {
	official := map[string]bool{"lobby": true, "help": true}
	metrics := roomprom.New(roomprom.WithRooms(func(name string) bool { return official[name] }))
	hub := tcproom.NewHub(metrics.HookTimer(), tcproom.WithRoom("lobby"), tcproom.WithRoom("help"), tcproom.WithRoom("secret-plans"))
	defer hub.Close()
	metrics.AddHub(hub)

	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "tcproom_room_members" || f.GetName() == "tcproom_hub_rooms" {
			for _, m := range f.Metric {
				for _, l := range m.Label {
					fmt.Print(l.GetValue(), ": ")
				}
				fmt.Println(f.GetName(), m.Gauge.GetValue())
			}
		}
	}
	// Output:
	// tcproom_hub_rooms 3
	// help: tcproom_room_members 0
	// lobby: tcproom_room_members 0
}
