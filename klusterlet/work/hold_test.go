package work_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	workv1 "github.com/muster-io/muster/api/work/v1"
	"github.com/muster-io/muster/internal/test"
)

func application(key string) option {
	return func(w *workv1.ManifestWork) {
		metav1.SetMetaDataAnnotation(&w.ObjectMeta, musterv1alpha1.ApplicationAnnotation, key)
	}
}

// hold replaces the ConfigMap that holds, in one step; no values take it away.
func (s *site) hold(values map[string]string) {
	s.Helper()
	ctx := context.Background()
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.agent.Namespace, Name: "muster-hold"}, Data: values}
	if values == nil {
		if err := s.spoke.Delete(ctx, c); client.IgnoreNotFound(err) != nil {
			s.Fatal(err)
		}
		return
	}
	err := s.spoke.Update(ctx, c.DeepCopy())
	if apierrors.IsNotFound(err) {
		err = s.spoke.Create(ctx, c)
	}
	if err != nil {
		s.Fatal(err)
	}
}

func (s *site) expectHeld(name string, parts ...string) {
	s.Helper()
	s.expectWork(name, musterv1alpha1.ConditionHeld, metav1.ConditionTrue)
	s.eventually("the hold of "+name, func() error {
		for _, c := range s.work(name).Status.Conditions {
			if c.Type == musterv1alpha1.ConditionHeld {
				return says("True", "HeldOnCluster", parts...)(c, workv1.ManifestCondition{})
			}
		}
		return fmt.Errorf("no condition")
	})
}

// TestHold: somebody on the cluster keeps the agent from applying, correcting and deleting, all works or those of an application or
// one, until a time or until the hold is taken away.
func TestHold(t *testing.T) {
	s := newSite(t)
	s.agent.Namespace = test.Namespace(t, test.Hub(t))
	later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	s.hold(map[string]string{"cluster": later})
	s.start()
	held, free := s.configMap("held", map[string]any{"k": "1"}), s.configMap("free", map[string]any{"k": "1"})
	put := func(value string) {
		s.put("held", objects{s.configMap("held", map[string]any{"k": value})}, serverSide(true), mode("Correct"), application("team/app"))
		s.put("free", objects{s.configMap("free", map[string]any{"k": value})}, serverSide(true), mode("Correct"), application("team/other"))
	}
	put("1")
	s.expectHeld("held", later, "muster-hold", "key cluster")
	s.expectHeld("free")
	if s.live(held) != nil || s.live(free) != nil {
		t.Fatal("applied in spite of the hold")
	}
	s.hold(map[string]string{"team.app": later})
	s.expectApplied("free")
	s.expectHeld("held", "key team.app")
	if s.live(held) != nil {
		t.Error("applied in spite of the hold on its application")
	}
	s.hold(nil)
	s.eventually("the end of the hold", func() error {
		if c := meta.FindStatusCondition(s.work("held").Status.Conditions, musterv1alpha1.ConditionHeld); c != nil {
			return fmt.Errorf("is still held: %s", c.Message)
		}
		return nil
	})
	s.expectApplied("held", "free")

	// An annotation holds one work, also what is to be corrected and deleted; other works go on.
	annotate := func(until string) {
		s.eventually("annotate the record", func() error {
			r := s.record("held")
			metav1.SetMetaDataAnnotation(&r.ObjectMeta, "muster.dev/hold-until", until)
			return s.spoke.Update(context.Background(), r)
		})
	}
	annotate("tomorrow")
	s.expectHeld("held", "has to be a time", "AppliedManifestWork")
	s.edit(held, "edited", "data", "k")
	put("2")
	s.expectApplied("free")
	s.expectHeld("held", "tomorrow")
	s.deleteWork("held")
	s.deleteWork("free")
	s.expectWorkGone("free")
	s.expectHeld("held")
	s.expectValue(held, "edited", "data", "k")
	annotate(time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339)) // the hold ends by itself
	s.expectWorkGone("held")
	s.expectGone(held)
}
