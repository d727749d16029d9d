package memo

import (
	"fmt"
	"testing"
)

// TestBounds: what is remembered stays within its bytes, what was asked for last stays, and what is counted is what is there.
func TestBounds(t *testing.T) {
	const limit, each = 10_000, 1_000
	m, computed := New(limit), 0
	get := func(i int) {
		t.Helper()
		value, err := Remember(m, "n", fmt.Sprint(i), func() (int, int64, error) { computed++; return i, each, nil })
		if err != nil || value != i {
			t.Fatalf("%d gives %d, %v", i, value, err)
		}
	}
	for i := range 50 {
		get(i)
		get(0) // asked for all the time
	}
	if computed != 50 {
		t.Errorf("%d values were computed, want 50: the first is never forgotten", computed)
	}
	m.Update("n:1", func(any) (any, int64) { return 2, 3 * each })
	var sum int64
	for element := m.recent.Front(); element != nil; element = element.Next() {
		sum += element.Value.(*entry).size
	}
	if sum != m.Size() || sum > limit || m.recent.Len() != len(m.entries) || sum == 0 {
		t.Errorf("the books do not balance: %d of %d bytes, %d of %d entries", sum, m.Size(), m.recent.Len(), len(m.entries))
	}
	for i := 50; i < 100; i++ {
		if _, err := Remember(m, "n", fmt.Sprint(i), func() (int, int64, error) { return 0, 2 * limit, nil }); err != nil || m.Size() > limit {
			t.Errorf("a value that is too large: %v, %d bytes", err, m.Size())
		}
	}
}
