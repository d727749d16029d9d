package ui

import (
	"crypto/rand"
	"encoding/json"
	"html/template"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/overview"
	"github.com/muster-io/muster/internal/rollout"
)

// views are all there are, by the path of the page; the API has the same below /api/v1.
func (s *Server) views() map[string]view {
	named := func(what string) func(*http.Request) string {
		return func(r *http.Request) string {
			return what + " " + strings.TrimPrefix(r.PathValue("namespace")+"/"+r.PathValue("name"), "/")
		}
	}
	is := func(title string) func(*http.Request) string { return func(*http.Request) string { return title } }
	const (
		clusters     = "cluster.open-cluster-management.io/managedclusters"
		placements   = "cluster.open-cluster-management.io/placements"
		applications = "muster.dev/applications"
		repositories = "muster.dev/fleetrepositories"
	)
	request := func(r *http.Request) string { return "Pull request " + r.PathValue("number") }
	return map[string]view{
		"/{$}":          {template: "fleet", title: is("Fleet"), section: "fleet", resource: clusters, make: s.fleet},
		"/applications": {template: "applications", title: is("Applications"), section: "applications", make: s.applications},
		"/applications/{namespace}/{name}": {
			template: "application", title: named("Application"), section: "applications", resource: applications, make: s.application,
		},
		"/applications/{namespace}/{name}/clusters/{cluster}": {
			template: "target", title: named("Application"), section: "applications", resource: applications, make: s.target,
		},
		"/applications/{namespace}/{name}/clusters/{cluster}/live": {
			template: "live", title: named("Application"), section: "applications", resource: applications, make: s.live, still: true,
		},
		"/applications/{namespace}/{name}/clusters/{cluster}/logs": {
			template: "logs", title: named("Log of"), section: "applications", resource: applications, make: s.logs, still: true,
		},
		"/applications/{namespace}/{name}/clusters/{cluster}/object": {
			template: "object", title: named("Object of"), section: "applications", resource: applications, make: s.object, still: true,
		},
		"/rollouts":        {template: "rollouts", title: is("Rollouts"), section: "rollouts", make: s.rollouts},
		"/clusters/{name}": {template: "cluster", title: named("Cluster"), section: "fleet", resource: clusters, make: s.cluster},
		"/placements":      {template: "placements", title: is("Placements"), section: "placements", resource: placements, make: s.placementList},
		"/placements/{namespace}/{name}": {
			template: "placement", title: named("Placement"), section: "placements", resource: placements, make: s.placement,
		},
		"/drift":        {template: "drift", title: is("Drift"), section: "drift", make: s.drift},
		"/activity":     {template: "activity", title: is("Activity"), section: "activity", make: s.activity},
		"/repositories": {template: "repositories", title: is("Repositories"), section: "repositories", make: s.repositories},
		"/reviews":      {template: "reviews", title: is("Reviews"), section: "reviews", make: s.reviews},
		"/reviews/{namespace}/{name}/{number}": {
			template: "plan", title: request, section: "reviews", resource: repositories, make: s.review,
		},
		"/repositories/{namespace}/{name}/plan": {
			template: "plan", title: named("Plan of"), section: "repositories", resource: repositories, make: s.comparison, still: true,
		},
		"/repositories/{namespace}/{name}": {
			template: "repository", title: named("Repository"), section: "repositories", resource: repositories, make: s.repository,
		},
	}
}

// openAPI describes the API: made of the same table that it is served from, so that it cannot lag behind.
func (s *Server) openAPI(w http.ResponseWriter, r *http.Request) {
	paths := map[string]any{}
	views := s.views()
	for _, pattern := range slices.Sorted(maps.Keys(views)) {
		v := views[pattern]
		path := "/api/v1" + strings.TrimSuffix(pattern, "{$}")
		parameters := []map[string]any{}
		for _, name := range []string{"namespace", "name", "cluster", "number"} {
			if strings.Contains(pattern, "{"+name+"}") {
				parameters = append(parameters, map[string]any{"name": name, "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
			}
		}
		asked := map[string]string{"q": "a text that the items hold", "state": "a state that the items have", "page": "from 1", "limit": "items on a page, at most 1000"}
		switch {
		case strings.HasSuffix(pattern, "/live"):
			asked = nil
		case strings.HasSuffix(pattern, "/logs"):
			asked = map[string]string{"pod": "a pod, or namespace/pod; left out, the one that does worst", "container": "left out, the one that does worst",
				"lines": "from the end, at most 2000", "previous": "not empty: of the container before it was started anew"}
		case strings.HasSuffix(pattern, "/object"):
			asked = map[string]string{"kind": "of the object", "object": "its name", "group": "of its kind, if any", "in": "its namespace, if any"}
		case strings.HasSuffix(pattern, "/plan"):
			asked = map[string]string{"base": "a commit in full", "head": "a commit in full; left out, the delivered one", "application": "namespace/name of the only one to tell of"}
		}
		for name, what := range asked {
			kind := "string"
			if name == "page" || name == "limit" || name == "lines" {
				kind = "integer"
			}
			parameters = append(parameters, map[string]any{"name": name, "in": "query", "description": what, "schema": map[string]any{"type": kind}})
		}
		slices.SortFunc(parameters, func(a, b map[string]any) int { return strings.Compare(a["name"].(string), b["name"].(string)) })
		answers := map[string]any{
			"200": map[string]any{"description": "what the page " + v.template + " shows", "content": map[string]any{"application/json": map[string]any{}}},
			"304": map[string]any{"description": "nothing has changed since the ETag in If-None-Match"},
			"403": map[string]any{"description": "you have no right to list it"},
		}
		paths[path] = map[string]any{"get": map[string]any{"operationId": operationOf(pattern, v), "parameters": parameters, "responses": answers}}
	}
	paths["/api/v1/watch"] = map[string]any{"get": map[string]any{
		"operationId": "watch", "responses": map[string]any{"200": map[string]any{
			"description": "server-sent events: changed, whenever anything has changed, at most once a second", "content": map[string]any{"text/event-stream": map[string]any{}},
		}},
	}}
	writeJSON(w, r, http.StatusOK, map[string]any{
		"openapi": "3.1.0", "info": map[string]any{"title": "Muster", "version": s.Version, "description": "What a fleet is like. Read only."}, "paths": paths,
	})
}

// operationOf names an operation of the API: two views share the template of a plan.
func operationOf(pattern string, v view) string {
	if strings.HasSuffix(pattern, "/plan") {
		return "comparison"
	}
	return v.template
}

// redacted is a manifest as the page shows it.
func (s *Server) redacted(raw []byte) (map[string]any, error) {
	var object map[string]any
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	return redactor.Redact(object), nil
}

// redactor hashes with a key of this process: the page compares nothing with another one's hashes.
var redactor = fleet.Redactor{Key: []byte(rand.Text())}

func nameOf(object map[string]any) string {
	metadata, _ := object["metadata"].(map[string]any)
	kind, _ := object["kind"].(string)
	name, _ := metadata["name"].(string)
	if namespace, _ := metadata["namespace"].(string); namespace != "" {
		name = namespace + "/" + name
	}
	return kind + " " + name
}

// functions of the templates.
func (s *Server) functions() template.FuncMap {
	return template.FuncMap{
		"asset":      func(name string) string { return "/static/" + s.assets[name] },
		"link":       linkTo,
		"count":      func(n any, noun string) string { return overview.Count(int(reflect.ValueOf(n).Int()), noun) },
		"short":      overview.Short,
		"orNone":     overview.OrNone,
		"revision":   fleet.ShortRevision,
		"holdText":   rollout.HoldText,
		"position":   func(file string, line any) string { return overview.Position(file, int(reflect.ValueOf(line).Int())) },
		"ago":        func(t time.Time) string { return agoOf(s.Now(), t) },
		"isoTime":    func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"bar":        bar,
		"summary":    summaryBar,
		"sections":   func() []section { return sections },
		"tone":       tone,
		"isTrue":     func(v any) bool { return v == "True" },
		"containers": overview.Containers,
		"logLines":   func() []int64 { return []int64{50, logLines, 500, 1000, logLinesMax} },
		"plusLines":  func(text string) int { return min(30, strings.Count(text, "\n")+2) },
		"says":       func(h overview.Hub) []string { return saysOf(h, s.Now()) },
		"dict": func(pairs ...any) map[string]any {
			m := map[string]any{}
			for i := 0; i+1 < len(pairs); i += 2 {
				m[pairs[i].(string)] = pairs[i+1]
			}
			return m
		},
	}
}

func agoOf(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return overview.Age(now.Sub(t)) + " ago"
}

// saysOf are the lines about a hub that does not run, was away, or cannot hear its clusters.
func saysOf(h overview.Hub, now time.Time) []string {
	var lines []string
	if !h.Current() {
		lines = append(lines, h.Says(now))
	}
	for _, text := range []string{h.Away(now), h.MassSilence(now)} {
		if text != "" {
			lines = append(lines, text)
		}
	}
	return lines
}

// section is an entry of the menu.
type section struct{ Name, Title, Path, Key string }

var sections = []section{
	{"fleet", "Fleet", "/", "f"},
	{"applications", "Applications", "/applications", "a"},
	{"rollouts", "Rollouts", "/rollouts", "r"},
	{"placements", "Placements", "/placements", "p"},
	{"reviews", "Reviews", "/reviews", "l"},
	{"drift", "Drift", "/drift", "d"},
	{"repositories", "Repositories", "/repositories", "g"},
	{"activity", "Activity", "/activity", "v"},
}
