package work

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// Uninstall ends the ownership of what an agent has applied, after the agent has stopped.
type Uninstall struct{ remover }

// NewUninstall connects to the cluster.
func NewUninstall(config *rest.Config) (*Uninstall, error) {
	config = configured(config)
	scheme := runtime.NewScheme()
	if err := workv1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	web, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	u := &Uninstall{remover{slots: make(chan struct{}, standardWriters)}}
	if err := u.connect(config, web, scheme, workMapper()); err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return u, nil
}

// Delete deletes the objects that a record lists and owns, as a work's deletion does: in its stages, of which each begins when the one
// before has gone. What another record owns too stays. It looks once, and says what is left and what keeps it; until nothing is, it
// is called again.
func (u *Uninstall) Delete(ctx context.Context, record *workv1.AppliedManifestWork) (left []string, err error) {
	all := u.prune(actedAs(ctx, record), record, record.Status.AppliedResources)
	return all.left, all.err
}

// Orphan leaves the objects that a record lists as they are, and ends the record's ownership. It names those that it could not.
func (u *Uninstall) Orphan(ctx context.Context, record *workv1.AppliedManifestWork) (left []string) {
	for _, entry := range record.Status.AppliedResources {
		if err := u.orphan(actedAs(ctx, record), record, entry); err != nil {
			left = append(left, err.Error())
		}
	}
	return left
}
