package ui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/overview"
)

// liveView is what a cluster answers about an application at this moment. It is asked with the rights of the person who looks.
type liveView struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Cluster   string `json:"cluster"`
	// Problem says why there is no answer.
	Problem string                           `json:"problem,omitempty"`
	Objects []musterv1alpha1.InspectedObject `json:"objects,omitempty"`
	Omitted int32                            `json:"omittedObjects,omitempty"`
	Events  []musterv1alpha1.InspectedEvent  `json:"events,omitempty"`
	Notes   []string                         `json:"notes,omitempty"`
}

// Rows are the objects as a tree.
func (v liveView) Rows() []overview.TreeRow { return overview.Tree(v.Objects) }

// ObjectLink is the address of an object's page.
func (v liveView) ObjectLink(o musterv1alpha1.InspectedObject) string {
	return objectLink(v.Namespace, v.Name, v.Cluster, o.Group, o.Kind, o.Namespace, o.Name)
}

// States counts the objects by their health.
func (v liveView) States() []stateCount {
	var counts []stateCount
	for _, state := range []string{"Healthy", "Progressing", "Unknown", "Degraded", "Missing"} {
		n := 0
		for _, o := range v.Objects {
			if o.Health == state {
				n++
			}
		}
		if n > 0 {
			counts = append(counts, stateCount{state, n})
		}
	}
	return counts
}

// NameOf is an object of the answer in an event.
func (v liveView) NameOf(uid string) string {
	for _, o := range v.Objects {
		if o.UID == uid {
			return o.Kind + " " + o.Name
		}
	}
	return ""
}

func (s *Server) live(ctx context.Context, p *Person, r *http.Request) (any, error) {
	v := liveView{Namespace: r.PathValue("namespace"), Name: r.PathValue("name"), Cluster: r.PathValue("cluster")}
	answer, problem, err := s.inspect(ctx, p, r, musterv1alpha1.InspectionSpec{})
	if v.Problem = problem; answer != nil {
		v.Objects, v.Omitted, v.Events, v.Notes = answer.Objects, answer.OmittedObjects, answer.Events, answer.Notes
	}
	return v, err
}

// inspect asks a cluster about the application that the path names. A cluster that does not answer, or cannot say, is a problem for the
// page to tell; an error is what the hub's API server said.
func (s *Server) inspect(ctx context.Context, p *Person, r *http.Request, question musterv1alpha1.InspectionSpec) (answer *musterv1alpha1.InspectionStatus, problem string, err error) {
	if _, err := s.findApplication(ctx, r); err != nil {
		return nil, "", err
	}
	done, err := s.questions.begin(p.Name)
	if err != nil {
		return nil, "", err
	}
	defer done()
	question.Application = musterv1alpha1.InspectedApplication{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	answer, err = overview.Inspect(ctx, p.Client, r.PathValue("cluster"), question)
	var said apierrors.APIStatus
	switch {
	case err == nil || errors.As(err, &said) || ctx.Err() != nil:
		return answer, "", err
	}
	return nil, err.Error(), nil
}

// questions counts what people wait for, so that one who asks again and again does not take all that agents and hub can do.
type questions struct {
	mu   sync.Mutex
	open map[string]int // by person
}

// maxQuestions is how many answers of clusters one person waits for at a time.
const maxQuestions = 5

func (q *questions) begin(person string) (done func(), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open == nil {
		q.open = map[string]int{}
	}
	if q.open[person] >= maxQuestions {
		return nil, apiError{http.StatusTooManyRequests, fmt.Sprintf("you wait for %d answers of clusters already: ask again when one is there", maxQuestions)}
	}
	q.open[person]++
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.open[person]--; q.open[person] == 0 {
			delete(q.open, person)
		}
	}, nil
}

// logsView is the end of a pod's log.
type logsView struct {
	Namespace string                       `json:"namespace"`
	Name      string                       `json:"name"`
	Cluster   string                       `json:"cluster"`
	Problem   string                       `json:"problem,omitempty"`
	Pod       string                       `json:"pod,omitempty"` // as it was asked for
	Container string                       `json:"container,omitempty"`
	Lines     int64                        `json:"lines"`
	Previous  bool                         `json:"previous,omitempty"`
	Log       *musterv1alpha1.InspectedLog `json:"log,omitempty"`
}

// agentTooOld is the problem of an agent that answers without what it is asked for.
const agentTooOld = "the cluster's agent is older than this question: upgrade its klusterlet"

// The lines of a log that a page shows: when nobody says, and at most.
const (
	logLines    = 200
	logLinesMax = 2000
)

func (s *Server) logs(ctx context.Context, p *Person, r *http.Request) (any, error) {
	q := r.URL.Query()
	v := logsView{
		Namespace: r.PathValue("namespace"), Name: r.PathValue("name"), Cluster: r.PathValue("cluster"),
		Pod: q.Get("pod"), Container: q.Get("container"), Previous: q.Get("previous") != "", Lines: logLines,
	}
	if n, err := strconv.ParseInt(q.Get("lines"), 10, 64); err == nil {
		v.Lines = min(max(n, 1), logLinesMax)
	}
	asked := musterv1alpha1.InspectionLogs{Pod: v.Pod, Container: v.Container, Lines: v.Lines, Previous: v.Previous}
	if namespace, name, ok := strings.Cut(v.Pod, "/"); ok {
		asked.Namespace, asked.Pod = namespace, name
	}
	answer, problem, err := s.inspect(ctx, p, r, musterv1alpha1.InspectionSpec{Logs: &asked})
	switch v.Problem = problem; {
	case answer == nil:
	case answer.Log == nil:
		v.Problem = agentTooOld
	default:
		v.Log = answer.Log
		s.Log.Info("a person read a log on the page", "person", p.Name, "cluster", v.Cluster, "application", v.Namespace+"/"+v.Name, "pod", v.Log.Pod, "container", v.Log.Container)
	}
	return v, err
}
