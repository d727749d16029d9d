package plan

import (
	"fmt"
	"io/fs"
	"path"

	addonv1alpha1 "github.com/muster-io/muster/api/addon/v1alpha1"
	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/render"
	"github.com/muster-io/muster/internal/work"
)

// noteAddOns notes the folders of the snapshot that add-ons are made of. One that is not there is a warning: clusters keep what they have.
func (p *Plan) noteAddOns(tree fleet.Tree) {
	p.addOns = map[string]addOnContent{}
	for i := range p.Definitions.All {
		d := &p.Definitions.All[i]
		cma, ok := d.Object.(*addonv1alpha1.ClusterManagementAddOn)
		if !ok || cma.Annotations[musterv1alpha1.AddOnContentAnnotation] == "" {
			continue
		}
		if from := cma.Annotations[musterv1alpha1.AddOnRepositoryAnnotation]; from != "" && from != p.Repository {
			continue
		}
		content := addOnContent{folder: path.Clean(cma.Annotations[musterv1alpha1.AddOnContentAnnotation])}
		hash, err := "", fs.ErrInvalid
		if fs.ValidPath(content.folder) {
			hash, err = render.FolderHash(tree, content.folder)
		}
		if err != nil {
			p.Warnings = append(p.Warnings, fleet.Fault{
				Reason: fleet.ContentMissing, ActionRequiredBy: fleet.User, Object: d.Key.String(), File: d.File, Line: d.Line,
				Message: fmt.Sprintf("there is no folder %s in the repository, which annotation %s names: correct it; clusters keep what they have", content.folder, musterv1alpha1.AddOnContentAnnotation),
			})
			continue
		}
		content.hash = hash
		p.addOns[cma.Name] = content
	}
}

// addOnContent is the folder that an add-on is made of, and what is in it.
type addOnContent struct{ folder, hash string }

// contentChanged is the change of the folder that an add-on is made of, as a field of the add-on.
func (c *comparer) contentChanged(key fleet.ObjectKey) []work.FieldChange {
	if key.Kind != addOnKind {
		return nil
	}
	before, after := c.base.addOns[key.Name], c.head.addOns[key.Name]
	if before == after || before.folder != after.folder {
		return nil // another folder is a change of the annotation
	}
	return []work.FieldChange{{Path: "content of " + after.folder, Before: fleet.ShortRevision(before.hash), After: fleet.ShortRevision(after.hash)}}
}
