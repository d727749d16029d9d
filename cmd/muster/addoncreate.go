package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	k8svalidation "k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/addon"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render/engine"
)

// addonFolder is where a fleet repository keeps its add-ons.
const addonFolder = "addons"

// newAddOn is an add-on to be written into a fleet repository.
type newAddOn struct {
	name, manifests, chart, placement, repository string
}

func addonCreate(c *cli) *cobra.Command {
	var n newAddOn
	cmd := &cobra.Command{
		Use:   "create NAME DIR|--chart PATH",
		Short: "Write an add-on into a fleet repository",
		Long: "Writes " + addonFolder + "/NAME/addon.yaml into the fleet repository: an add-on of the manifests in DIR, which are copied into an\n" +
			"AddOnTemplate, or of a chart, an overlay or manifests of the repository itself. In manifests {{CLUSTER_NAME}} and other\n" +
			"variables are replaced; a chart gets those of its AddOnDeploymentConfig as values.",
		Example: "  muster addon create mirror ./manifests --placement muster-system/edge\n  muster addon create mirror --chart charts/mirror",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			n.name = args[0]
			if len(args) > 1 {
				n.manifests = args[1]
			}
			if (n.manifests == "") == (n.chart == "") {
				return errors.New("name either a folder of manifests or --chart")
			}
			file, root, err := n.write()
			if err != nil {
				return err
			}
			return c.print(map[string]string{"file": file}, func(p *printer) {
				p.linef("wrote %s", file)
				if paths := pathsWithout(root, addonFolder); paths != nil {
					p.linef("add %s to spec.paths of %s, which are %s", addonFolder, fleet.ConfigurationFile, strings.Join(paths, ", "))
				}
				p.line("next: muster validate; commit and push; " + n.next())
			})
		},
	}
	cmd.Flags().StringVar(&n.chart, "chart", "", "chart, overlay or folder of manifests in the fleet repository, relative to its "+fleet.ConfigurationFile)
	cmd.Flags().StringVar(&n.placement, "placement", "", "NAMESPACE/NAME of the placement on whose clusters it is installed (default: muster addon enable installs it)")
	cmd.Flags().StringVar(&n.repository, "repository", ".", "folder of the fleet repository")
	return cmd
}

func (n *newAddOn) next() string {
	if n.placement != "" {
		return "muster addon status " + n.name
	}
	return "muster addon enable " + n.name + " --clusters CLUSTER"
}

// write writes the file, and says where, relative to the fleet.
func (n *newAddOn) write() (file, root string, err error) {
	if problems := k8svalidation.IsDNS1123Label(n.name); len(problems) > 0 {
		return "", "", fmt.Errorf("add-on name %q: %s", n.name, problems[0])
	}
	absolute, err := filepath.Abs(n.repository)
	if err != nil {
		return "", "", err
	}
	root = fleetRoot(absolute, filepath.VolumeName(absolute)+string(filepath.Separator))
	if _, err := os.Stat(filepath.Join(root, fleet.ConfigurationFile)); err != nil {
		return "", "", fmt.Errorf("there is no %s in %s or above: name the fleet repository with --repository, or make one with muster init", fleet.ConfigurationFile, n.repository)
	}
	objects, err := n.objects(fleet.TreeOf(os.DirFS(root)))
	if err != nil {
		return "", "", err
	}
	file = path.Join(addonFolder, n.name, "addon.yaml")
	target := filepath.Join(root, filepath.FromSlash(file))
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return "", "", err
	}
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return "", "", fmt.Errorf("%s is there already: change it, or delete it first", file)
	}
	if err != nil {
		return "", "", err
	}
	_, err = out.Write(objects)
	return file, root, errors.Join(err, out.Close())
}

// objects are the definitions of the add-on, as YAML.
func (n *newAddOn) objects(tree fleet.Tree) ([]byte, error) {
	cma := map[string]any{"apiVersion": addonv1alpha1.GroupVersion.String(), "kind": "ClusterManagementAddOn"}
	metadata, spec := map[string]any{"name": n.name}, map[string]any{}
	supported := []any{map[string]any{"group": addon.DeploymentConfig.Group, "resource": addon.DeploymentConfig.Resource}}
	var template map[string]any
	if n.chart != "" {
		folder := path.Clean(filepath.ToSlash(n.chart))
		info, err := fs.Stat(tree, folder)
		if err != nil || !info.IsDir() {
			return nil, fmt.Errorf("there is no folder %s in the fleet repository: put the chart there, for example with helm pull --untar --untardir charts", folder)
		}
		metadata["annotations"] = map[string]any{musterv1alpha1.AddOnContentAnnotation: folder}
	} else {
		manifests, err := readManifests(n.manifests)
		if err != nil {
			return nil, err
		}
		version := n.name + "-1"
		supported = append([]any{map[string]any{"group": addon.Template.Group, "resource": addon.Template.Resource, "defaultConfig": map[string]any{"name": version}}}, supported...)
		template = map[string]any{
			"apiVersion": addonv1alpha1.GroupVersion.String(), "kind": "AddOnTemplate", "metadata": map[string]any{"name": version},
			"spec": map[string]any{"addonName": n.name, "agentSpec": map[string]any{"workload": map[string]any{"manifests": manifests}}},
		}
	}
	spec["supportedConfigs"] = supported
	if n.placement != "" {
		namespace, name, ok := strings.Cut(n.placement, "/")
		if !ok {
			return nil, fmt.Errorf("--placement %s: write NAMESPACE/NAME", n.placement)
		}
		spec["installStrategy"] = map[string]any{"type": addonv1alpha1.InstallPlacements, "placements": []any{map[string]any{
			"namespace": namespace, "name": name, "rolloutStrategy": map[string]any{"type": "Progressive", "progressive": map[string]any{"maxConcurrency": "25%"}},
		}}}
	}
	cma["metadata"], cma["spec"] = metadata, spec
	out, err := yaml.Marshal(cma)
	if err != nil || template == nil {
		return out, err
	}
	more, err := yaml.Marshal(template)
	return bytes.Join([][]byte{out, more}, []byte("---\n")), err
}

// readManifests reads the manifests of a folder.
func readManifests(dir string) ([]any, error) {
	tree := fleet.TreeOf(os.DirFS(dir))
	if kind := engine.Detect(tree, "."); kind != engine.PlainYAML {
		return nil, fmt.Errorf("%s is a chart or an overlay: put it into the fleet repository and name it with --chart", dir)
	}
	var manifests []any
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name)) {
			return err
		}
		data, err := tree.ReadFile(name)
		if err != nil {
			return err
		}
		documents, err := fleet.ReadYAML(string(data))
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
		}
		for _, d := range documents {
			var manifest map[string]any
			if err := json.Unmarshal(d.JSON, &manifest); err != nil || manifest["kind"] == nil {
				return fmt.Errorf("%s:%d: this is no manifest: it has no kind", filepath.Join(dir, name), d.Line)
			}
			manifests = append(manifests, manifest)
		}
		return nil
	})
	if err == nil && len(manifests) == 0 {
		err = fmt.Errorf("there are no manifests in %s", dir)
	}
	return manifests, err
}

// pathsWithout are the folders that a fleet's configuration names, when a folder is not among or below them.
func pathsWithout(root, folder string) []string {
	data, err := os.ReadFile(filepath.Join(root, fleet.ConfigurationFile))
	if err != nil {
		return nil
	}
	var said struct{ Spec struct{ Paths []string } }
	if yaml.Unmarshal(data, &said) != nil || len(said.Spec.Paths) == 0 {
		return nil // the defaults have it
	}
	for _, p := range said.Spec.Paths {
		if p = path.Clean(p); p == "." || p == folder {
			return nil
		}
	}
	return said.Spec.Paths
}
