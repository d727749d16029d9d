package work

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/muster-io/muster/internal/generated"
)

// generatedSecret holds, in the agent's namespace, the values that the agent has made for charts. Whoever deletes it has all of them
// made anew.
const generatedSecret = "muster-generated"

// generate puts values in the place of what a hub has left to the cluster. They are made once, and written down before they are used.
// A value that cannot be made is a fault of its Secret; an error means that the values cannot be read or written.
func (p *reconciliation) generate(ctx context.Context) error {
	calls := map[string]generated.Call{}
	var wanted []*target
	for i := range p.targets {
		t := &p.targets[i]
		if t.object == nil || !t.isSecret() {
			continue
		}
		texts, err := t.generatedTexts()
		if err != nil {
			t.object, t.err = nil, fmt.Errorf("%s: %w", t, err)
		}
		for _, text := range texts {
			maps.Copy(calls, text.Calls)
		}
		if len(texts) > 0 {
			wanted = append(wanted, t)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	values, failed, err := p.generatedValues(ctx, calls)
	if err != nil {
		return fmt.Errorf("keep generated values in Secret %s/%s: %w", p.Namespace, generatedSecret, err)
	}
	for _, t := range wanted {
		if err := t.fill(values, failed); err != nil {
			t.object, t.err = nil, fmt.Errorf("%s: %w", t, err)
			continue
		}
		t.hash = hashOf(*t, p.work.Spec.Executor)
	}
	return nil
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
func (t *target) fill(values map[string]string, failed map[string]error) error {
	texts, err := t.generatedTexts()
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		filled, err := generated.Fill(string(texts[key].Text), func(id, part string) (string, error) {
			value, ok := values[id+"."+part]
			if !ok {
				return "", fmt.Errorf("data.%s: a value cannot be made: %w", key, failed[id])
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

// generatedValues reads the values of calls, and makes those that are missing. They are named ID.PART.
func (p *reconciliation) generatedValues(ctx context.Context, calls map[string]generated.Call) (values map[string]string, failed map[string]error, err error) {
	err = retry.OnError(retry.DefaultRetry, func(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }, func() error {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: generatedSecret}}
		err := p.spoke.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: generatedSecret}, secret)
		missing := apierrors.IsNotFound(err)
		if err != nil && !missing {
			return err
		}
		m := &maker{calls: calls, values: map[string]string{}, failed: map[string]error{}}
		for key, value := range secret.Data {
			m.values[key] = string(value)
		}
		for _, id := range slices.Sorted(maps.Keys(calls)) {
			m.make(id)
		}
		values, failed = m.values, m.failed
		if m.made == 0 {
			return nil
		}
		secret.Data = map[string][]byte{}
		for key, value := range m.values {
			secret.Data[key] = []byte(value)
		}
		if missing {
			return p.spoke.Create(ctx, secret)
		}
		return p.spoke.Update(ctx, secret)
	})
	return values, failed, err
}

// maker makes the values of calls, those first that others need.
type maker struct {
	calls  map[string]generated.Call
	values map[string]string // by ID.PART
	failed map[string]error  // by ID
	made   int
	busy   []string
}

// make makes what a call gives, unless it is there.
func (m *maker) make(id string) {
	call, ok := m.calls[id]
	if !ok || m.failed[id] != nil || slices.Contains(m.busy, id) {
		return
	}
	if _, known := m.values[id+"."+call.Parts()[0]]; known {
		return
	}
	m.busy = append(m.busy, id)
	defer func() { m.busy = m.busy[:len(m.busy)-1] }()
	for i, arg := range call.Args {
		filled, err := generated.Fill(arg, func(of, part string) (string, error) {
			m.make(of)
			value, ok := m.values[of+"."+part]
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
		m.values[id+"."+part] = value
	}
	m.made++
}
