package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"sigs.k8s.io/yaml"
)

// TestMetricsOfTheHub: a hub with an agent in this process tells Prometheus how the fleet is. Names, help and units are as Prometheus
// wants them; every metric that a dashboard or an alert of the chart asks for is there, and every expression parses. It does not run
// beside other tests: a process has one registry, and the last hub that registers answers for the fleet.
func TestMetricsOfTheHub(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	f := newFleet(t, tenant+clusterFile("one", "tier: edge")+placementFile("edge", everyEdge)+
		applicationFile("shop", "edge", "manifests/shop", "metrics", "")+configMapFile("manifests/shop/config.yaml", "shop", "color", "red"),
		func(o *Options) { o.MetricsAddress = address })
	f.deliver()
	f.join("one")
	f.expectReady("retail/shop")
	f.push("-- manifests/shop/more.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n")
	f.expectReady("retail/shop")
	scrape := func() string {
		t.Helper()
		answer, err := http.Get("http://" + address + "/metrics") //nolint:noctx // of this process
		if err != nil {
			return ""
		}
		defer answer.Body.Close()
		data, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	text := ""
	for _, want := range []string{
		`muster_clusters{state="joining"} 1`, `muster_application_ready{application="shop",namespace="retail"} 1`,
		`muster_application_clusters{application="shop",namespace="retail",state="healthy"} 1`, `muster_repository_delivered{namespace="muster-system",repository="fleet"} 1`,
		`muster_lead_time_seconds_count{application="",namespace="muster-system",stage="delivered"}`, `muster_lead_time_seconds_count{application="shop",namespace="retail",stage="healthy"}`,
		`muster_remote_look_seconds_count{kind="repository",result="fetched"}`, `muster_klusterlet_apply_duration_seconds_count`,
	} {
		f.eventually(func() string {
			if text = scrape(); !strings.Contains(text, want) {
				return fmt.Sprintf("the metrics do not say %s", want)
			}
			return ""
		})
	}
	problems, err := promlint.New(strings.NewReader(ours(text))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}

	// What is counted only when it happens has no value here.
	notYet := []string{"muster_held_deletions", "muster_application_rollout_clusters", "muster_render_worker_kills_total"}
	for where, expressions := range monitored(t) {
		for _, expression := range expressions {
			if _, err := metricsql.Parse(expression); err != nil {
				t.Errorf("%s: %s: %v", where, expression, err)
			}
			for _, name := range regexp.MustCompile(`[a-z_]*(muster|workqueue|rest_client)_[a-z_]+`).FindAllString(expression, -1) {
				if !strings.Contains(text, "\n"+name) && !slices.Contains(notYet, name) {
					t.Errorf("%s asks for %s, which nobody counts", where, name)
				}
			}
		}
	}
}

// ours are the metrics of Muster.
func ours(text string) string {
	var b strings.Builder
	for _, line := range strings.SplitAfter(text, "\n") {
		name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE ")
		if strings.HasPrefix(name, "muster_") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// monitored are the expressions of the chart's dashboards and alerts, by where they stand.
func monitored(t *testing.T) map[string][]string {
	t.Helper()
	const folder = "../../charts/muster-hub/monitoring/"
	all := map[string][]string{}
	for _, name := range []string{"fleet", "delivery", "agent"} {
		data, err := os.ReadFile(folder + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(data, &dashboard); err != nil {
			t.Fatal(err)
		}
		for _, p := range dashboard.Panels {
			for _, target := range p.Targets {
				where := name + ".json, " + p.Title
				all[where] = append(all[where], strings.ReplaceAll(target.Expr, "$namespace", ".*"))
			}
		}
	}
	data, err := os.ReadFile(folder + "alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var alerts struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(data, &alerts); err != nil {
		t.Fatal(err)
	}
	for _, g := range alerts.Groups {
		for _, r := range g.Rules {
			all["alert "+r.Alert] = []string{r.Expr}
		}
	}
	if len(all) < 20 {
		t.Fatalf("%d panels and alerts were found", len(all))
	}
	return all
}
