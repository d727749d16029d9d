package overview

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

// How Inspect waits for an answer: the agent has a watch, and answers in the time that it takes to read.
const (
	inspectEvery = 100 * time.Millisecond
	// InspectTime is how long an answer may take.
	InspectTime = 15 * time.Second
)

// Inspect asks the agent of a cluster about an application, waits for the answer, and takes the question away again. The client has the
// rights of the person who asks.
func Inspect(ctx context.Context, hub client.Client, cluster string, spec musterv1alpha1.InspectionSpec) (*musterv1alpha1.InspectionStatus, error) {
	// Nobody guesses the name, since who knows it and may get Inspections reads the answer.
	i := &musterv1alpha1.Inspection{ObjectMeta: metav1.ObjectMeta{Namespace: cluster, Name: strings.ToLower(rand.Text())}, Spec: spec}
	if err := hub.Create(ctx, i); err != nil {
		return nil, fmt.Errorf("ask cluster %s about %s/%s: %w", cluster, spec.Application.Namespace, spec.Application.Name, err)
	}
	defer func() {
		// A question that stays is deleted by the hub.
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = hub.Delete(limited, i)
	}()
	var answered *metav1.Condition
	end := time.Now().Add(InspectTime) // no deadline of the context: a client that limits its rate has an error of its own for one
	err := wait.PollUntilContextCancel(ctx, inspectEvery, true, func(ctx context.Context) (bool, error) {
		if err := hub.Get(ctx, client.ObjectKeyFromObject(i), i); err != nil {
			return false, err
		}
		answered = meta.FindStatusCondition(i.Status.Conditions, musterv1alpha1.ConditionAnswered)
		return answered != nil || time.Now().After(end), nil
	})
	switch {
	case err == nil && answered == nil:
		return nil, fmt.Errorf("cluster %s has not answered within %s: its agent does not reach the hub, is older than this question, or runs without role inspection; "+
			"muster status cluster %s says when it was heard", cluster, InspectTime, cluster)
	case err != nil:
		return nil, fmt.Errorf("wait for the answer of cluster %s: %w", cluster, err)
	case answered.Status != metav1.ConditionTrue:
		return nil, NoAnswer{fmt.Errorf("cluster %s: %w", cluster, errors.New(answered.Message))}
	}
	return &i.Status, nil
}

// NoAnswer is the error of a cluster that has answered that it cannot say.
type NoAnswer struct{ error }

// TreeRow is an object of an answer, with what stands before it in a drawing.
type TreeRow struct {
	musterv1alpha1.InspectedObject
	Prefix string
	Depth  int
}

// Tree draws the objects of an answer, each below its owner.
func Tree(objects []musterv1alpha1.InspectedObject) []TreeRow {
	below := map[string][]musterv1alpha1.InspectedObject{}
	for _, o := range objects {
		below[o.Owner] = append(below[o.Owner], o)
	}
	var rows []TreeRow
	var add func(owner, indent string, depth int)
	add = func(owner, indent string, depth int) {
		for i, o := range below[owner] {
			own, next := "├─ ", "│  "
			if i == len(below[owner])-1 {
				own, next = "└─ ", "   "
			}
			if depth == 0 {
				own, next = "", ""
			}
			rows = append(rows, TreeRow{o, indent + own, depth})
			if o.UID != "" {
				add(o.UID, indent+next, depth+1)
			}
		}
	}
	add("", "", 0)
	return rows
}

// Containers tells of a pod's containers in few words: how many are ready, how often they were started anew, and what keeps them.
func Containers(p *musterv1alpha1.InspectedPod) string {
	if p == nil {
		return ""
	}
	ready, restarts := 0, 0
	var states []string
	for _, c := range p.Containers {
		if c.Ready {
			ready++
		}
		restarts += int(c.Restarts)
		if c.State != "" && c.State != "Running" {
			states = append(states, c.Name+" "+c.State)
		}
	}
	text := fmt.Sprintf("%d/%d ready", ready, len(p.Containers))
	if restarts > 0 {
		text += ", " + Count(restarts, "restart")
	}
	return strings.Join(append([]string{text}, states...), ", ")
}
