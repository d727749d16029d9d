package work

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/muster-io/muster/internal/drift"

	workv1 "github.com/muster-io/muster/api/work/v1"
)

// memory is what the agent remembers of one work between two looks. All of it can be lost: it saves requests.
type memory struct {
	mu          sync.Mutex // held while the work or its AppliedManifestWork is reconciled
	uid         types.UID  // of the work
	objects     map[objectKey]*objectState
	published   *workv1.ManifestWorkStatus // nil: the hub's cache knows
	publishedAt time.Time
	nextResync  time.Time
	nextPoll    time.Time
	measured    int64 // generation of the work whose first apply was measured
	confirmed   int64 // generation of the work that the hub was asked about: it was the newest

	// the wave that keeps the next one waiting, and since when
	blockedGeneration int64
	blockedWave       int
	blockedAt         time.Time
}

// objectState is what the agent knows of one object.
type objectState struct {
	hash        string // of the target as it was last applied; empty when never by this process
	facts       facts
	rv          string // resourceVersion when it was last read or written
	stale       bool   // a watch reported a change that was not looked at yet
	rulesDigest string // of the target when it was last read

	failure  error // of the last apply
	reason   string
	failures int
	retryAt  time.Time
	failedAt int64 // generation of the work that failed
	waits    error // the failure is that a lower wave is not ready
	// uncorrected is true from when the object is to be corrected until it is written: an object that carries the mark of its manifest
	// would else pass for one that is as it should be.
	uncorrected bool

	unready  string // why the object is not ready for the next wave; empty when it is
	degraded bool   // and does not become so by waiting
	waitsAt  int    // the step at which an object of another controller waits for a person; 0 when it does not

	finished  bool // a Job that Kubernetes removes after its end has come to it
	running   bool // such a Job had not finished when it was last read
	collected bool // such a Job is gone, as it should be

	state    availability
	problem  error // why the object could not be read
	feedback []workv1.FeedbackValue
	feedErr  error
	rules    []metav1.Condition

	drift    drift.Report // the zero value: what the status says stays
	checked  bool         // drift was looked for by this process
	shared   bool         // another work claimed it too when the facts were read
	heals    int
	healedAt time.Time
}

type availability int

const (
	unknown availability = iota
	absent
	present
)

// facts of an object change when somebody changes what we applied.
type facts struct {
	uid        types.UID
	generation int64
	held       string // the fields that we hold
}

// factsOf reads the facts. For objects that are not applied server-side what counts is the labels, the annotations
// and, where there is no generation, the content.
func factsOf(t target, live *unstructured.Unstructured) facts {
	f := facts{uid: live.GetUID(), generation: live.GetGeneration()}
	if t.strategy() == workv1.UpdateStrategyTypeServerSideApply {
		f.held = digest(heldBy(live, t.serverSide().FieldManager))
		return f
	}
	content := map[string]any{"labels": live.GetLabels(), "annotations": live.GetAnnotations()}
	if f.generation == 0 {
		for k, v := range live.Object {
			if k != "metadata" && k != "status" {
				content[k] = v
			}
		}
	}
	f.held = digest(content)
	return f
}

// heldBy gives the fields that a manager applied to an object; empty when there are none.
func heldBy(live *unstructured.Unstructured, manager string) string {
	metadata, _ := live.Object["metadata"].(map[string]any)
	fields, _ := metadata["managedFields"].([]any)
	return drift.Held(fields, manager)
}

// remembered gives the memory of a work, by the name of its AppliedManifestWork.
func (e *engine) remembered(record string) *memory {
	e.mu.Lock()
	defer e.mu.Unlock()
	m, ok := e.memory[record]
	if !ok {
		m = &memory{objects: map[objectKey]*objectState{}}
		e.memory[record] = m
	}
	return m
}

// about gives what is known of an object.
func (m *memory) about(key objectKey) *objectState {
	s, ok := m.objects[key]
	if !ok {
		s = &objectState{}
		m.objects[key] = s
	}
	return s
}

// startOver forgets everything when a work of the same name is another one.
func (m *memory) startOver(uid types.UID) {
	if m.uid != uid {
		m.uid, m.objects, m.published = uid, map[objectKey]*objectState{}, nil
		m.nextResync, m.nextPoll, m.confirmed = time.Time{}, time.Time{}, 0
	}
}

// keepOnly forgets objects that are no longer in the work.
func (m *memory) keepOnly(targets []target) {
	wanted := make(map[objectKey]bool, len(targets))
	for _, t := range targets {
		wanted[t.key()] = true
	}
	for key := range m.objects {
		if !wanted[key] {
			delete(m.objects, key)
		}
	}
}
