package check

import (
	"encoding/json"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/roomprom"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

var promQL = parser.NewParser(parser.Options{})

// scraped returns the metrics of a hub with a room, a hook and somebody who has left,
// with their labels.
func scraped(t *testing.T) map[string][]string {
	t.Helper()
	metrics := roomprom.New()
	left := make(chan error, 1) // whatever the cause: its end may come before the room has written to it
	hub := tcproom.NewHub(metrics.HookTimer(), tcproom.WithRoom("lobby"), tcproom.OnConnect(func(*tcproom.Member) error { return nil }),
		tcproom.OnLeave(func(_ *tcproom.Member, cause error) { left <- cause }))
	defer hub.Close()
	metrics.AddHub(hub)
	conn, err := hub.Join(t.Context(), "lobby", tcproom.Identity{Name: "ada"})
	require.NoError(t, err)
	conn.Close()
	for range conn.Events(t.Context()) {
	}
	<-left
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(metrics))
	families, err := registry.Gather()
	require.NoError(t, err)
	names := make(map[string][]string)
	for _, f := range families {
		var list []string
		for _, l := range f.Metric[0].Label {
			list = append(list, l.GetName())
		}
		if f.GetType() == dto.MetricType_HISTOGRAM {
			for _, suffix := range []string{"_count", "_sum", "_bucket"} {
				names[f.GetName()+suffix] = append([]string{"le"}, list...)
			}
			continue
		}
		names[f.GetName()] = list
	}
	require.Greater(t, len(names), 40)
	return names
}

// byServer are the labels that the Prometheus server gives each series.
var byServer = []string{"job", "instance", model.MetricNameLabel}

// checkExpr parses expr, and checks that its metrics and their labels are there.
func checkExpr(t *testing.T, names map[string][]string, expr string) {
	t.Helper()
	tree, err := promQL.ParseExpr(expr)
	require.NoError(t, err, expr)
	selectors := 0
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		selectors++
		require.Contains(t, names, s.Name, "%s: there is no such metric", expr)
		for _, m := range s.LabelMatchers {
			require.Contains(t, append(byServer, names[s.Name]...), m.Name, "%s: there is no such label", expr)
			if m.Name == "cause" {
				for code := range strings.SplitSeq(m.Value, "|") {
					require.Contains(t, tcproom.Causes(), tcproom.Cause(code), expr)
				}
			}
			if m.Name == "hook" && m.Type == labels.MatchEqual {
				require.Equal(t, "OnMessage", m.Value)
			}
		}
		return nil
	})
	require.NotZero(t, selectors, expr)
	// What is grouped by is a label of all that is in there.
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		if a, ok := n.(*parser.AggregateExpr); ok {
			parser.Inspect(a.Expr, func(n parser.Node, _ []parser.Node) error {
				if s, ok := n.(*parser.VectorSelector); ok {
					require.Subset(t, append(byServer, names[s.Name]...), a.Grouping, expr)
				}
				return nil
			})
		}
		return nil
	})
}

// TestAlerts: the rules are as a Prometheus server reads them, over metrics that there
// are, and each says what to do.
func TestAlerts(t *testing.T) {
	names := scraped(t)
	groups, errs := rulefmt.ParseFile("../../alerts.yaml", false, model.UTF8Validation, promQL, slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	seen := make(map[string]bool)
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			require.False(t, seen[r.Alert], "%s is there twice", r.Alert)
			seen[r.Alert] = true
			checkExpr(t, names, r.Expr)
			require.Contains(t, []string{"page", "ticket"}, r.Labels["severity"], r.Alert)
			require.NotEmpty(t, r.Annotations["summary"], r.Alert)
			require.NotEmpty(t, r.Annotations["runbook"], r.Alert)
		}
	}
	require.Greater(t, len(seen), 5)
	// What a runbook names is there too.
	text, err := os.ReadFile("../../alerts.yaml")
	require.NoError(t, err)
	for _, name := range regexp.MustCompile(`\btcproom_\w+`).FindAllString(string(text), -1) {
		if name != "tcproom_hook_seconds" {
			require.Contains(t, names, name)
		}
	}
}

// TestDashboard: its queries parse, over metrics that there are; no panel covers another;
// all use the data source that is chosen.
func TestDashboard(t *testing.T) {
	names := scraped(t)
	text, err := os.ReadFile("../../dashboard.json")
	require.NoError(t, err)
	var board struct {
		Title, UID string
		Templating struct {
			List []struct {
				Name, Type string
				Query      any
			}
		}
		Panels []struct {
			ID         int
			Type       string
			Title      string
			GridPos    struct{ H, W, X, Y int }
			Datasource struct{ UID string }
			Targets    []struct {
				Expr       string
				Datasource struct{ UID string }
			}
		}
	}
	require.NoError(t, json.Unmarshal(text, &board))
	require.NotEmpty(t, board.Title)
	require.NotEmpty(t, board.UID)

	variables := map[string]bool{"__rate_interval": true}
	for _, v := range board.Templating.List {
		variables[v.Name] = true
		if v.Type == "query" {
			selector := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Query.(map[string]any)["query"].(string))
			require.NotNil(t, selector, v.Name)
			checkExpr(t, names, expand(selector[1]))
			name, _, _ := strings.Cut(selector[1], "{")
			require.Contains(t, append(byServer, names[name]...), selector[2])
		}
	}
	for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllSubmatch(text, -1) {
		require.Contains(t, append([]string{"__all"}, keys(variables)...), string(m[1]), "no such variable")
	}

	type cell struct{ x, y int }
	taken, ids, queries := make(map[cell]string), make(map[int]bool), 0
	for _, p := range board.Panels {
		require.False(t, ids[p.ID], p.Title)
		ids[p.ID] = true
		require.NotEmpty(t, p.Title)
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				c := cell{p.GridPos.X + x, p.GridPos.Y + y}
				require.Empty(t, taken[c], "under %s", p.Title)
				taken[c] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			require.Equal(t, "${datasource}", target.Datasource.UID)
			checkExpr(t, names, expand(target.Expr))
			queries++
		}
	}
	require.Greater(t, queries, 20)
	// All that a room counts is to be seen, by the room or together.
	for name := range names {
		total := strings.Replace(name, "tcproom_room_", "tcproom_", 1)
		if strings.HasSuffix(name, "_sum") {
			continue
		}
		require.True(t, strings.Contains(string(text), name) || strings.Contains(string(text), total), "the dashboard has no %s", name)
	}
}

func keys(m map[string]bool) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	return list
}

// expand puts in what Grafana does.
func expand(expr string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*", "$room", ".*").Replace(expr)
}

// TestDocs: docs/telemetry.md explains each metric, and no others, and has each alert.
func TestDocs(t *testing.T) {
	names := scraped(t)
	text, err := os.ReadFile("../../../docs/telemetry.md")
	require.NoError(t, err)
	documented := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]*) \| (?:gauge|counter|histogram) \|`).FindAllStringSubmatch(string(text), -1) {
		for _, name := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(m[1], -1) {
			documented["tcproom_"+strings.TrimPrefix(name[1], "tcproom_")] = true
		}
	}
	there := make(map[string]bool)
	for name := range names {
		name = strings.Replace(name, "tcproom_room_", "tcproom_", 1)
		for _, suffix := range []string{"_count", "_sum", "_bucket"} {
			name = strings.TrimSuffix(name, suffix)
		}
		there[name] = true
	}
	require.Equal(t, there, documented)
	rules, err := os.ReadFile("../../alerts.yaml")
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllSubmatch(rules, -1) {
		require.Contains(t, string(text), "`"+string(m[1])+"`")
	}
}
