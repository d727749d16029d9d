package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
)

func notifyCommand(c *cli) *cobra.Command {
	var test string
	cmd := &cobra.Command{
		Use:   "notify [--test [NAMESPACE/]NAME]",
		Short: "Show how Notifications do, or let one tell a test",
		Long: "Without --test, lists the Notifications of the hub with what they have sent and what they had to give up.\n" +
			"With it, the hub sends a test to the receiver, once, and says what it answered. The namespace is muster-system if none is given.\n\n" +
			"Exits 0 when the receiver took the test, 1 when it did not, 2 on trouble.",
		Example:     "  muster notify --test retail/oncall",
		Args:        cobra.NoArgs,
		Annotations: exitsAsDiff,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, _, err := c.hub()
			if err != nil {
				return err
			}
			if test != "" {
				return c.testNotification(cmd.Context(), server, test)
			}
			return c.listNotifications(cmd.Context(), server)
		},
	}
	cmd.Flags().StringVar(&test, "test", "", "the Notification that is to tell a test")
	return cmd
}

func (c *cli) listNotifications(ctx context.Context, server client.Client) error {
	var list musterv1alpha1.NotificationList
	if err := server.List(ctx, &list); err != nil {
		return fmt.Errorf("ask the hub: %w", err)
	}
	return c.print(list.Items, func(p *printer) {
		if len(list.Items) == 0 {
			p.line("there are no Notifications: docs/notifications.md has examples")
			return
		}
		rows := [][]string{{"NOTIFICATION", "TYPE", "SENT", "LAST", "DEAD", "SAYS"}}
		for _, n := range list.Items {
			last, says := "", ""
			if n.Status.LastSentAt != nil {
				last = age(c.now().Sub(n.Status.LastSentAt.Time))
			}
			for _, condition := range n.Status.Conditions {
				if condition.Status != metav1.ConditionTrue {
					says = condition.Message
				}
			}
			if says == "" && len(n.Status.DeadLetters) > 0 {
				d := n.Status.DeadLetters[0]
				says = fmt.Sprintf("gave up %q %s ago: %s", d.Title, age(c.now().Sub(d.At.Time)), d.Error)
			}
			rows = append(rows, []string{n.Namespace + "/" + n.Name, n.Spec.Type, fmt.Sprint(n.Status.Sent), last, fmt.Sprint(n.Status.Dead), says})
		}
		p.table(rows)
	})
}

// testNotification asks the hub for a test and waits for its answer.
func (c *cli) testNotification(ctx context.Context, server client.Client, name string) error {
	namespace, name, ok := strings.Cut(name, "/")
	if !ok {
		namespace, name = "muster-system", namespace
	}
	key := types.NamespacedName{Namespace: namespace, Name: name}
	n := &musterv1alpha1.Notification{}
	if err := server.Get(ctx, key, n); err != nil {
		return fmt.Errorf("ask the hub for Notification %s: %w", key, err)
	}
	id := strings.ToLower(rand.Text()[:10])
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{musterv1alpha1.TestNotificationAnnotation: id}}})
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	if err := server.Patch(ctx, n, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("ask for a test of Notification %s: %w", key, err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	for {
		if err := server.Get(ctx, key, n); err == nil && n.Status.Test != nil && n.Status.Test.ID == id {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the hub has not answered within %s: does one lead, with controller notification? muster doctor tells", c.patience)
		case <-time.After(200 * time.Millisecond):
		}
	}
	if err := c.print(n.Status.Test, func(p *printer) {
		if n.Status.Test.Error == "" {
			p.linef("%s: the receiver took it", key)
			return
		}
		p.linef("%s: %s", key, n.Status.Test.Error)
	}); err != nil {
		return err
	}
	if n.Status.Test.Error != "" {
		return exitError{code: 1}
	}
	return nil
}
