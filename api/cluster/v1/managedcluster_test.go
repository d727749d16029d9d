package v1

import (
	"encoding/json"
	"testing"
)

// TestAmountsThatAreNone: the API server lets them pass, and a list of clusters with one of them is read all the same.
func TestAmountsThatAreNone(t *testing.T) {
	const report = `{"items": [{"status": {
		"capacity": {"cpu": "4", "memory": "1e1.5", "pods": 110},
		"allocatable": {"cpu": "3500m", "memory": "1234567890123456789e2147483647", "storage": "1e400", "gpu": "", "none": null, "disk": "12e6"}
	}}, {"status": {"capacity": null, "allocatable": {"memory": "8Gi"}}}]}`
	var list ManagedClusterList
	if err := json.Unmarshal([]byte(report), &list); err != nil {
		t.Fatal(err)
	}
	got := func(l ResourceList) map[string]string {
		texts := map[string]string{}
		for name, amount := range l {
			texts[string(name)] = amount.String()
		}
		return texts
	}
	expect := func(l ResourceList, want map[string]string) {
		t.Helper()
		texts := got(l)
		if len(texts) != len(want) {
			t.Errorf("read %v, want %v", texts, want)
		}
		for name, text := range want {
			if texts[name] != text {
				t.Errorf("%s is %q, want %q", name, texts[name], text)
			}
		}
	}
	expect(list.Items[0].Status.Capacity, map[string]string{"cpu": "4", "pods": "110"})
	expect(list.Items[0].Status.Allocatable, map[string]string{"cpu": "3500m", "disk": "12e6"})
	expect(list.Items[1].Status.Capacity, map[string]string{})
	expect(list.Items[1].Status.Allocatable, map[string]string{"memory": "8Gi"})
}
