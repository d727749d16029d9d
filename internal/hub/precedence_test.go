package hub

import (
	"context"
	"net/http"
	"testing"
	"time"
)

// TestDeliveriesGoFirst: while a work is being written, or a commit is planned, others wait, for a time; reads of works and other
// writes hold nobody up.
func TestDeliveriesGoFirst(t *testing.T) {
	p := &Precedence{}
	release := make(chan struct{})
	transport := p.Wrap(roundTripper(func(*http.Request) (*http.Response, error) {
		<-release
		return &http.Response{}, nil
	}))
	send := func(method, path string) (done chan struct{}) {
		done = make(chan struct{})
		r, err := http.NewRequest(method, "https://hub"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(done)
			response, err := transport.RoundTrip(r)
			if err != nil || response == nil {
				t.Errorf("%v, %v", response, err)
			}
		}()
		return done
	}
	const works = "/apis/work.open-cluster-management.io/v1/namespaces/edge-1/manifestworks"
	other, read := send(http.MethodPost, "/api/v1/namespaces"), send(http.MethodGet, works)
	time.Sleep(10 * time.Millisecond)
	if p.busy() {
		t.Error("nothing is being delivered")
	}
	delivery := send(http.MethodPost, works)
	for !p.busy() {
		time.Sleep(time.Millisecond)
	}
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		p.Wait(context.Background())
	}()
	select {
	case <-waited:
		t.Error("a write did not wait for the delivery")
	case <-time.After(200 * time.Millisecond):
	}
	began := time.Now()
	p.Wait(context.Background())
	if took := time.Since(began); took < longestWait/2 {
		t.Errorf("waited %s, and the delivery goes on", took)
	}
	<-waited // although the delivery has not ended
	close(release)
	for _, done := range []chan struct{}{delivery, other, read} {
		<-done
	}
	for p.busy() {
		time.Sleep(time.Millisecond)
	}
	planned := p.Deliver()
	if !p.busy() {
		t.Error("a commit is being planned")
	}
	planned()
	for p.busy() {
		time.Sleep(time.Millisecond)
	}
	(*Precedence)(nil).Deliver()()
	(*Precedence)(nil).Wait(context.Background())
}
