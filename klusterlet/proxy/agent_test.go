package proxy

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/muster-io/muster/internal/access"
	"github.com/muster-io/muster/internal/registration"
)

// TestFollow: the tunnel leads to where the hub says, also when the hub named a wrong place in between and comes back to the first.
func TestFollow(t *testing.T) {
	where := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: registration.SystemNamespace, Name: access.ConfigMap}}
	where.Data = map[string]string{access.URLKey: "https://a"}
	hub := fake.NewClientset(where)
	type opened struct {
		url string
		ctx context.Context
	}
	all := make(chan opened)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		(&Agent{Look: time.Millisecond}).follow(ctx, hub, func(tunnel context.Context, to endpoint) error {
			select {
			case all <- opened{to.url, tunnel}:
			case <-ctx.Done():
			}
			if to.url == "wrong" {
				return errors.New("no https URL")
			}
			return nil
		})
	}()
	move := func(url string) {
		t.Helper()
		moved := where.DeepCopy()
		moved.Data[access.URLKey] = url
		if _, err := hub.CoreV1().ConfigMaps(where.Namespace).Update(ctx, moved, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	next := func(url string) opened {
		t.Helper()
		for deadline := time.After(time.Minute); ; {
			select {
			case o := <-all:
				if o.url == url {
					return o
				}
			case <-deadline:
				t.Fatalf("no tunnel to %s is opened", url)
			}
		}
	}
	first := next("https://a")
	move("wrong")
	next("wrong")
	if first.ctx.Err() == nil {
		t.Error("the tunnel to the old place is still open")
	}
	move("https://a")
	again := next("https://a")
	cancel()
	<-done
	if again.ctx.Err() == nil {
		t.Error("the tunnel outlives the agent")
	}
}

// TestStreamsLeaveNothing: what was made for a stream of the tunnel ends with it, also when it broke and the agent goes on.
func TestStreamsLeaveNothing(t *testing.T) {
	for name, end := range map[string]func(agent, stream context.CancelFunc){
		"the stream breaks": func(_, stream context.CancelFunc) { stream() },
		"the tunnel ends":   func(agent, _ context.CancelFunc) { agent() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var given context.Context
			stream := &brokenStream{}
			stream.ctx, stream.end = context.WithCancel(context.Background())
			defer stream.end()
			_, err := (&Agent{}).endAt(ctx, "socket")(context.Background(), nil, nil, "", func(c context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
				given = c
				return stream, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if given.Err() != nil {
				t.Fatal("the stream ends at once")
			}
			end(cancel, stream.end)
			select {
			case <-given.Done():
			case <-time.After(time.Minute):
				t.Error("the context of the stream is still there")
			}
		})
	}
}

type brokenStream struct {
	grpc.ClientStream
	ctx context.Context
	end context.CancelFunc
}

func (s *brokenStream) Context() context.Context { return s.ctx }
