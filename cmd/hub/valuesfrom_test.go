package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// withPassword is an application retail/web whose chart has a Secret and a ConfigMap with values that are on the hub.
const withPassword = `
-- applications/retail/web/application.yaml --
apiVersion: muster.dev/v1alpha1
kind: Application
metadata: {name: web, namespace: retail}
spec:
  placementRef: {name: edge}
  source: {path: charts/web}
  helm:
    valuesFrom:
    - {kind: Secret, name: db, valuesKey: password, targetPath: db.password}
    - {kind: ConfigMap, name: settings}
  destination: {namespace: values, createNamespace: true}
-- charts/web/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
-- charts/web/values.yaml --
db: {password: none}
color: none
-- charts/web/templates/all.yaml --
apiVersion: v1
kind: Secret
metadata: {name: web}
stringData: {password: {{ .Values.db.password | quote }}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {color: {{ .Values.color | quote }}}
`

// TestValuesFromSecrets: values of a Secret and a ConfigMap of the application's namespace reach the cluster, and a change of them is a new
// plan. What the Secret says stands nowhere on the hub but in works, and what it said stays on clusters when it is gone.
func TestValuesFromSecrets(t *testing.T) {
	t.Parallel()
	f := newFleet(t, shopIn("shop")+clusterFile("one", "tier: edge")+withPassword, func(o *Options) { o.SourceInterval = time.Second })
	f.secretIn("retail", "db", map[string][]byte{"password": []byte("hunter22-first")})
	f.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "settings"}, Data: map[string]string{"values.yaml": "color: red\n"}})
	f.deliver()
	f.join("one")
	revision := f.push("")
	f.expectData("one", "values", "web", "color", "red")
	f.expectPassword("hunter22-first")
	f.expectHealthy("retail/web", revision, 1)

	var digest, plan string
	f.eventually(func() string {
		digest, plan = f.digestOf("Secret retail/db"), f.application("retail/web").Status.LastGoodPlan
		if !strings.HasPrefix(digest, "hmac:") || plan == "" {
			return fmt.Sprintf("the Secret is %q, the good plan %q", digest, plan)
		}
		return ""
	})

	f.run("a change of the Secret is a new plan", func(f *theFleet) {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "db"}}
		f.change(secret, func() { secret.Data["password"] = []byte("hunter22-second") })
		f.expectPassword("hunter22-second")
		f.eventually(func() string {
			if now := f.application("retail/web").Status.LastGoodPlan; now == plan || f.digestOf("Secret retail/db") == digest {
				return "the plan is what it was"
			}
			return ""
		})
	})
	f.run("and one of the ConfigMap", func(f *theFleet) {
		settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "settings"}}
		f.change(settings, func() { settings.Data["values.yaml"] = "color: blue\n" })
		f.expectData("one", "values", "web", "color", "blue")
	})
	f.run("a Secret that is gone is a fault, and what was delivered stays", func(f *theFleet) {
		var before corev1.Secret
		f.on("one", &before, "values", "web")
		f.delete(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "db"}})
		f.expectRow("retail/web", "one", "Secret retail/db, which valuesFrom names, is not on the hub", "applications/retail/web/application.yaml:9")
		f.push(configMapFile("charts/web/templates/more.yaml", "more", "color", "green")) // nothing of a later commit comes either
		f.expectRow("retail/web", "one", "is not on the hub")
		var after corev1.Secret
		if !f.on("one", &after, "values", "web") || after.UID != before.UID || string(after.Data["password"]) != "hunter22-second" {
			f.t.Errorf("the Secret on the cluster is %s, was %s", after.UID, before.UID)
		}
		f.expectData("one", "values", "more", "color", "")
	})
	f.run("what it said stands in no status and no event", func(f *theFleet) {
		var events eventsv1.EventList
		var apps musterv1alpha1.ApplicationList
		var repos musterv1alpha1.FleetRepositoryList
		for _, list := range []client.ObjectList{&events, &apps, &repos} {
			if err := f.client.List(f.ctx, list); err != nil {
				f.t.Fatal(err)
			}
			data, err := json.Marshal(list)
			if err != nil {
				f.t.Fatal(err)
			}
			if strings.Contains(string(data), "hunter22") {
				f.t.Errorf("%T holds the password: %s", list, data)
			}
		}
	})
	f.run("it comes back with the Secret", func(f *theFleet) {
		f.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "retail", Name: "db"}, Data: map[string][]byte{"password": []byte("hunter22-third")}})
		f.expectPassword("hunter22-third")
		f.expectData("one", "values", "more", "color", "green")
	})
	f.run("a value outside of Secrets is a fault that names the field and not the value", func(f *theFleet) {
		f.push("-- charts/web/templates/more.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\ndata: {color: \"{{ .Values.db.password }}\"}\n")
		f.expectRow("retail/web", "one", "data.color holds what Secret retail/db, key password says")
		f.expectData("one", "values", "more", "color", "green")
	})
}

// expectPassword waits for the Secret of withPassword on cluster one.
func (f *theFleet) expectPassword(want string) {
	f.t.Helper()
	f.eventually(func() string {
		var secret corev1.Secret
		if !f.on("one", &secret, "values", "web") || string(secret.Data["password"]) != want {
			return fmt.Sprintf("the password is %q, want %q; %s", secret.Data["password"], want, f.describe())
		}
		return ""
	})
}

// digestOf is the digest of a source in the status of retail/web.
func (f *theFleet) digestOf(source string) string {
	for _, s := range f.application("retail/web").Status.Sources {
		if s.Source == source {
			return s.Digest
		}
	}
	return ""
}
