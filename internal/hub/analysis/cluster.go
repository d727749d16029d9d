package analysis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/fleet"
	"github.com/muster-io/muster/internal/hub/works"
	"github.com/muster-io/muster/internal/work"
)

// clusters reads what the clusters of a step report.
func (a *Analyses) clusters(ctx context.Context, s *subject) *look {
	var list []any
	healthy, drifted := 0, 0
	for _, cluster := range s.clusters {
		isHealthy, hasDrifted, feedback := true, false, []any{}
		for _, lw := range a.worksOn(s, cluster) {
			isHealthy = isHealthy && lw.Status.Observed && lw.Status.Applied && (lw.Status.Health == fleet.HealthHealthy || lw.Status.Canary.Waits())
			hasDrifted = hasDrifted || slices.ContainsFunc(lw.Status.Problems, func(p fleet.ObjectProblem) bool { return p.State == "Drifted" })
			var w workv1.ManifestWork
			if err := a.Reader.Get(ctx, client.ObjectKey{Namespace: cluster, Name: lw.Name}, &w); err != nil {
				return &look{err: fmt.Errorf("read work %s/%s: %w", cluster, lw.Name, err)}
			}
			feedback = append(feedback, feedbackOf(&w)...)
		}
		if isHealthy {
			healthy++
		}
		if hasDrifted {
			drifted++
		}
		list = append(list, map[string]any{"name": cluster, "healthy": isHealthy, "drifted": hasDrifted, "feedback": feedback})
	}
	return &look{result: list, value: fmt.Sprintf("%d clusters, %d healthy, %d drifted", len(s.clusters), healthy, drifted)}
}

// feedbackOf are the values that the objects of a work report.
func feedbackOf(w *workv1.ManifestWork) []any {
	var list []any
	for _, m := range w.Status.ResourceStatus.Manifests {
		values := map[string]any{}
		for _, v := range m.StatusFeedbacks.Values {
			switch f := v.Value; {
			case f.Integer != nil:
				values[v.Name] = *f.Integer
			case f.String != nil:
				values[v.Name] = *f.String
			case f.Boolean != nil:
				values[v.Name] = *f.Boolean
			case f.JsonRaw != nil:
				var parsed any
				if json.Unmarshal([]byte(*f.JsonRaw), &parsed) == nil {
					values[v.Name] = parsed
				}
			}
		}
		if len(values) > 0 {
			list = append(list, map[string]any{"kind": m.ResourceMeta.Kind, "namespace": m.ResourceMeta.Namespace, "name": m.ResourceMeta.Name, "values": values})
		}
	}
	return list
}

// jobOwner is the kind of owner of the works of Jobs; its name is that of the application.
const jobOwner = "RolloutAnalysis"

func ownerOf(app *musterv1alpha1.Application) fleet.Owner {
	return fleet.Owner{Kind: jobOwner, Namespace: app.Namespace, Name: app.Name}
}

// jobDeadline is how long a Job may take until its measurement is inconclusive.
const jobDeadline = 10 * time.Minute

// job runs the Job of a measurement, of which there were so many before, on the clusters of a step. It is one work on each cluster.
func (a *Analyses) job(ctx context.Context, s *subject, m *musterv1alpha1.RolloutMetric, before int32) *look {
	owner := ownerOf(s.app)
	content, err := jobContent(s, m, before)
	if err != nil {
		return &look{err: err}
	}
	var wanted []*workv1.ManifestWork
	for _, cluster := range s.clusters {
		account, err := a.accountOn(ctx, s, cluster)
		if err != nil {
			return &look{err: err}
		}
		set, err := work.Wanted(work.Input{
			Owner: owner, Cluster: cluster, Content: content, Revision: s.revision, Live: a.Works.On(cluster, owner),
			Options: work.Options{Namespace: namespaceOf(s, m), ServiceAccount: account},
		})
		if err != nil {
			return &look{err: fmt.Errorf("job: %w", err)}
		}
		wanted = append(wanted, set.Works...)
	}
	changes := work.Diff(a.Works.Of(owner), wanted)
	todo := slices.DeleteFunc(slices.Clone(changes), func(c work.Change) bool { return c.Action == work.Keep })
	refused, err := a.writer().Write(ctx, todo, allow)
	if err != nil {
		return &look{err: fmt.Errorf("write the works of the Job: %w", err)}
	}
	for _, cluster := range slices.Sorted(maps.Keys(refused)) {
		return &look{err: fmt.Errorf("the work of the Job for %s is refused: %w", cluster, refused[cluster])}
	}
	return jobResult(changes, a.Now())
}

// jobResult reads how the Jobs have ended; a work that was just written has no result.
func jobResult(changes work.Changes, now time.Time) *look {
	l := &look{standing: true}
	var list []any
	ended, failed := 0, 0
	for _, c := range changes {
		if c.Wanted == nil {
			continue // of another step
		}
		isFailed, isDone := false, false
		if c.Action == work.Keep && c.Live != nil && c.Live.Status.Observed {
			isFailed = !c.Live.Status.Applied || c.Live.Status.Health == fleet.HealthDegraded
			isDone = c.Live.Status.Applied && c.Live.Status.Health == fleet.HealthHealthy
		}
		switch {
		case isFailed:
			failed++
			fallthrough
		case isDone:
			ended++
		case c.Action == work.Keep && !c.Live.WrittenAt.IsZero() && now.Sub(c.Live.WrittenAt) > jobDeadline:
			l.err = fmt.Errorf("the Job on %s has not ended after %s", c.Cluster, jobDeadline)
			return l
		}
		list = append(list, map[string]any{"cluster": c.Cluster, "succeeded": isDone, "failed": isFailed})
	}
	l.result, l.standing, l.pending = list, failed == 0, ended < len(list) && failed == 0
	l.value = fmt.Sprintf("%d of %d Jobs succeeded, %d failed", ended-failed, len(list), failed)
	return l
}

// jobContent is the Job of one measurement. Its name is another one each time, so that the one before goes.
func jobContent(s *subject, m *musterv1alpha1.RolloutMetric, before int32) (*fleet.Content, error) {
	var spec any
	if err := json.Unmarshal(m.Job.Spec.Raw, &spec); err != nil {
		return nil, fmt.Errorf("job.spec: %w", err)
	}
	sum := sha256.Sum256(fmt.Append(nil, s.revision, s.started.Unix(), s.step.Name, m.Name, before))
	name := s.app.Name + "-" + m.Name
	name = strings.TrimRight(name[:min(len(name), 50)], "-.") + "-" + hex.EncodeToString(sum[:])[:8]
	data, err := fleet.CanonicalJSON(map[string]any{
		"apiVersion": "batch/v1", "kind": "Job", "spec": spec,
		"metadata": map[string]any{"name": name, "namespace": namespaceOf(s, m)},
	})
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(data)
	return &fleet.Content{
		Digest: hex.EncodeToString(digest[:]),
		Manifests: []fleet.Manifest{{
			Key:  fleet.ObjectKey{Group: "batch", Version: "v1", Kind: "Job", Resource: "jobs", Namespace: namespaceOf(s, m), Name: name},
			JSON: data,
		}},
	}, nil
}

func namespaceOf(s *subject, m *musterv1alpha1.RolloutMetric) string {
	if m.Job.Namespace != "" {
		return m.Job.Namespace
	}
	if ns := s.app.Spec.Destination.Namespace; ns != "" {
		return ns
	}
	return s.app.Namespace
}

// accountOn is the account that the application's own works run as on a cluster.
func (a *Analyses) accountOn(ctx context.Context, s *subject, cluster string) (string, error) {
	live := a.worksOn(s, cluster)
	if len(live) == 0 {
		return "", fmt.Errorf("%s has no work of the application", cluster)
	}
	var w workv1.ManifestWork
	if err := a.Reader.Get(ctx, client.ObjectKey{Namespace: cluster, Name: live[0].Name}, &w); err != nil {
		return "", fmt.Errorf("read work %s/%s: %w", cluster, live[0].Name, err)
	}
	if w.Spec.Executor == nil || w.Spec.Executor.Subject.ServiceAccount == nil {
		return "", nil
	}
	account := w.Spec.Executor.Subject.ServiceAccount
	return account.Namespace + "/" + account.Name, nil
}

// removeJobs deletes the works of Jobs when nothing is measured any more.
func (a *Analyses) removeJobs(ctx context.Context, app *musterv1alpha1.Application) error {
	live := a.Works.Of(ownerOf(app))
	if len(live) == 0 {
		return nil
	}
	_, err := a.writer().Write(ctx, work.Diff(live, nil), allow)
	return err
}

func (a *Analyses) writer() *works.Writer {
	return &works.Writer{Client: a.Client, Reader: a.Reader, Concurrency: 8}
}

// allow lets losses be written: a Job that has ended is nobody's data.
func allow(context.Context) (bool, error) { return true, nil }
