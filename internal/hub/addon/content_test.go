package addon

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/hub"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/source"
)

// folderMemory is a hub in memory, with add-on mirror that is made of folder mirror of a repository.
type folderMemory struct {
	*memory
	root       string
	store      *source.Store
	repository *musterv1alpha1.FleetRepository
}

func newFolderMemory(t *testing.T, manifests string) *folderMemory {
	t.Helper()
	m := &folderMemory{memory: newMemory(t), root: t.TempDir()}
	m.git("init", "-q", "-b", "main")
	m.write("muster.yaml", "apiVersion: muster.dev/v1alpha1\nkind: FleetConfiguration\n")
	m.write("mirror/all.yaml", manifests)
	m.repository = &musterv1alpha1.FleetRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "fleet", UID: "u2"}}
	m.repository.Spec.URL = "file://" + m.root
	m.ok(m.Create(t.Context(), m.repository))
	m.ok(m.Create(t.Context(), &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: "mirror", Annotations: map[string]string{
		musterv1alpha1.AddOnContentAnnotation: "mirror", musterv1alpha1.RepositoryAnnotation: "fleet/fleet",
	}}}))
	m.forget()
	m.deliver()
	mca := m.addOn()
	referent := addonv1alpha1.ConfigReferent{Namespace: "fleet", Name: "fleet"}
	definition, err := m.deployer.definition(t.Context(), "mirror")
	m.ok(err)
	f := m.deployer.Contents.read(t.Context(), definition)
	m.ok(f.err)
	mca.Status.ConfigReferences = []addonv1alpha1.ConfigReference{{
		ConfigGroupResource: addon.Content, ConfigReferent: referent, DesiredConfig: &addonv1alpha1.ConfigSpecHash{ConfigReferent: referent, SpecHash: f.hash},
	}}
	m.ok(m.Status().Update(t.Context(), mca))
	m.settle()
	m.expectWorks("the folder is delivered", "one/addon-mirror-deploy-0")
	return m
}

func (m *folderMemory) git(args ...string) string {
	m.t.Helper()
	command := exec.Command("git", append([]string{"-C", m.root, "-c", "user.name=Ann", "-c", "user.email=ann@example.com"}, args...)...)
	out, err := command.CombinedOutput()
	if err != nil {
		m.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (m *folderMemory) write(name, text string) {
	m.t.Helper()
	name = filepath.Join(m.root, name)
	m.ok(os.MkdirAll(filepath.Dir(name), 0o700))
	m.ok(os.WriteFile(name, []byte(text), 0o600))
}

// forget makes the hub one that has fetched nothing.
func (m *folderMemory) forget() {
	m.store = &source.Store{Dir: m.t.TempDir(), Local: []string{m.root}}
	m.deployer.Contents = &Contents{Client: m, Deliveries: &hub.Deliveries{Store: m.store}, Renderer: render.New(1 << 24)}
}

func (m *folderMemory) fetch() {
	m.t.Helper()
	_, err := m.store.Fetch(m.t.Context(), source.Remote{URL: m.repository.Spec.URL, Owner: string(m.repository.UID)})
	m.ok(err)
}

// deliver commits what there is, and delivers it.
func (m *folderMemory) deliver() {
	m.t.Helper()
	m.git("add", "-A")
	m.git("commit", "-q", "-m", "a change")
	m.fetch()
	m.repository.Status.Revision = m.git("rev-parse", "HEAD")
	m.ok(m.Update(m.t.Context(), m.repository))
}

// removeFolder delivers a commit without the folder.
func (m *folderMemory) removeFolder() {
	m.t.Helper()
	m.ok(os.RemoveAll(filepath.Join(m.root, "mirror")))
	m.deliver()
}

func (m *folderMemory) remove() {
	m.t.Helper()
	m.ok(m.Delete(m.t.Context(), m.addOn()))
	m.settle()
}

func (m *folderMemory) dropAnnotation(of client.Object, name string) {
	m.t.Helper()
	m.ok(m.Get(m.t.Context(), client.ObjectKeyFromObject(of), of))
	annotations := of.GetAnnotations()
	delete(annotations, name)
	of.SetAnnotations(annotations)
	m.ok(m.Update(m.t.Context(), of))
}

// expectWait: the add-on waits, and says why and how to go on without its hooks.
func (m *folderMemory) expectWait(why string) {
	m.t.Helper()
	m.expectWorks("no hook runs", "one/addon-mirror-deploy-0")
	if m.addOn() == nil {
		m.t.Fatal("the add-on went without its hook")
	}
	says := condition(m.addOn().Status.Conditions, addonv1alpha1.ConditionHookManifestCompleted)
	if !strings.HasPrefix(says, "False") || !strings.Contains(says, why) || !strings.Contains(says, "remove annotation muster.dev/addon-content from ClusterManagementAddOn mirror") {
		m.t.Errorf("the add-on says %q", says)
	}
}

func (m *folderMemory) expectHook() {
	m.t.Helper()
	m.expectWorks("the hook runs", "one/addon-mirror-deploy-0", "one/addon-mirror-pre-delete")
}

// TestHooksOfAFolder: hooks of a folder that cannot be read are not left out, until the definition names the folder no longer.
func TestHooksOfAFolder(t *testing.T) {
	definition := &addonv1alpha1.ClusterManagementAddOn{ObjectMeta: metav1.ObjectMeta{Name: "mirror"}}
	withHook := settings + "\n---\n" + job
	t.Run("the folder went with the add-on", func(t *testing.T) {
		m := newFolderMemory(t, withHook)
		m.removeFolder()
		m.remove()
		m.expectHook()
	})
	t.Run("nothing says where the folder was", func(t *testing.T) {
		m := newFolderMemory(t, withHook)
		m.dropAnnotation(&addonv1alpha1.ManagedClusterAddOn{ObjectMeta: metav1.ObjectMeta{Namespace: "one", Name: "mirror"}}, musterv1alpha1.AddOnHooksAnnotation)
		m.removeFolder()
		m.remove()
		m.expectWait("there is no folder mirror")
		m.write("mirror/all.yaml", withHook)
		m.deliver()
		m.settle()
		m.expectHook()
	})
	t.Run("the commit is not fetched yet", func(t *testing.T) {
		m := newFolderMemory(t, withHook)
		m.forget()
		m.remove()
		m.expectWait("has not fetched")
		m.fetch()
		m.settle()
		m.expectHook()
	})
	t.Run("the repository is gone", func(t *testing.T) {
		m := newFolderMemory(t, withHook)
		m.ok(m.Delete(t.Context(), m.repository))
		m.remove()
		m.expectWait("not found")
		m.dropAnnotation(definition, musterv1alpha1.AddOnContentAnnotation)
		m.settle()
		if m.addOn() != nil {
			t.Errorf("the add-on waits: %+v", m.addOn())
		}
	})
	t.Run("there are no hooks", func(t *testing.T) {
		m := newFolderMemory(t, settings)
		m.removeFolder()
		m.remove()
		if m.addOn() != nil {
			t.Errorf("the add-on waits: %+v", m.addOn())
		}
	})
}

// TestContentIsWhatIsRendered: what a folder says changes with all that it renders from, and with nothing else.
func TestContentIsWhatIsRendered(t *testing.T) {
	m := newFolderMemory(t, settings)
	definition, err := m.deployer.definition(t.Context(), "mirror")
	m.ok(err)
	hash := func() string {
		t.Helper()
		m.deliver()
		f := m.deployer.Contents.read(t.Context(), definition)
		m.ok(f.err)
		return f.hash
	}
	m.write("mirror/Chart.yaml", "name: mirror\ndependencies: [{name: lib, repository: 'file://../lib'}]\n")
	m.write("mirror/kustomization.yaml", `
patches: [{path: ../shared/patch.yaml}]
configMapGenerator: [{name: a, files: [key=../shared/file.txt], envs: [../shared/a.env]}]
replacements: [{path: ../shared/replacement.yaml}]
helmGlobals: {chartHome: ../charts}
helmCharts: [{name: web, valuesFile: ../shared/values.yaml}]
`)
	m.write("lib/Chart.yaml", "name: lib\ndependencies: [{name: deep, repository: 'file://../deep'}]\n")
	m.write("charts/web/Chart.yaml", "name: web\ndependencies: [{name: below, repository: 'file://../../below'}]\n")
	m.write("other/file.txt", "1")
	read := []string{"lib/a.yaml", "deep/a.yaml", "charts/web/a.yaml", "below/a.yaml", "mirror/a.yaml",
		"shared/patch.yaml", "shared/file.txt", "shared/a.env", "shared/replacement.yaml", "shared/values.yaml"}
	for _, name := range read {
		m.write(name, "1")
	}
	before := hash()
	for _, name := range read {
		m.write(name, "2")
		after := hash()
		if after == before {
			t.Errorf("a change of %s is none of the add-on", name)
		}
		before = after
	}
	m.write("other/file.txt", "2")
	if hash() != before {
		t.Error("a file that is not read changes the add-on")
	}
}
