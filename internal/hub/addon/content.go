package addon

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

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

// content is the folder of an add-on at one commit, and what it says, as a hash.
type content struct {
	tree                   fleet.Tree
	folder, revision, hash string
}

// mark is the commit and the hash in one text.
func (c *content) mark() string { return c.revision + " " + c.hash }

// open reads the folder of an add-on at the commit that is delivered.
func (c *Contents) open(ctx context.Context, cma *addonv1alpha1.ClusterManagementAddOn) (*content, error) {
	repository, err := c.repository(ctx, cma)
	if err != nil {
		return nil, err
	}
	if repository.Status.Revision == "" {
		return nil, fmt.Errorf("FleetRepository %s/%s has delivered no commit yet", repository.Namespace, repository.Name)
	}
	delivery, err := c.Deliveries.Read(ctx, repository, repository.Status.Revision)
	if err != nil {
		return nil, err
	}
	return contentAt(cma, delivery)
}

// openPast reads the folder of an add-on at the commit of a mark.
func (c *Contents) openPast(ctx context.Context, cma *addonv1alpha1.ClusterManagementAddOn, mark string) (*content, error) {
	revision, _, _ := strings.Cut(mark, " ")
	repository, err := c.repository(ctx, cma)
	if err != nil {
		return nil, err
	}
	delivery, err := c.Deliveries.Past(ctx, repository, revision)
	if err != nil {
		return nil, err
	}
	return contentAt(cma, delivery)
}

func (c *Contents) repository(ctx context.Context, cma *addonv1alpha1.ClusterManagementAddOn) (*musterv1alpha1.FleetRepository, error) {
	_, named, _ := addon.ContentOf(cma)
	if named.Name == "" {
		return nil, fmt.Errorf("annotation %s names a folder, and no repository: the add-on was not applied from one; name it with %s: NAMESPACE/NAME",
			musterv1alpha1.AddOnContentAnnotation, musterv1alpha1.AddOnRepositoryAnnotation)
	}
	repository := &musterv1alpha1.FleetRepository{}
	return repository, c.Client.Get(ctx, client.ObjectKey{Namespace: named.Namespace, Name: named.Name}, repository)
}

func contentAt(cma *addonv1alpha1.ClusterManagementAddOn, delivery *hub.Delivery) (*content, error) {
	folder, named, _ := addon.ContentOf(cma)
	out := &content{tree: delivery.Snapshot.Tree, folder: folder, revision: delivery.Snapshot.Revision}
	if _, err := fs.Stat(out.tree, folder); err != nil {
		return nil, fmt.Errorf("there is no folder %s in FleetRepository %s/%s at %s", folder, named.Namespace, named.Name, fleet.ShortRevision(out.revision))
	}
	var err error
	out.hash, err = render.FolderHash(out.tree, folder)
	return out, err
}

// read says what the folder of an add-on says.
func (c *Contents) read(ctx context.Context, cma *addonv1alpha1.ClusterManagementAddOn) found {
	of, err := c.open(ctx, cma)
	if err != nil {
		return found{err: unreadable(cma, err)}
	}
	return found{hash: of.hash}
}

func unreadable(cma *addonv1alpha1.ClusterManagementAddOn, err error) error {
	return fmt.Errorf("content of add-on %s: %w", cma.Name, err)
}

// render adds the manifests of an add-on's folder to what is rendered. Those of a chart are as they are to be; in others, as in a template,
// variables are replaced. The failure is the author's to mend.
func (c *Contents) render(ctx context.Context, name string, of *content, in *addon.Input) (failure, err error) {
	tree, folder := of.tree, of.folder
	namespace := addon.InstallNamespaceOf(in.AddOn, in.Configs)
	app, failure := addon.Application(name, folder, namespace, in.Configs)
	if failure != nil {
		return failure, nil
	}
	isChart := engine.Detect(tree, folder) == engine.HelmChart
	if !isChart {
		app.Spec.Helm = nil
	}
	rendered, err := c.Renderer.Render(ctx, render.Input{Application: app, File: path.Join(folder, "addon"), Tree: tree, Cluster: in.Cluster})
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
	for _, m := range rendered.Manifests {
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
