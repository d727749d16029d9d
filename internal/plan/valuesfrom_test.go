package plan_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/plan"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/review"
)

// oneSecret is a hub with one Secret that anybody finds.
type oneSecret map[string][]byte

// Find implements fleet.Sources.
func (s oneSecret) Find(r *fleet.Reference) (*fleet.Found, error) {
	if !r.IsSecret() {
		return nil, fleet.Fail(fleet.SourceUnavailable, fmt.Errorf("%s is not here", r))
	}
	return &fleet.Found{Name: r.Name(), Digest: fleet.ValuesDigest("uid", s), Values: &fleet.HeldValues{Data: s}}, nil
}

// passwordFleet is reuseFleet with an application whose chart cuts a password, and puts the pieces where everybody reads them.
func passwordFleet(template string) fstest.MapFS {
	files := reuseFleet()
	for name, text := range map[string]string{
		"applications/shop/db/application.yaml": "apiVersion: muster.dev/v1alpha1\nkind: Application\nmetadata: {name: db, namespace: shop}\nspec:\n  placementRef: {name: everywhere}\n" +
			"  source: {path: charts/db}\n  helm: {valuesFrom: [{kind: Secret, name: db, valuesKey: password, targetPath: password, allowOutsideSecrets: true}, {kind: Secret, name: db, allowOutsideSecrets: true}]}\n",
		"charts/db/Chart.yaml":             "apiVersion: v2\nname: db\nversion: 1.0.0\n",
		"charts/db/templates/objects.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: db}\ndata: {text: {{ " + template + " | quote }}}\n",
	} {
		files[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return files
}

// TestReviewReadsNoSecret: what a change makes of a Secret's value does not show it, whatever the chart does to it; that the value has
// changed shows, and an approval of the repository's plan is for the digest that the hub has.
func TestReviewReadsNoSecret(t *testing.T) {
	planner := &plan.Planner{Renderer: render.New(16 << 20)}
	build := func(w fleet.World, files fstest.MapFS, earlier *plan.Plan) *plan.Plan {
		t.Helper()
		s := fleet.Snapshot{Repository: "muster-system/fleet", Revision: strings.Repeat("0", 40), Tree: fleet.TreeOf(files)}
		defs, err := fleet.Load(context.Background(), s.Tree)
		if err != nil {
			t.Fatal(err)
		}
		p, err := planner.LoadedAfter(context.Background(), earlier, s, defs, w)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	secret := oneSecret{"password": []byte("hunter22"), "values.yaml": []byte("more: hunter22\n")}
	w := fleet.World{FromRepository: true, Sources: secret}
	shown := w
	mask := &fleet.Redactor{Key: []byte(rand.Text())}
	shown.Sources = fleet.Masked(secret, mask)

	live := build(w, passwordFleet(`.Values.password`), nil)
	base := build(shown, passwordFleet(`.Values.password`), live)
	if live.Digest != base.Digest {
		t.Error("hub and review do not agree on the digest of the repository's plan")
	}
	for name, template := range map[string]string{
		"encoded": `.Values.more | b64enc`, "reversed": `.Values.password | splitList "" | reverse | join ""`, "cut": `trunc 5 .Values.password`,
	} {
		head := build(shown, passwordFleet(template), base)
		result, err := review.Of(context.Background(), review.Input{Base: base, Head: head, Redact: *mask})
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(result)
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range []string{"hunte", "22retn", "aHVudGVy"} {
			if strings.Contains(string(data), piece) {
				t.Errorf("%s: the review shows %s: %s", name, piece, data)
			}
		}
		if !strings.Contains(string(data), "data.text") {
			t.Errorf("%s: the review does not show the change", name)
		}
	}

	changed := shown
	changed.Sources = fleet.Masked(oneSecret{"password": []byte("hunter23"), "values.yaml": []byte("more: x\n")}, mask)
	d, err := plan.Compare(base, build(changed, passwordFleet(`.Values.password`), base), *mask)
	if err != nil {
		t.Fatal(err)
	}
	if d.Empty() || len(d.Applications) == 0 || len(d.Applications[0].Changes) == 0 {
		t.Errorf("a new password is no change: %+v", d.Summary)
	}
}
