package review_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/review"
)

var update = flag.Bool("update", false, "rewrite the comments in testdata")

// the fleet that every change starts from.
const shop = `
-- clustersets/shops.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSet
metadata: {name: shops}
-- tenants/retail.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: retail}
---
apiVersion: cluster.open-cluster-management.io/v1beta2
kind: ManagedClusterSetBinding
metadata: {name: shops, namespace: retail}
spec: {clusterSet: shops}
-- placements/shops.yaml --
apiVersion: cluster.open-cluster-management.io/v1beta1
kind: Placement
metadata: {name: shops, namespace: retail}
spec:
  predicates:
  - requiredClusterSelector: {labelSelector: {matchExpressions: [{key: env, operator: In, values: [prod, staging]}]}}
-- applications/web.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: web, namespace: retail}
spec:
  placementRef: {name: shops}
  source: {path: charts/web}
  helm:
    values: {tag: "1", token: hunter2}
  overrides:
  - name: staging
    clusterSelector: {labelSelector: {matchLabels: {env: staging}}}
    helm: {values: {tag: "1"}}
-- charts/web/Chart.yaml --
{apiVersion: v2, name: web, version: 1.0.0}
-- charts/web/templates/web.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "registry.example.com/web:{{ .Values.tag }}"}]}
---
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: shop}
stringData: {token: "{{ .Values.token }}"}
`

func cluster(name, labels string) string {
	return fmt.Sprintf("-- clusters/%s.yaml --\napiVersion: cluster.open-cluster-management.io/v1\nkind: ManagedCluster\n"+
		"metadata: {name: %s, labels: {cluster.open-cluster-management.io/clusterset: shops, %s}}\nspec: {hubAcceptsClient: true}\n", name, name, labels)
}

var clusters = cluster("prod-1", "env: prod") + cluster("prod-2", "env: prod") + cluster("prod-3", "env: prod") +
	cluster("staging-1", "env: staging") + cluster("dev-1", "env: dev")

func treeOf(archives ...string) fleet.Tree {
	files := fstest.MapFS{}
	for _, a := range archives {
		for _, f := range txtar.Parse([]byte(a)).Files {
			delete(files, f.Name)
			if len(strings.TrimSpace(string(f.Data))) > 0 {
				files[f.Name] = &fstest.MapFile{Data: f.Data, Mode: 0o644}
			}
		}
	}
	return fleet.TreeOf(fs.FS(files))
}

// reviewOf compares the shop with one in which some files are others, in a world in which the shop is delivered.
func reviewOf(t *testing.T, before, changed string, change review.Change) *review.Review {
	t.Helper()
	ctx := context.Background()
	planner := &plan.Planner{Renderer: render.New(1 << 20)}
	build := func(revision string, tree fleet.Tree, w fleet.World) *plan.Plan {
		p, err := planner.Build(ctx, fleet.Snapshot{Repository: "muster-system/fleet", Revision: revision, Tree: tree}, w)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	w := fleet.World{Time: time.Unix(0, 0), FromRepository: true}
	base := build("1111111aaaa", treeOf(shop, clusters, before), w)
	tree := treeOf(shop, clusters, before, changed)
	next, err := fleet.Load(ctx, tree)
	if err != nil {
		t.Fatal(err)
	}
	head := build("2222222bbbb", tree, plan.Delivered(w, base, next))
	r, err := review.Of(ctx, review.Input{
		Base: base, Head: head, Redact: fleet.Redactor{Key: []byte("k")}, Change: change,
		Policies: review.Policies(base.Definitions, nil, "muster-system/fleet"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func edit(file, old, new string) string {
	for _, f := range txtar.Parse([]byte(shop + clusters)).Files {
		if f.Name != file {
			continue
		}
		text := strings.Replace(string(f.Data), old, new, 1)
		if text == string(f.Data) {
			panic(file + " does not hold " + old)
		}
		return "-- " + file + " --\n" + text
	}
	panic("no file " + file)
}

// policy is a ReviewPolicy in the repository.
func policy(action, expression, message string) string {
	return fmt.Sprintf("-- placements/policy.yaml --\napiVersion: muster.dev/v1alpha1\nkind: ReviewPolicy\nmetadata: {name: rule, namespace: muster-system}\n"+
		"spec:\n  action: %s\n  validations:\n  - message: %q\n    expression: |\n      %s\n", action, message, expression)
}

func TestMarkdown(t *testing.T) {
	cases := map[string]struct{ before, changed, why string }{
		"image":     {"", edit("applications/web.yaml", `tag: "1"`, `tag: "2"`), "resources are grouped by clusters that get the same change; a Secret is hashed"},
		"placement": {"", edit("placements/shops.yaml", "[prod, staging]", "[staging, dev]"), "clusters come and go with the reason, deletions are held"},
		"fault":     {"", edit("applications/web.yaml", `"1", token`, `'${{ label("site") }}', token`), "a fault has its file and line"},
		"secret":    {"", edit("applications/web.yaml", "hunter2", "correct-horse"), "that a Secret changes is seen, its values are not"},
		"policy": {
			policy("Deny", `plan.images.all(i, !i.endsWith(":latest"))`, "pin a version: latest is another one tomorrow"),
			edit("applications/web.yaml", `tag: "1"`, `tag: latest`), "what denies comes first",
		},
		"nothing": {"", "-- README.md --\nhello\n", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := reviewOf(t, c.before, c.changed, review.Change{Author: "alice"})
			got := r.Markdown(review.Text{
				Marker: "<!-- muster -->", World: "hub", Limit: 65536, OnHost: true, FailOn: []review.Failure{review.OnFaults, review.OnHeld}, Approvers: []string{"bob", "acme/platform"},
			})
			for _, secret := range []string{"hunter2", "correct-horse", "aHVudGVyMg"} {
				if strings.Contains(got, secret) {
					t.Errorf("the comment has %q", secret)
				}
			}
			file := filepath.Join("testdata", name+".md")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.why, diff)
			}
		})
	}
}

// TestNobodyMayApprove: a comment offers no command that nobody may give.
func TestNobodyMayApprove(t *testing.T) {
	r := reviewOf(t, "", edit("placements/shops.yaml", "[prod, staging]", "[staging, dev]"), review.Change{})
	got := r.Markdown(review.Text{Limit: 65536, OnHost: true})
	if strings.Contains(got, "/muster approve") || !strings.Contains(got, "muster approve --plan ") || !strings.Contains(got, "`spec.review.approvers` of the FleetRepository names nobody") {
		t.Errorf("who may approve is not said:\n%s", got)
	}
}

// TestNoClusters: a plan that knows no cluster does not look like one that changes nothing.
func TestNoClusters(t *testing.T) {
	r := reviewOf(t, "", edit("applications/web.yaml", `tag: "1"`, `tag: "2"`), review.Change{})
	r.Summary.Clusters = 0
	if line := r.Verdict().Line; !strings.Contains(line, "no cluster is known") {
		t.Errorf("the check says %q", line)
	}
	if text := r.Markdown(review.Text{}); !strings.Contains(text, "No cluster is known here") || !strings.Contains(text, "muster world save") {
		t.Errorf("the comment says\n%s", text)
	}
}

func TestVerdict(t *testing.T) {
	both := []review.Failure{review.OnFaults, review.OnHeld}
	cases := map[string]struct {
		before, changed string
		failOn          []review.Failure
		approve         bool
		ok              bool
		line            string
		why             string
	}{
		"an update":       {"", edit("applications/web.yaml", `tag: "1"`, `tag: "2"`), both, false, true, "1 of 1 application, +0 −0 clusters, 3 updates", ""},
		"a loss":          {"", edit("placements/shops.yaml", "[prod, staging]", "[prod]"), both, false, false, "1 of 1 application, +0 −1 clusters, 1 held", "over the guard's ten percent"},
		"an approved one": {"", edit("placements/shops.yaml", "[prod, staging]", "[prod]"), both, true, true, "1 of 1 application, +0 −1 clusters, 1 approved", ""},
		"holds allowed":   {"", edit("placements/shops.yaml", "[prod, staging]", "[prod]"), []review.Failure{review.OnFaults}, false, true, "1 of 1 application, +0 −1 clusters, 1 held", ""},
		"a fault":         {"", edit("applications/web.yaml", `"1", token`, `'${{ label("site") }}', token`), both, false, false, "0 of 1 application, +0 −0 clusters, 3 faults", "it keeps what it has"},
		"a warning":       {policy("Warn", "plan.updated == 0", "no"), edit("applications/web.yaml", `tag: "1"`, `tag: "2"`), both, false, true, "1 of 1 application, +0 −0 clusters, 3 updates, warning of muster-system/rule", ""},
		"a denial":        {policy("Deny", "plan.updated == 0", "no"), edit("applications/web.yaml", `tag: "1"`, `tag: "2"`), nil, false, false, "1 of 1 application, +0 −0 clusters, 3 updates, denied by muster-system/rule", "whatever the repository fails on"},
	}
	for name, c := range cases {
		r := reviewOf(t, c.before, c.changed, review.Change{})
		if c.approve {
			r.Approved = map[string]string{}
			for _, digest := range r.HeldPlans() {
				r.Approved[digest] = "bob"
			}
		}
		v := r.Verdict(c.failOn...)
		if v.OK != c.ok || v.Line != c.line {
			t.Errorf("%s: %v %q, want %v %q: %s", name, v.OK, v.Line, c.ok, c.line, c.why)
		}
	}
}

func TestPolicies(t *testing.T) {
	image := func(tag string) string { return edit("applications/web.yaml", `tag: "1"`, "tag: "+tag) }
	role := "-- charts/web/templates/role.yaml --\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: all}\n"
	atOnce := `plan.clusters.filter(c, c.labels[?"env"] == optional.of("prod")).size() * 5 <= clusters.filter(c, c.labels[?"env"] == optional.of("prod")).size()`
	staging := `plan.applications.all(a, a.clusters.filter(c, c.edit in ["Gained", "Updated"] && c.labels.env == "prod").all(c, ` +
		`c.images.all(i, a.clusters.exists(s, s.labels.env == "staging" && i in s.imagesBefore))))`
	roles := `plan.objects.all(o, o.kind != "ClusterRole") || "platform" in change.teams`
	cases := map[string]struct {
		expression, changed string
		change              review.Change
		broken              string // in the message
		why                 string
	}{
		"a fifth of prod at once": {atOnce, image(`"2"`), review.Change{}, "read this", "three of three"},
		"staging alone":           {atOnce, edit("applications/web.yaml", `{tag: "1"}`, `{tag: "2"}`), review.Change{}, "", ""},
		"latest":                  {`plan.images.all(i, !i.endsWith(":latest"))`, image("latest"), review.Change{}, "read this", ""},
		"a version":               {`plan.images.all(i, !i.endsWith(":latest"))`, image(`"2"`), review.Change{}, "", ""},
		"prod before staging":     {staging, image(`"2"`), review.Change{}, "read this", "staging runs 1"},
		"prod as staging":         {staging, edit("applications/web.yaml", "hunter2", "other"), review.Change{}, "", ""},
		"a role by anybody":       {roles, role, review.Change{Author: "eve"}, "read this", "a changed application gets an object more"},
		"a role by the platform":  {roles, role, review.Change{Author: "bob", Teams: []string{"platform"}}, "", ""},
		"the namespaces":          {`plan.namespaces == ["shop"]`, image(`"2"`), review.Change{}, "", ""},
		"deletions":               {`plan.lost == 0 && plan.deletedObjects == 0 && plan.held == 0`, edit("placements/shops.yaml", "[prod, staging]", "[prod]"), review.Change{}, "read this", ""},
		"the author":              {`change.author != "eve"`, image(`"2"`), review.Change{Author: "eve"}, "read this", ""},
		"no field":                {`plan.gone == 1`, image(`"2"`), review.Change{}, "cannot be evaluated", "a typo must not let everything pass"},
		"no CEL":                  {`plan.images.(`, image(`"2"`), review.Change{}, "cannot be evaluated", ""},
		"no truth":                {`"yes"`, image(`"2"`), review.Change{}, "cannot be evaluated", ""},
	}
	for name, c := range cases {
		r := reviewOf(t, policy("Deny", c.expression, "read this"), c.changed, c.change)
		got := ""
		if len(r.Findings) > 0 {
			got = r.Findings[0].Message
			if r.Findings[0].File != "placements/policy.yaml" || r.Findings[0].Line != 8 {
				t.Errorf("%s: the rule is at %s:%d", name, r.Findings[0].File, r.Findings[0].Line)
			}
		}
		if (c.broken == "") != (got == "") || !strings.Contains(got, c.broken) {
			t.Errorf("%s: %q, want %q: %s", name, got, c.broken, c.why)
		}
	}
}

// TestPolicyThatIsNoCEL: the change that brings it is told, not every change after it.
func TestPolicyThatIsNoCEL(t *testing.T) {
	for expression, want := range map[string]string{"plan.images.(": "spec.validations[0].expression: column", `"yes"`: "it is string and not bool", "plan.updated == 0 || true": ""} {
		r := reviewOf(t, "", policy("Deny", expression, "no"), review.Change{})
		got := ""
		if len(r.NewFaults) > 0 {
			got = r.NewFaults[0].Error()
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) || want != "" && (!strings.Contains(got, "placements/policy.yaml:8") || r.Verdict(review.OnFaults).OK) {
			t.Errorf("%s: %q, want %q", expression, got, want)
		}
		if r := reviewOf(t, policy("Warn", expression, "no"), edit("applications/web.yaml", `tag: "1"`, `tag: "2"`), review.Change{}); len(r.NewFaults) > 0 {
			t.Errorf("%s: what the base has is told as new: %v", expression, r.NewFaults)
		}
	}
}

// TestPoliciesOfTheBase: a change cannot take away the rule that it is held against.
func TestPoliciesOfTheBase(t *testing.T) {
	r := reviewOf(t, policy("Deny", "plan.updated == 0", "no"), edit("applications/web.yaml", `tag: "1"`, `tag: "2"`)+"-- placements/policy.yaml --\n", review.Change{})
	if len(r.Findings) != 1 || r.Verdict().OK {
		t.Errorf("the removed policy says %+v", r.Findings)
	}
	onHub := []musterv1alpha1.ReviewPolicy{{}, {}, {}}
	for i, namespace := range []string{"muster-system", "retail", "other"} {
		onHub[i].Namespace, onHub[i].Name = namespace, "rule"
	}
	var names []string
	for _, p := range review.Policies(&fleet.Definitions{}, onHub, "retail/fleet") {
		names = append(names, p.Namespace+"/"+p.Name)
	}
	if diff := cmp.Diff([]string{"muster-system/rule", "retail/rule"}, names); diff != "" {
		t.Errorf("policies of the hub for a repository of retail (-want +got):\n%s", diff)
	}
}

// TestMarkdownFits: whatever a change holds, the comment is within the host's limit and says what was left out and where it is.
func TestMarkdownFits(t *testing.T) {
	var many strings.Builder
	many.WriteString("-- charts/web/templates/many.yaml --\n")
	for i := range 800 {
		fmt.Fprintf(&many, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: many-%d, namespace: shop}\ndata: {text: \"%s\"}\n", i, strings.Repeat("é", 50))
	}
	for i := range 60 {
		fmt.Fprintf(&many, "-- applications/more-%d.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: %s-%d, namespace: retail}\n"+
			"spec: {placementRef: {name: shops}, source: {path: manifests/missing}}\n", i, strings.Repeat("long-", 20), i)
	}
	r := reviewOf(t, "", many.String(), review.Change{})
	whole := r.Markdown(review.Text{Whole: "https://muster.example.com/r/1"})
	if strings.Contains(whole, "Not everything fits") || !strings.Contains(whole, "many-799") {
		t.Errorf("without a limit something is left out: %.500s", whole)
	}
	for _, limit := range []int{65536, 20000, 4000, 1000, 300, 80} {
		got := r.Markdown(review.Text{Marker: "<!-- muster -->", Limit: limit, Whole: "https://muster.example.com/r/1"})
		if len(got) > limit {
			t.Errorf("limit %d: %d bytes", limit, len(got))
		}
		if !utf8.ValidString(got) || strings.Count(got, "\n```")%2 != 0 || strings.Count(got, "<details>") != strings.Count(got, "</details>") {
			t.Errorf("limit %d: something is not closed", limit)
		}
		if !strings.HasPrefix(got, "<!-- muster -->\n### Muster: ") {
			t.Errorf("limit %d: begins %.60q", limit, got)
		}
		if limit >= 300 && !strings.Contains(got, "(https://muster.example.com/r/1)") {
			t.Errorf("limit %d: does not say where the whole is", limit)
		}
	}
}

// TestMarkdownIsHarmless: content of a fork makes no mention, link, tag or block of its own.
func TestMarkdownIsHarmless(t *testing.T) {
	evil := "-- charts/web/templates/evil.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: evil, namespace: shop}\ndata:\n" +
		"  a: \"```\\n</details><script>alert(1)</script> @everyone [x](http://evil)\"\n  b: \"\\u001b[31m\"\n" +
		"-- applications/evil.yaml --\napiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: evil, namespace: retail}\n" +
		"spec: {placementRef: {name: shops}, source: {path: 'manifests/`@everyone`</details><img src=x>'}}\n"
	rule := policy("Warn", "false", "@everyone <img src=x> [x](http://evil) `@everyone")
	r := reviewOf(t, rule+"-- charts/web/templates/evil.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: evil, namespace: shop}\n", evil, review.Change{})
	got := r.Markdown(review.Text{Limit: 65536})
	if strings.Contains(got, "\x1b") {
		t.Error("control characters are in it")
	}
	escaped := regexp.MustCompile(`\\[^\w\s]`)
	inBlock, fence := false, ""
	for line := range strings.Lines(got) {
		line = strings.TrimSuffix(line, "\n")
		if !inBlock && strings.HasPrefix(line, "```") {
			inBlock, fence = true, strings.TrimRight(line, "dif")
			continue
		}
		if inBlock {
			inBlock = line != fence
			continue
		}
		for text := escaped.ReplaceAllString(line, ""); ; { // outside of code spans
			open := strings.IndexByte(text, '`')
			plain := text
			if open >= 0 {
				plain = text[:open]
			}
			if strings.Contains(plain, "@everyone") || strings.Contains(plain, "<img") || strings.Contains(plain, "<script") || strings.Contains(plain, "](http://evil") {
				t.Errorf("read as Markdown: %s", line)
			}
			if open < 0 {
				break
			}
			ticks := 0
			for open+ticks < len(text) && text[open+ticks] == '`' {
				ticks++
			}
			rest := text[open+ticks:]
			end := strings.Index(rest, strings.Repeat("`", ticks))
			if end < 0 {
				t.Fatalf("a code span is not closed: %s", line)
			}
			text = rest[end+ticks:]
		}
	}
	if inBlock {
		t.Error("a block is not closed")
	}
}

func TestReports(t *testing.T) {
	r := reviewOf(t, policy("Deny", "plan.faults == 0", "no faults"), edit("applications/web.yaml", `"1", token`, `'${{ label("site") }}', token`), review.Change{})
	data, err := r.SARIF("1.0", "fleet")
	if err != nil {
		t.Fatal(err)
	}
	var sarif struct {
		Version string
		Runs    []struct {
			Results []struct {
				RuleID, Level string
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(data, &sarif); err != nil {
		t.Fatal(err)
	}
	results := sarif.Runs[0].Results
	if sarif.Version != "2.1.0" || len(results) != 2 || results[0].RuleID != "ExpressionFailed" || results[0].Level != "error" ||
		results[0].Locations[0].PhysicalLocation.ArtifactLocation.URI != "fleet/applications/web.yaml" || results[0].Locations[0].PhysicalLocation.Region.StartLine != 8 ||
		results[1].RuleID != "Policy/muster-system/rule" {
		t.Errorf("SARIF: %s", data)
	}
	if data, err = r.JUnit("fleet", review.OnFaults); err != nil {
		t.Fatal(err)
	}
	var junit struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
	}
	if err := xml.Unmarshal(data, &junit); err != nil || junit.Failures != 2 || junit.Tests != 2 {
		t.Errorf("JUnit: %v %s", err, data)
	}
}
