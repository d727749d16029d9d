package ui

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/drift"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/work"
)

// objectView is one object of an application as it is on the cluster, beside its manifest.
type objectView struct {
	Namespace string                          `json:"namespace"`
	Name      string                          `json:"name"`
	Cluster   string                          `json:"cluster"`
	Object    musterv1alpha1.InspectionObject `json:"object"`
	Problem   string                          `json:"problem,omitempty"`
	// Live is the object, Manifest what it was applied from, both as YAML; what an object owns has no manifest.
	Live     string `json:"live,omitempty"`
	Manifest string `json:"manifest,omitempty"`
	// Differences are the fields of the manifest that the live object does not have as they are written.
	Differences []work.FieldChange `json:"differences,omitempty"`
}

// object asks a cluster for one object, and compares it with its manifest.
func (s *Server) object(ctx context.Context, p *Person, r *http.Request) (any, error) {
	q := r.URL.Query()
	v := objectView{
		Namespace: r.PathValue("namespace"), Name: r.PathValue("name"), Cluster: r.PathValue("cluster"),
		Object: musterv1alpha1.InspectionObject{Group: q.Get("group"), Kind: q.Get("kind"), Namespace: q.Get("in"), Name: q.Get("object")},
	}
	if v.Object.Kind == "" || v.Object.Name == "" {
		return nil, apiError{http.StatusBadRequest, "name an object with kind= and object=, and where it has them group= and in= (its namespace)"}
	}
	answer, problem, err := s.inspect(ctx, p, r, musterv1alpha1.InspectionSpec{Object: &v.Object})
	switch {
	case err != nil:
		return nil, err
	case answer == nil:
		v.Problem = problem
		return v, nil
	case answer.Live == "":
		v.Problem = agentTooOld
		return v, nil
	}
	s.Log.Info("a person read an object on the page", "person", p.Name, "cluster", v.Cluster, "application", v.Namespace+"/"+v.Name, "kind", v.Object.Kind, "object", v.Object.Name)
	text, err := yaml.JSONToYAML([]byte(answer.Live))
	if err != nil {
		return nil, fmt.Errorf("show %s %s: %w", v.Object.Kind, v.Object.Name, err)
	}
	v.Live = string(text)
	return v, s.compare(ctx, p, &v, answer.Live)
}

// compare finds the manifest of an object among the works of its application, and what of it the live object does not have.
func (s *Server) compare(ctx context.Context, p *Person, v *objectView, live string) error {
	for _, lw := range s.Works.Of(fleet.ApplicationOwner(v.Namespace, v.Name)) {
		var w workv1.ManifestWork
		if lw.Cluster != v.Cluster {
			continue
		}
		if err := p.Client.Get(ctx, client.ObjectKey{Namespace: v.Cluster, Name: lw.Name}, &w); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read work %s/%s: %w", v.Cluster, lw.Name, err)
		}
		for i := range w.Spec.Workload.Manifests {
			raw := w.Spec.Workload.Manifests[i].Raw
			object, err := s.redacted(raw)
			if err != nil {
				return fmt.Errorf("read manifest %d of work %s/%s: %w", i, v.Cluster, lw.Name, err)
			}
			if keyOf(object) == v.Object {
				return v.against(raw, object, live)
			}
		}
	}
	return nil
}

// against compares with the manifest: what others have added is theirs, and values of Secrets are in neither.
func (v *objectView) against(raw []byte, redacted map[string]any, live string) error {
	text, err := yaml.Marshal(redacted)
	if err != nil {
		return err
	}
	v.Manifest = shortened(string(text))
	var manifest map[string]any
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return err
	}
	wanted, err := json.Marshal(drift.Public(manifest))
	if err != nil {
		return err
	}
	if v.Differences, err = work.Changed(wanted, []byte(live)); err != nil {
		return err
	}
	v.Differences = slices.DeleteFunc(v.Differences, func(c work.FieldChange) bool { return c.Before == "" })
	return nil
}

// keyOf names an object as it is asked for.
func keyOf(object map[string]any) musterv1alpha1.InspectionObject {
	metadata, _ := object["metadata"].(map[string]any)
	text := func(of map[string]any, name string) string { value, _ := of[name].(string); return value }
	version, _ := schema.ParseGroupVersion(text(object, "apiVersion"))
	return musterv1alpha1.InspectionObject{Group: version.Group, Kind: text(object, "kind"), Namespace: text(metadata, "namespace"), Name: text(metadata, "name")}
}

// objectLink is the address of an object's page, below that of its application on a cluster.
func objectLink(namespace, name, cluster string, group, kind, in, object string) string {
	q := url.Values{"kind": {kind}, "object": {object}}
	if group != "" {
		q.Set("group", group)
	}
	if in != "" {
		q.Set("in", in)
	}
	return strings.Join([]string{linkTo("applications", namespace, name, "clusters", cluster, "object"), q.Encode()}, "?")
}
