package work

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/generated"
)

// generatedSecret holds, in the agent's namespace, the values that the agent has made for charts. Whoever deletes it has all of them
// made anew.
const generatedSecret = "muster-generated"

// generatedValues are the values of the Secret as this agent knows them, named TEAM.ID.PART. A team is the namespace of an application:
// a Secret that names the call of another team's chart gets a value of its own.
type generatedValues struct {
	mu     sync.Mutex
	values map[string]string // nil before the Secret was read
}

// generate puts values in the place of what a hub has left to the cluster. They are made once, and written down before they are used.
// What cannot be made, read or written is a fault of the manifest that needs it.
func (p *reconciliation) generate(ctx context.Context) {
	reread := p.resync // somebody may have deleted the Secret, so that values are made anew
	for i := range p.targets {
		t := &p.targets[i]
		if t.object == nil || t.err != nil || !t.isSecret() {
			continue
		}
		texts, err := t.generatedTexts()
		if err == nil && len(texts) > 0 {
			if err = p.fillGenerated(ctx, t, texts, reread); err == nil {
				t.hash = hashOf(*t, p.work.Spec.Executor)
			}
			reread = false
		}
		if err != nil {
			t.err = fmt.Errorf("%s: %w", t, err)
		}
	}
}

func (p *reconciliation) fillGenerated(ctx context.Context, t *target, texts map[string]generated.Text, reread bool) error {
	calls := map[string]generated.Call{}
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		maps.Copy(calls, texts[key].Calls)
	}
	m, err := p.makeGenerated(ctx, calls, reread)
	if err != nil {
		return fmt.Errorf("keep generated values in Secret %s/%s: %w", p.Namespace, generatedSecret, withoutSecretValues(*t, err))
	}
	return t.fill(texts, m)
}

// team is the namespace of the application, or of another owner, that a work belongs to. Works that people write have none.
func (p *reconciliation) team() string {
	if namespace, _, ok := strings.Cut(p.work.Annotations[musterv1alpha1.ApplicationAnnotation], "/"); ok {
		return namespace
	}
	if parts := strings.Split(p.work.Annotations[musterv1alpha1.OwnerAnnotation], "/"); len(parts) == 3 {
		return parts[1]
	}
	return ""
}

// generatedTexts are the values of a Secret that hold placeholders, by key.
func (t *target) generatedTexts() (map[string]generated.Text, error) {
	data, _, _ := unstructured.NestedStringMap(t.object.Object, "data") // what is none is refused by the API server
	var texts map[string]generated.Text
	for key, value := range data {
		text, ok, err := generated.Decode(value)
		if err != nil {
			return nil, fmt.Errorf("data.%s: %w", key, err)
		}
		if ok {
			if texts == nil {
				texts = map[string]generated.Text{}
			}
			texts[key] = text
		}
	}
	return texts, nil
}

// fill puts the values in place.
func (t *target) fill(texts map[string]generated.Text, m *maker) error {
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		filled, err := generated.Fill(string(texts[key].Text), func(id, part string) (string, error) {
			value, ok := m.values[m.key(id, part)]
			if !ok {
				return "", fmt.Errorf("data.%s: a value cannot be made: %w", key, m.failed[id])
			}
			return value, nil
		})
		if err != nil {
			return err
		}
		if err := unstructured.SetNestedField(t.object.Object, base64.StdEncoding.EncodeToString([]byte(filled)), "data", key); err != nil {
			return err
		}
	}
	return nil
}

// makeGenerated gives the values of calls, and makes those that are missing. It asks the API server when it is told to, and
// before it makes one.
func (p *reconciliation) makeGenerated(ctx context.Context, calls map[string]generated.Call, reread bool) (m *maker, err error) {
	known := p.generated
	known.mu.Lock()
	defer known.mu.Unlock()
	if known.values != nil && !reread {
		if m = makeMissing(p.team(), calls, known.values); m.made == 0 {
			return m, nil
		}
	}
	err = retry.OnError(retry.DefaultRetry, func(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }, func() error {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: generatedSecret}}
		err := p.spoke.Get(ctx, client.ObjectKeyFromObject(secret), secret)
		missing := apierrors.IsNotFound(err)
		if err != nil && !missing {
			return err
		}
		kept := map[string]string{}
		for key, value := range secret.Data {
			kept[key] = string(value)
		}
		known.values = kept
		if m = makeMissing(p.team(), calls, kept); m.made == 0 {
			return nil
		}
		secret.Data = map[string][]byte{}
		size := 0
		for key, value := range m.values {
			secret.Data[key] = []byte(value)
			size += len(value)
		}
		if size > corev1.MaxSecretSize {
			return fmt.Errorf("with those of this one it would hold %d bytes, and a Secret may hold %d", size, corev1.MaxSecretSize)
		}
		if missing {
			err = p.spoke.Create(ctx, secret)
		} else {
			err = p.spoke.Update(ctx, secret)
		}
		if err == nil {
			known.values = m.values
		}
		return err
	})
	return m, err
}

// maker makes the values of calls, those first that others need.
type maker struct {
	team   string
	calls  map[string]generated.Call
	values map[string]string // by TEAM.ID.PART
	failed map[string]error  // by ID
	made   int
	busy   []string
}

// makeMissing gives the values that there are, and those that the calls ask for beyond them.
func makeMissing(team string, calls map[string]generated.Call, kept map[string]string) *maker {
	m := &maker{team: team, calls: calls, values: maps.Clone(kept), failed: map[string]error{}}
	for _, id := range slices.Sorted(maps.Keys(calls)) {
		m.make(id)
	}
	return m
}

// key of a value in the Secret.
func (m *maker) key(id, part string) string {
	if m.team == "" {
		return id + "." + part
	}
	return m.team + "." + id + "." + part
}

// make makes what a call gives, unless it is there.
func (m *maker) make(id string) {
	call, ok := m.calls[id]
	if !ok || m.failed[id] != nil || slices.Contains(m.busy, id) {
		return
	}
	if _, known := m.values[m.key(id, call.Parts()[0])]; known {
		return
	}
	m.busy = append(m.busy, id)
	defer func() { m.busy = m.busy[:len(m.busy)-1] }()
	for i, arg := range call.Args {
		filled, err := generated.Fill(arg, func(of, part string) (string, error) {
			m.make(of)
			value, ok := m.values[m.key(of, part)]
			if !ok {
				return "", fmt.Errorf("%s needs a value that cannot be made", call.Function)
			}
			return value, nil
		})
		if err != nil {
			m.failed[id] = err
			return
		}
		if i == 0 {
			call.Args = slices.Clone(call.Args)
		}
		call.Args[i] = filled
	}
	parts, err := generated.Make(call)
	if err != nil {
		m.failed[id] = err
		return
	}
	for part, value := range parts {
		m.values[m.key(id, part)] = value
	}
	m.made++
}
