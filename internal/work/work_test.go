package work

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func key(group, kind, resource, namespace, name string) fleet.ObjectKey {
	return fleet.ObjectKey{Group: group, Version: "v1", Kind: kind, Resource: resource, Namespace: namespace, Name: name}
}

func configMap(name string) fleet.ObjectKey { return key("", "ConfigMap", "configmaps", "shop", name) }

func definitionKey(name string) fleet.ObjectKey {
	return key("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "", name)
}

// manifest with about so many bytes.
func manifest(k fleet.ObjectKey, size int) fleet.Manifest {
	apiVersion := k.Version
	if k.Group != "" {
		apiVersion = k.Group + "/" + k.Version
	}
	namespace := ""
	if k.Namespace != "" {
		namespace = fmt.Sprintf(`,"namespace":%q`, k.Namespace)
	}
	head := fmt.Sprintf(`{"apiVersion":%q,"data":"`, apiVersion)
	tail := fmt.Sprintf(`","kind":%q,"metadata":{"name":%q%s}}`, k.Kind, k.Name, namespace)
	return fleet.Manifest{
		Key: k, File: "manifests/" + k.Name + ".yaml",
		JSON: []byte(head + strings.Repeat("x", max(0, size-len(head)-len(tail))) + tail),
	}
}

func content(manifests ...fleet.Manifest) *fleet.Content { return &fleet.Content{Manifests: manifests} }

var storefront = fleet.ApplicationOwner("retail", "storefront")

func wanted(t *testing.T, in Input) Set {
	t.Helper()
	if in.Owner.IsZero() {
		in.Owner = storefront
	}
	if in.Options.Namespace == "" {
		in.Options.Namespace = "shop"
	}
	if in.Cluster == "" {
		in.Cluster = "edge-1"
	}
	if in.Revision == "" {
		in.Revision = "c0ffee"
	}
	set, err := Wanted(in)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func liveOf(works []*workv1.ManifestWork) []fleet.LiveWork {
	live := make([]fleet.LiveWork, len(works))
	for i, w := range works {
		live[i] = Live(w)
	}
	return live
}

func membership(parts [][]fleet.Manifest) map[fleet.ObjectKey]int {
	at := map[fleet.ObjectKey]int{}
	for number, p := range parts {
		for _, m := range p {
			at[m.Key.Identity()] = number
		}
	}
	return at
}

func TestNames(t *testing.T) {
	app := fleet.ApplicationOwner
	long := strings.Repeat("a", 38) + ".-" + strings.Repeat("b", 30)
	name := Name(app("retail", long), 12)
	if len(name) > 40+1+10+1+2 || strings.Contains(name, ".-") || !strings.HasSuffix(name, "-12") {
		t.Errorf("%q is no name of at most forty bytes of the application, a hash and a part", name)
	}
	web := app("retail", "web")
	if Name(app("a", "b-c"), 0) == Name(app("a-b", "c"), 0) || Name(web, 0) == Name(app("other", "web"), 0) {
		t.Error("applications of two namespaces must not share a name")
	}
	if m := FieldManager(web); !strings.HasPrefix(m, "work-agent-") || m == FieldManager(app("other", "web")) {
		t.Errorf("%q must begin as OCM wants and be the application's own", m)
	}
	repository := fleet.Owner{Kind: "FleetRepository", Namespace: "retail", Name: "web"}
	if Name(web, 0) == Name(repository, 0) || FieldManager(web) == FieldManager(repository) || web.Digest() == repository.Digest() {
		t.Error("owners of two kinds must differ")
	}
	for _, owner := range []fleet.Owner{web, repository} {
		key, value := OwnerAnnotation(owner)
		if got := OwnerOf(&metav1.ObjectMeta{Annotations: map[string]string{key: value}}); got != owner {
			t.Errorf("a work of %s says that it is of %s", owner, got)
		}
	}
	set := fleet.ReplicaSetOwner("retail", "web.1")
	made := &metav1.ObjectMeta{Labels: OwnerSelector(set)}
	if got := OwnerOf(made); got != set || OwnerDigest(made) != set.Digest() {
		t.Errorf("a work with OCM's labels of %s says that it is of %s", set, got)
	}
	made.Annotations = map[string]string{musterv1alpha1.ApplicationAnnotation: "retail/web"}
	if got := OwnerOf(made); got != web {
		t.Errorf("a label of OCM makes a work of %s one of %s", web, got)
	}
}

// TestNamesStay: an upgrade of the hub rewrites no work. These are the bytes on API servers and clusters since the first release.
func TestNamesStay(t *testing.T) {
	web := fleet.ApplicationOwner("retail", "web")
	key, value := OwnerAnnotation(web)
	for want, got := range map[string]string{
		"web-b74a5af52a-3": Name(web, 3), "work-agent-b74a5af52a": FieldManager(web), "7aa79ed793bde43b493f": web.Digest(),
		"muster.dev/application=retail/web": key + "=" + value,
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestObjectsThereAndBack(t *testing.T) {
	keys := []fleet.ObjectKey{
		configMap("a"), configMap("b"),
		key("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", "", "system:odd,name;with/all %"),
		key("apps", "Deployment", "deployments", "shop", "web"),
		configMap("c"),
	}
	text := FormatObjects(keys)
	got, err := ParseObjects(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(keys, got); diff != "" {
		t.Errorf("%s\n%s", text, diff)
	}
	if !strings.HasPrefix(text, "v1,ConfigMap,configmaps,shop,a,b;") {
		t.Errorf("%s does not share what neighbours have in common", text)
	}
	if _, err := ParseObjects("v1,ConfigMap"); err == nil {
		t.Error("half an entry must be an error")
	}
}

func TestSplit(t *testing.T) {
	const k = 1 << 10
	for name, row := range map[string]struct {
		why       string
		manifests []fleet.Manifest
		previous  map[fleet.ObjectKey]int
		want      map[string]int
	}{
		"small": {
			why:       "what is small stays together",
			manifests: []fleet.Manifest{manifest(configMap("a"), k), manifest(configMap("b"), k)},
			want:      map[string]int{"a": 0, "b": 0}},
		"beyond the target": {
			why:       "a new object does not make a part larger than the target",
			manifests: []fleet.Manifest{manifest(configMap("a"), 40*k), manifest(configMap("b"), 40*k), manifest(configMap("c"), 20*k)},
			want:      map[string]int{"a": 0, "b": 1, "c": 0}},
		"one large": {
			why:       "an object larger than the target has a part to itself",
			manifests: []fleet.Manifest{manifest(configMap("a"), 300*k), manifest(configMap("b"), k)},
			want:      map[string]int{"a": 0, "b": 1}},
		"sticky": {
			why:       "objects that grew beyond the target stay together",
			manifests: []fleet.Manifest{manifest(configMap("a"), 200*k), manifest(configMap("b"), 200*k)},
			previous:  map[fleet.ObjectKey]int{configMap("a").Identity(): 0, configMap("b").Identity(): 0},
			want:      map[string]int{"a": 0, "b": 0}},
		"too large together": {
			why:       "beyond the hard limit somebody has to go, in the order of application the last",
			manifests: []fleet.Manifest{manifest(configMap("a"), 300*k), manifest(configMap("b"), 300*k)},
			previous:  map[fleet.ObjectKey]int{configMap("a").Identity(): 0, configMap("b").Identity(): 0},
			want:      map[string]int{"a": 0, "b": 1}},
		"an emptied part": {
			why:       "the others keep their numbers",
			manifests: []fleet.Manifest{manifest(configMap("b"), 40*k)},
			previous:  map[fleet.ObjectKey]int{configMap("a").Identity(): 0, configMap("b").Identity(): 1},
			want:      map[string]int{"b": 1}},
		"definitions first": {
			why: "they go to the first part although it is full for others",
			manifests: []fleet.Manifest{manifest(configMap("a"), 60*k), manifest(configMap("b"), 60*k), manifest(definitionKey("w"), 100*k),
				manifest(key("", "Namespace", "namespaces", "", "shop"), k)},
			previous: map[fleet.ObjectKey]int{configMap("a").Identity(): 0, configMap("b").Identity(): 1},
			want:     map[string]int{"a": 0, "b": 1, "w": 0, "shop": 0}},
		"a mover avoids a part that another left": {
			why: "else two parts could wait for each other",
			manifests: []fleet.Manifest{manifest(configMap("a"), 480*k), manifest(configMap("b"), 30*k),
				manifest(configMap("c"), 480*k), manifest(configMap("d"), 30*k)},
			previous: map[fleet.ObjectKey]int{configMap("a").Identity(): 0, configMap("b").Identity(): 0,
				configMap("c").Identity(): 1, configMap("d").Identity(): 1},
			want: map[string]int{"a": 0, "b": 2, "c": 1, "d": 2}},
	} {
		t.Run(name, func(t *testing.T) {
			parts, err := Split(row.manifests, row.previous, 0)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]int{}
			for k, number := range membership(parts) {
				got[k.Name] = number
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.why, diff)
			}
		})
	}
}

func TestSplitByNumber(t *testing.T) {
	var manifests []fleet.Manifest
	for i := range MaxObjects + 1 {
		manifests = append(manifests, manifest(configMap(fmt.Sprintf("m%03d", i)), 100))
	}
	parts, err := Split(manifests, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(parts) != 2 || len(parts[0]) != MaxObjects || len(parts[1]) != 1 {
		t.Errorf("%d parts, the first with %d: no part may have more than %d objects", len(parts), len(parts[0]), MaxObjects)
	}
}

// TestLargeManifestsAreAlone: where the hub takes a manifest above the limit of a work, it is alone in its part, and stays there.
func TestLargeManifestsAreAlone(t *testing.T) {
	huge := configMap("huge")
	huge.Group, huge.Kind, huge.Namespace = "apiextensions.k8s.io", "CustomResourceDefinition", ""
	manifests := []fleet.Manifest{manifest(huge, 638<<10), manifest(configMap("a"), 10), manifest(configMap("b"), 10)}
	if _, err := Split(manifests, nil, 0); err == nil || !strings.Contains(err.Error(), "--manifest-limit 639") {
		t.Errorf("without a limit of the hub: %v", err)
	}
	parts, err := Split(manifests, nil, 1<<20)
	if err != nil || len(parts) != 2 || len(parts[0]) != 1 || len(parts[1]) != 2 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	previous := map[fleet.ObjectKey]int{huge.Identity(): 0, configMap("a").Identity(): 1, configMap("b").Identity(): 1}
	again, err := Split(append(manifests, manifest(configMap("c"), 10)), previous, 1<<20)
	if err != nil || len(again) != 2 || len(again[0]) != 1 || len(again[1]) != 3 {
		t.Errorf("one more: %d parts, %v", len(again), err)
	}
	if _, err := Split([]fleet.Manifest{manifest(huge, LargestManifest)}, nil, LargestManifest); err == nil || strings.Contains(err.Error(), "--manifest-limit") {
		t.Errorf("what no API server takes: %v", err)
	}
}

func TestSplitRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		manifests []fleet.Manifest
		reason    fleet.Reason
		says      []string
	}{
		"too large":    {[]fleet.Manifest{manifest(configMap("huge"), HardLimit)}, fleet.ManifestTooLarge, []string{"ConfigMap shop/huge", "501 KiB", "500 KiB", "manifests/huge.yaml", "divide"}},
		"escaped":      {[]fleet.Manifest{{Key: configMap("html"), JSON: []byte(strings.Repeat("<", HardLimit/5))}}, fleet.ManifestTooLarge, []string{"ConfigMap shop/html"}},
		"there is two": {[]fleet.Manifest{manifest(configMap("a"), 10), manifest(configMap("a"), 20)}, fleet.ManifestInvalid, []string{"twice"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Split(row.manifests, nil, 0)
			f, ok := fleet.AsFault(err)
			if !ok || f.Reason != row.reason || f.ActionRequiredBy != fleet.User {
				t.Fatalf("got %v, want %s of the author", err, row.reason)
			}
			for _, text := range row.says {
				if !strings.Contains(f.Error(), text) {
					t.Errorf("%q does not say %q", f.Error(), text)
				}
			}
		})
	}
}

// The laws of Split over random contents that change: bounds hold, input order does not matter, doing it again moves
// nothing, and an object that moves goes to no part that lost one.
func TestSplitLaws(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		previous := map[fleet.ObjectKey]int{}
		for range 6 {
			manifests := randomManifests(random)
			parts, err := Split(manifests, previous, 0)
			if err != nil {
				t.Fatal(err)
			}
			random.Shuffle(len(manifests), func(i, j int) { manifests[i], manifests[j] = manifests[j], manifests[i] })
			again, _ := Split(manifests, previous, 0)
			at := membership(parts)
			if diff := cmp.Diff(at, membership(again)); diff != "" {
				t.Fatalf("seed %d: the order of the input matters:\n%s", seed, diff)
			}
			settled, _ := Split(manifests, at, 0)
			if diff := cmp.Diff(at, membership(settled)); diff != "" {
				t.Fatalf("seed %d: doing it again moves objects:\n%s", seed, diff)
			}
			checkParts(t, seed, parts, len(manifests))
			checkMoves(t, seed, previous, at)
			previous = at
		}
	}
}

func randomManifests(random *rand.Rand) []fleet.Manifest {
	var manifests []fleet.Manifest
	for i := range 20 {
		if random.IntN(4) == 0 {
			continue
		}
		size := 1 << (8 + random.IntN(11))
		k := configMap(fmt.Sprintf("m%02d", i))
		if i%7 == 0 {
			k = definitionKey(fmt.Sprintf("d%02d", i))
		}
		manifests = append(manifests, manifest(k, size+random.IntN(size)/2))
	}
	return manifests
}

func checkParts(t *testing.T, seed uint64, parts [][]fleet.Manifest, want int) {
	t.Helper()
	count := 0
	for number, p := range parts {
		size := 0
		for _, m := range p {
			size += sizeOf(m)
		}
		if size > HardLimit || len(p) > MaxObjects {
			t.Fatalf("seed %d: part %d has %d bytes in %d objects", seed, number, size, len(p))
		}
		if !slices.IsSortedFunc(p, func(a, b fleet.Manifest) int { return compareKeys(a.Key, b.Key) }) {
			t.Fatalf("seed %d: part %d is not in the order of application", seed, number)
		}
		count += len(p)
	}
	if count != want {
		t.Fatalf("seed %d: %d objects in parts, want %d", seed, count, want)
	}
}

func checkMoves(t *testing.T, seed uint64, previous, at map[fleet.ObjectKey]int) {
	t.Helper()
	left := map[int]bool{}
	for k, number := range at {
		if before, ok := previous[k]; ok && before != number {
			left[before] = true
		}
	}
	for k, number := range at {
		if before, ok := previous[k]; ok && before != number && left[number] {
			t.Fatalf("seed %d: %s moved to part %d, which another object had to leave", seed, k, number)
		}
	}
}

func TestWanted(t *testing.T) {
	deployment := key("apps", "Deployment", "deployments", "shop", "web")
	options := Options{
		CreateNamespace: true, ServiceAccount: "shop-deployer",
		Ignore: []musterv1alpha1.IgnoreRule{
			{Kind: "Deployment", JSONPointers: []string{"/spec/replicas"}},
			{Kind: "Deployment", Group: "other", JSONPointers: []string{"/spec/not"}},
		},
	}
	set := wanted(t, Input{Options: options, Content: content(
		manifest(deployment, 100), manifest(configMap("settings"), 100), manifest(definitionKey("widgets.example.com"), 100))})
	if len(set.Works) != 1 {
		t.Fatalf("%d works, want 1", len(set.Works))
	}
	w := set.Works[0]
	if w.Namespace != "edge-1" || w.Name != Name(fleet.ApplicationOwner("retail", "storefront"), 0) {
		t.Errorf("work %s/%s", w.Namespace, w.Name)
	}
	wantMeta := map[string]string{
		"muster.dev/application": "retail/storefront", "muster.dev/part": "0", "muster.dev/revision": "c0ffee",
		"muster.dev/set-digest": set.Digest, "muster.dev/set-size": "1", "muster.dev/content-digest": SpecDigest(w),
		"muster.dev/drift": "Correct",
		"muster.dev/objects": "apiextensions.k8s.io/v1,CustomResourceDefinition,customresourcedefinitions,,widgets.example.com;" +
			"v1,Namespace,namespaces,,shop;v1,ConfigMap,configmaps,shop,settings;apps/v1,Deployment,deployments,shop,web",
	}
	if diff := cmp.Diff(wantMeta, w.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	checkSpec(t, w)
	live := Live(w)
	if diff := cmp.Diff([]fleet.ObjectKey{
		definitionKey("widgets.example.com"), key("", "Namespace", "namespaces", "", "shop"), configMap("settings"), deployment,
	}, live.Objects); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

func checkSpec(t *testing.T, w *workv1.ManifestWork) {
	t.Helper()
	hub := storefront.Digest()
	wantNamespace := `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}`
	if got := string(w.Spec.Workload.Manifests[1].Raw); got != wantNamespace {
		t.Errorf("the shared namespace must carry no label that applications would take from each other: %s", got)
	}
	if got := string(w.Spec.Workload.Manifests[3].Raw); !strings.Contains(got, `"labels":{"muster.dev/application-id":"`+hub+`"}`) {
		t.Errorf("no label of this hub: %s", got)
	}
	wantOption := &workv1.DeleteOption{
		PropagationPolicy: "SelectivelyOrphan",
		SelectivelyOrphan: &workv1.SelectivelyOrphan{OrphaningRules: []workv1.OrphaningRule{
			{Resource: "namespaces", Name: "shop"},
			{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions", Name: "widgets.example.com"},
		}},
	}
	if diff := cmp.Diff(wantOption, w.Spec.DeleteOption); diff != "" {
		t.Errorf("delete option (-want +got):\n%s", diff)
	}
	wantConfig := workv1.ManifestConfigOption{
		ResourceIdentifier: workv1.ResourceIdentifier{Group: "apps", Resource: "deployments", Namespace: "shop", Name: "web"},
		FeedbackRules:      []workv1.FeedbackRule{{Type: "WellKnownStatus"}},
		FeedbackScrapeType: "Poll",
		UpdateStrategy: &workv1.UpdateStrategy{Type: "ServerSideApply", ServerSideApply: &workv1.ServerSideApplyConfig{
			Force: true, FieldManager: FieldManager(fleet.ApplicationOwner("retail", "storefront")),
			IgnoreFields: []workv1.IgnoreField{{Condition: "OnSpokePresent", JSONPointers: []string{"/spec/replicas"}}},
		}},
	}
	got := w.Spec.ManifestConfigs[3]
	if diff := cmp.Diff(wantConfig, got, cmpopts.IgnoreFields(got, "ConditionRules")); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if len(got.ConditionRules) != 2 {
		t.Errorf("%d condition rules, want Progressing and Degraded", len(got.ConditionRules))
	}
	account := w.Spec.Executor.Subject.ServiceAccount
	if account.Namespace != "shop" || account.Name != "shop-deployer" {
		t.Errorf("executor %s/%s, want the account in the destination namespace", account.Namespace, account.Name)
	}
}

// What an API server does to a work must not change its digest, and every default of the API must be written out.
func TestSpecDigestSurvivesTheServer(t *testing.T) {
	raw := fleet.Manifest{Key: configMap("a"), JSON: []byte(
		`{"apiVersion":"v1","data":{"b":"<&>","n":1.0,"e":1e3,"big":9007199254740993},"kind":"ConfigMap","metadata":{"creationTimestamp":null,"labels":{},"name":"a","namespace":"shop"}}`)}
	w := wanted(t, Input{Content: content(raw)}).Works[0]
	back := w.DeepCopy()
	back.Spec.Workload.Manifests[0].Raw = []byte(`{"kind":"ConfigMap", "apiVersion":"v1","metadata":{"namespace":"shop","name":"a",` +
		`"labels":{"muster.dev/application-id":"` + storefront.Digest() + `"}},` +
		`"data":{"n":1,"e":1000,"b":"\u003c\u0026\u003e","big":9007199254740993}}`)
	if SpecDigest(back) != SpecDigest(w) || SpecDigest(w) != w.Annotations["muster.dev/content-digest"] {
		t.Errorf("the digest changed on the way:\n%s", w.Spec.Workload.Manifests[0].Raw)
	}
	back.Spec.Workload.Manifests[0].Raw = []byte(strings.Replace(string(back.Spec.Workload.Manifests[0].Raw), "1000", "1001", 1))
	if SpecDigest(back) == SpecDigest(w) {
		t.Error("a changed value must change the digest")
	}
	defaulted := w.Spec
	if defaulted.DeleteOption.PropagationPolicy == "" || defaulted.ManifestConfigs[0].FeedbackScrapeType == "" ||
		defaulted.ManifestConfigs[0].UpdateStrategy.Type == "" || defaulted.ManifestConfigs[0].UpdateStrategy.ServerSideApply.FieldManager == "" {
		t.Error("a default of the API is not written out")
	}
}

func TestRevisionIsThatOfTheLastChange(t *testing.T) {
	first := wanted(t, Input{Content: content(manifest(configMap("a"), 100)), Revision: "one"})
	live := liveOf(first.Works)
	same := wanted(t, Input{Content: content(manifest(configMap("a"), 100)), Revision: "two", Live: live})
	if diff := cmp.Diff(first, same); diff != "" {
		t.Errorf("a commit that changes nothing here must change no work:\n%s", diff)
	}
	other := wanted(t, Input{Content: content(manifest(configMap("a"), 101)), Revision: "two", Live: live})
	if got := other.Works[0].Annotations["muster.dev/revision"]; got != "two" {
		t.Errorf("revision %q, want two", got)
	}
}

// A cluster that was offline while a definition left the chart sees only the newest rules.
func TestKeptObjectsStayKept(t *testing.T) {
	with := wanted(t, Input{Content: content(manifest(configMap("a"), 100), manifest(definitionKey("w"), 100))})
	live := liveOf(with.Works)
	for round := range 3 {
		without := wanted(t, Input{Content: content(manifest(configMap("a"), 100+round)), Live: live})
		rules := without.Works[0].Spec.DeleteOption.SelectivelyOrphan
		if rules == nil || len(rules.OrphaningRules) != 1 || rules.OrphaningRules[0].Name != "w" {
			t.Fatalf("round %d: the definition is not kept: %+v", round, without.Works[0].Spec.DeleteOption)
		}
		live = liveOf(without.Works)
	}
}

func TestWantedNeedsProperMetadata(t *testing.T) {
	_, err := Wanted(Input{Owner: storefront, Cluster: "edge-1", Content: content(fleet.Manifest{
		Key: configMap("a"), File: "a.yaml", JSON: []byte(`{"metadata":{"name":"a","labels":["x"]}}`)})})
	f, ok := fleet.AsFault(err)
	if !ok || f.Reason != fleet.ManifestInvalid || f.File != "a.yaml" {
		t.Errorf("got %v, want ManifestInvalid with the file", err)
	}
}

func TestDiffLaws(t *testing.T) {
	for seed := range uint64(25) {
		random := rand.New(rand.NewPCG(seed, 2))
		a, b := randomFleet(t, random, nil), randomFleet(t, random, nil)
		live := liveOf(a)
		for _, c := range Diff(live, a) {
			if c.Action != Keep {
				t.Fatalf("seed %d: Diff(x, x) has %s %s/%s", seed, c.Action, c.Cluster, c.Name)
			}
		}
		changes := Diff(live, b)
		if diff := cmp.Diff(names(b), names(applyAll(a, changes))); diff != "" {
			t.Fatalf("seed %d: applying Diff(a, b) to a does not give b:\n%s", seed, diff)
		}
		live = slices.Clone(live) // the changes point into the first one
		random.Shuffle(len(live), func(i, j int) { live[i], live[j] = live[j], live[i] })
		random.Shuffle(len(b), func(i, j int) { b[i], b[j] = b[j], b[i] })
		if diff := cmp.Diff(lines(changes), lines(Diff(live, b))); diff != "" {
			t.Fatalf("seed %d: the order of the input matters:\n%s", seed, diff)
		}
	}
}

func randomFleet(t *testing.T, random *rand.Rand, live []fleet.LiveWork) []*workv1.ManifestWork {
	t.Helper()
	var works []*workv1.ManifestWork
	for i := range 4 {
		if random.IntN(3) == 0 {
			continue
		}
		var manifests []fleet.Manifest
		for n := range 1 + random.IntN(4) {
			manifests = append(manifests, manifest(configMap(fmt.Sprintf("m%d", n)), 100+random.IntN(2)*(50<<10)))
		}
		set := wanted(t, Input{Cluster: fmt.Sprintf("edge-%d", i), Content: content(manifests...), Live: live})
		works = append(works, set.Works...)
	}
	return works
}

func applyAll(works []*workv1.ManifestWork, changes Changes) []*workv1.ManifestWork {
	at := map[workKey]*workv1.ManifestWork{}
	for _, w := range works {
		at[workKey{w.Namespace, w.Name}] = w
	}
	for _, c := range changes {
		if c.Action == Keep || c.Action == Refuse {
			continue
		}
		if c.Wanted == nil {
			delete(at, workKey{c.Cluster, c.Name})
			continue
		}
		at[workKey{c.Cluster, c.Name}] = c.Wanted
	}
	var out []*workv1.ManifestWork
	for _, w := range at {
		out = append(out, w)
	}
	return out
}

func lines(changes Changes) []string {
	var out []string
	for _, c := range changes {
		line := fmt.Sprint(c.Action, " ", c.Cluster, "/", c.Name, " ", c.Owner)
		if c.Live != nil {
			line += " from " + c.Live.SpecDigest
		}
		if c.Wanted != nil {
			line += " to " + SpecDigest(c.Wanted)
		}
		out = append(out, line)
	}
	return out
}

// names tells works apart by all that counts.
func names(works []*workv1.ManifestWork) []string {
	var out []string
	for _, w := range works {
		out = append(out, w.Namespace+"/"+w.Name+" "+SpecDigest(w)[:8]+" "+MetaDigest(w)[:8])
	}
	slices.Sort(out)
	return out
}

func TestDiff(t *testing.T) {
	w := wanted(t, Input{Content: content(manifest(configMap("a"), 100))}).Works[0]
	ours := Live(w)
	edit := func(change func(*fleet.LiveWork)) []fleet.LiveWork {
		lw := ours
		change(&lw)
		return []fleet.LiveWork{lw}
	}
	for name, row := range map[string]struct {
		why    string
		live   []fleet.LiveWork
		wanted []*workv1.ManifestWork
		want   []Action
	}{
		"new":      {"nothing is there", nil, []*workv1.ManifestWork{w}, []Action{Create}},
		"same":     {"nothing to do", edit(func(*fleet.LiveWork) {}), []*workv1.ManifestWork{w}, []Action{Keep}},
		"edited":   {"somebody edited the spec by hand", edit(func(lw *fleet.LiveWork) { lw.SpecDigest = "other" }), []*workv1.ManifestWork{w}, []Action{Update}},
		"relabel":  {"an annotation of ours is not as planned", edit(func(lw *fleet.LiveWork) { lw.MetaDigest = "other" }), []*workv1.ManifestWork{w}, []Action{Update}},
		"gone":     {"no longer wanted", edit(func(*fleet.LiveWork) {}), nil, []Action{Delete}},
		"going":    {"already being deleted", edit(func(lw *fleet.LiveWork) { lw.Deleting = true }), nil, []Action{Keep}},
		"again":    {"it is wanted again while it goes", edit(func(lw *fleet.LiveWork) { lw.Deleting = true }), []*workv1.ManifestWork{w}, []Action{Create}},
		"lost":     {"somebody took the label off ours", edit(func(lw *fleet.LiveWork) { lw.OwnerDigest, lw.MetaDigest = "", "" }), []*workv1.ManifestWork{w}, []Action{Update}},
		"foreign":  {"somebody's work has our name", edit(func(lw *fleet.LiveWork) { lw.OwnerDigest, lw.Owner = "", fleet.Owner{} }), []*workv1.ManifestWork{w}, []Action{Refuse}},
		"other":    {"another owner's work has our name", edit(func(lw *fleet.LiveWork) { lw.OwnerDigest = "x" }), []*workv1.ManifestWork{w}, []Action{Refuse}},
		"not ours": {"a foreign work is nobody's to delete", edit(func(lw *fleet.LiveWork) { lw.OwnerDigest = "" }), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []Action
			changes := Diff(row.live, row.wanted)
			for _, c := range changes {
				got = append(got, c.Action)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.why, diff)
			}
			if faults := changes.Faults(); slices.Contains(got, Refuse) && (len(faults) != 1 || faults[0].Reason != fleet.WorkForeign) {
				t.Errorf("faults %v, want WorkForeign", faults)
			}
		})
	}
}

func TestOrphanPatch(t *testing.T) {
	w := wanted(t, Input{Content: content(manifest(definitionKey("w"), 100))}).Works[0].DeepCopy()
	if lw := Live(w); lw.Orphan || len(lw.Kept) == 0 {
		t.Fatalf("orphan %v with rules %v, want the definition left and no more", lw.Orphan, lw.Kept)
	}
	if err := json.Unmarshal(OrphanPatch, w); err != nil { // merges, as the patch does
		t.Fatal(err)
	}
	if lw := Live(w); !lw.Orphan || lw.Kept != nil {
		t.Errorf("orphan %v with rules %v, want all objects left", lw.Orphan, lw.Kept)
	}
}
