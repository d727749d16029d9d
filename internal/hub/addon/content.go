package addon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/yaml"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/render/engine"
)

// Contents are the charts, overlays and folders of manifests that add-ons are made of, each in a FleetRepository at the commit that is
// delivered.
type Contents struct {
	Client     client.Reader
	Deliveries *hub.Deliveries
	Renderer   *render.Renderer
}

// isMadeOf says that an add-on is made of a folder of a repository.
func isMadeOf(cma *addonv1alpha1.ClusterManagementAddOn, repository client.Object) bool {
	_, named, ok := addon.ContentOf(cma)
	return ok && named.Namespace == repository.GetNamespace() && named.Name == repository.GetName()
}

// delivers lets pass a repository whose commit is delivered.
var delivers = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*musterv1alpha1.FleetRepository), e.ObjectNew.(*musterv1alpha1.FleetRepository)
	return before.Status.Revision != after.Status.Revision
}}

// tree is the repository of an add-on, and the folder in it.
func (c *Contents) tree(ctx context.Context, cma *addonv1alpha1.ClusterManagementAddOn) (fleet.Tree, string, error) {
	folder, named, _ := addon.ContentOf(cma)
	if named.Name == "" {
		return nil, "", fmt.Errorf("annotation %s names a folder, and no repository: the add-on was not applied from one; name it with %s: NAMESPACE/NAME",
			musterv1alpha1.AddOnContentAnnotation, musterv1alpha1.AddOnRepositoryAnnotation)
	}
	repository := &musterv1alpha1.FleetRepository{}
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: named.Namespace, Name: named.Name}, repository); err != nil {
		return nil, "", err
	}
	if repository.Status.Revision == "" {
		return nil, "", fmt.Errorf("FleetRepository %s/%s has delivered no commit yet", named.Namespace, named.Name)
	}
	delivery, err := c.Deliveries.Read(ctx, repository, repository.Status.Revision)
	if err != nil {
		return nil, "", err
	}
	if _, err := fs.Stat(delivery.Snapshot.Tree, folder); err != nil {
		return nil, "", fmt.Errorf("there is no folder %s in FleetRepository %s/%s at %s", folder, named.Namespace, named.Name, fleet.ShortRevision(repository.Status.Revision))
	}
	return delivery.Snapshot.Tree, folder, nil
}

// read says what the folder of an add-on says, as a hash.
func (c *Contents) read(ctx context.Context, cma *addonv1alpha1.ClusterManagementAddOn) found {
	tree, folder, err := c.tree(ctx, cma)
	if err != nil {
		return found{err: fmt.Errorf("content of add-on %s: %w", cma.Name, err)}
	}
	hash, err := contentHash(tree, folder)
	return found{hash: hash, err: err}
}

// contentHash identifies what a folder renders from: the folder, and the folders that an overlay names.
func contentHash(tree fleet.Tree, folder string) (string, error) {
	sum := sha256.New()
	folders := []string{folder}
	for i := 0; i < len(folders); i++ { // it grows
		hash, err := tree.Hash(folders[i])
		if err != nil {
			return "", fmt.Errorf("hash %s: %w", folders[i], err)
		}
		fmt.Fprintf(sum, "%s %s\n", folders[i], hash)
		for _, named := range overlayNames(tree, folders[i]) {
			if _, err := fs.Stat(tree, named); err == nil && !slices.Contains(folders, named) {
				folders = append(folders, named)
			}
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// overlayNames are the files and folders that an overlay names.
func overlayNames(tree fleet.Tree, folder string) []string {
	var names []string
	for _, file := range engine.KustomizationFiles {
		data, err := tree.ReadFile(path.Join(folder, file))
		if err != nil {
			continue
		}
		var said struct{ Resources, Bases, Components []string }
		if yaml.Unmarshal(data, &said) != nil {
			continue // the render says so
		}
		for _, name := range slices.Concat(said.Resources, said.Bases, said.Components) {
			names = append(names, path.Join(folder, name))
		}
	}
	return names
}

// render adds the manifests of an add-on's folder to what is rendered. Those of a chart are as they are to be; in others, as in a template,
// variables are replaced. The failure is the author's to mend.
func (c *Contents) render(ctx context.Context, cma *addonv1alpha1.ClusterManagementAddOn, in *addon.Input) (failure, err error) {
	tree, folder, err := c.tree(ctx, cma)
	if err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return err, nil
	}
	namespace := addon.InstallNamespaceOf(in.AddOn, in.Configs)
	app, failure := addon.Application(cma.Name, folder, namespace, in.Configs)
	if failure != nil {
		return failure, nil
	}
	isChart := engine.Detect(tree, folder) == engine.HelmChart
	if !isChart {
		app.Spec.Helm = nil
	}
	content, err := c.Renderer.Render(ctx, render.Input{Application: app, File: path.Join(folder, "addon"), Tree: tree, Cluster: in.Cluster})
	if err != nil {
		if fault, ok := fleet.AsFault(err); ok {
			return fault, nil
		}
		return nil, err
	}
	if in.Template == nil {
		in.Template = &addonv1alpha1.AddOnTemplate{}
		in.Template.Name = folder
	} else {
		in.Template = in.Template.DeepCopy()
	}
	manifests := namespaceOf(namespace)
	for _, m := range content.Manifests {
		manifests = append(manifests, workv1.Manifest{RawExtension: runtime.RawExtension{Raw: m.JSON}})
	}
	if isChart {
		in.Rendered = manifests
	} else {
		in.Template.Spec.AgentSpec.Workload.Manifests = append(in.Template.Spec.AgentSpec.Workload.Manifests, manifests...)
	}
	return nil, nil
}

// namespaceOf is the install namespace, which stays when the add-on goes. The default one is the klusterlet's to make.
func namespaceOf(name string) []workv1.Manifest {
	if name == addonv1alpha1.DefaultInstallNamespace {
		return nil
	}
	data, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": name, "annotations": map[string]any{addonv1alpha1.DeletionOrphanAnnotation: ""}},
	})
	if err != nil {
		panic(err) // maps of strings
	}
	return []workv1.Manifest{{RawExtension: runtime.RawExtension{Raw: data}}}
}
