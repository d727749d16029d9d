package registration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1 "github.com/muster-io/muster/api/cluster/v1"
	rules "github.com/muster-io/muster/internal/registration"
	"github.com/muster-io/muster/klusterlet/certificate"
)

// errUnknown says that the hub has no ManagedCluster of the agent's name, or not any more.
var errUnknown = errors.New("the hub has no such ManagedCluster")

// patience is how many times in a row the hub may say that it does not know the agent: one that starts may say it to all.
const patience = 3

// session is the time for which one certificate is good.
type session struct {
	*Agent
	files     *files
	hub       client.WithWatch
	hubHash   string
	local     client.Client
	discovery discovery.DiscoveryInterface

	mu      sync.Mutex
	self    *clusterv1.ManagedCluster // as the hub last showed it
	renewed time.Time                 // of the lease
	news    chan struct{}             // closed when self or renewed changes

	apiSet     string // the set of APIs that the hub was told last
	apiSetTold time.Time

	member bool // the hub has shown the ManagedCluster, and it is not on its way out; of follow alone
}

// serve works with the certificate until ctx ends, or with errRejoin until the certificate is no longer good.
func (a *Agent) serve(ctx context.Context, f *files, local client.Client) error {
	config, err := hubConfig(f.dir)
	if err != nil {
		return err
	}
	hub, err := client.NewWithWatch(config, client.Options{Scheme: Scheme})
	if err != nil {
		if unauthorized(err) {
			return errRejoin
		}
		return fmt.Errorf("reach the hub: %w", err)
	}
	apis, err := discovery.NewDiscoveryClientForConfig(a.Cluster)
	if err != nil {
		return fmt.Errorf("reach the managed cluster: %w", err)
	}
	s := &session{Agent: a, files: f, hub: hub, hubHash: HubHash(config.Host), local: local, discovery: apis, news: make(chan struct{})}
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{s.follow, s.renewLease, s.report, s.renewCertificate} {
		group.Go(func() error { return run(ctx) })
	}
	return group.Wait()
}

// tell changes what the loops share, and wakes them.
func (s *session) tell(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.news)
	s.news = make(chan struct{})
}

// look gives the ManagedCluster as the hub last showed it, nil when it has not, and what is closed when that changes.
func (s *session) look() (self *clusterv1.ManagedCluster, renewed time.Time, news <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.self, s.renewed, s.news
}

func accepted(cluster *clusterv1.ManagedCluster) bool {
	return cluster != nil && cluster.Spec.HubAcceptsClient &&
		meta.IsStatusConditionTrue(cluster.Status.Conditions, clusterv1.ManagedClusterConditionHubAccepted)
}

// follow keeps the ManagedCluster in sight.
func (s *session) follow(ctx context.Context) error {
	log := logr.FromContextOrDiscard(ctx)
	said := &reminder{period: s.Periods.Reminder}
	refusals := 0
	for ctx.Err() == nil {
		err := s.watch(ctx)
		switch {
		case err == nil, ctx.Err() != nil:
			refusals = 0
			continue
		case unauthorized(err):
			if refusals++; refusals >= patience {
				return errRejoin
			}
		case apierrors.IsForbidden(err), errors.Is(err, errUnknown):
			refusals = 0
			s.noteMembership(ctx, false)
			if s.invited(ctx) {
				return errInvited
			}
			if said.due("forbidden") {
				log.Info("the hub does not let the agent in: the cluster is not accepted, or was denied or detached", "next", fmt.Sprintf(
					"on the hub: muster accept %s; if it was detached: stop this agent, or have it join again with a new bootstrap kubeconfig, which muster join %s writes",
					s.state.cluster, s.state.cluster))
			}
		default:
			if said.due(err.Error()) {
				log.Info("cannot reach the hub, trying again", "why", err.Error())
			}
		}
		pause(ctx, s.Periods.Retry)
	}
	return nil
}

// watch shows the ManagedCluster to the loops until the watch ends.
func (s *session) watch(ctx context.Context) error {
	itself := client.MatchingFields{"metadata.name": s.state.cluster}
	var list clusterv1.ManagedClusterList
	if err := s.hub.List(ctx, &list, itself); err != nil {
		return err
	}
	if len(list.Items) == 0 {
		s.tell(func() { s.self = nil })
		return errUnknown
	}
	s.show(ctx, &list.Items[0])
	watcher, err := s.hub.Watch(ctx, &clusterv1.ManagedClusterList{}, itself, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		cluster, ok := event.Object.(*clusterv1.ManagedCluster)
		switch {
		case event.Type == watch.Error:
			return apierrors.FromObject(event.Object)
		case !ok:
		case event.Type == watch.Deleted:
			s.tell(func() { s.self = nil })
			return errUnknown // the watch itself goes on for minutes, whatever rights are left
		default:
			s.show(ctx, cluster)
		}
	}
	return nil
}

// show makes the ManagedCluster known to the loops.
func (s *session) show(ctx context.Context, cluster *clusterv1.ManagedCluster) {
	s.noteMembership(ctx, cluster.DeletionTimestamp.IsZero())
	s.tell(func() { s.self = cluster })
}

// noteMembership notes whether the hub has the cluster. As long as it does, and once when that ends, the bootstrap kubeconfig of the
// moment counts as one that has done its work: only a later one is an invitation.
func (s *session) noteMembership(ctx context.Context, now bool) {
	known := s.files.get(bootstrapFile)
	if hash := s.bootstrapHash(); (now || s.member || known == nil) && hash != "" && hash != string(known) {
		if err := s.files.put(ctx, map[string][]byte{bootstrapFile: []byte(hash)}); err != nil {
			logr.FromContextOrDiscard(ctx).Error(err, "cannot note which bootstrap kubeconfig was used")
		}
	}
	s.member = now
}

// invited: the agent was given a bootstrap kubeconfig since the cluster was last on the hub, and the hub has no cluster of
// the name. Somebody detached it, and somebody wants it back.
func (s *session) invited(ctx context.Context) bool {
	if hash := s.bootstrapHash(); hash == "" || hash == string(s.files.get(bootstrapFile)) {
		return false
	}
	_, config, err := s.bootstrap()
	if err != nil {
		return false
	}
	hub, err := client.New(config, client.Options{Scheme: Scheme})
	if err != nil {
		return false
	}
	return apierrors.IsNotFound(hub.Get(ctx, client.ObjectKey{Name: s.state.cluster}, &clusterv1.ManagedCluster{}))
}

// renewLease keeps the lease fresh while the hub accepts the cluster.
func (s *session) renewLease(ctx context.Context) error {
	log := logr.FromContextOrDiscard(ctx)
	said := &reminder{period: s.Periods.Reminder}
	for ctx.Err() == nil {
		self, _, news := s.look()
		if !accepted(self) {
			await(ctx, news, time.Hour)
			continue
		}
		wait := time.Duration(float64(rules.LeasePeriod(self)) * (0.75 + rand.Float64()/4))
		if err := s.renew(ctx); err != nil {
			if ctx.Err() == nil && said.due(err.Error()) {
				log.Info("cannot renew the lease, trying again", "why", err.Error())
			}
			wait = min(wait, s.Periods.Retry)
		} else {
			s.tell(func() { s.renewed = time.Now() })
		}
		s.rest(ctx, wait, rules.LeasePeriod(self))
	}
	return nil
}

// rest returns after a while, or at once when the ManagedCluster names another lease period than the one that was kept: by a
// shorter one the hub counts from the moment that it is written.
func (s *session) rest(ctx context.Context, wait, period time.Duration) {
	for end := time.Now().Add(wait); ctx.Err() == nil && time.Now().Before(end); {
		self, _, news := s.look()
		if self != nil && rules.LeasePeriod(self) != period {
			return
		}
		await(ctx, news, time.Until(end))
	}
}

// renew writes the present time into the lease, which the hub made.
func (s *session) renew(ctx context.Context) error {
	var lease coordinationv1.Lease
	if err := s.hub.Get(ctx, client.ObjectKey{Namespace: s.state.cluster, Name: clusterv1.ManagedClusterLeaseName}, &lease); err != nil {
		return err
	}
	now := metav1.NewMicroTime(time.Now())
	lease.Spec.RenewTime = &now
	return s.hub.Update(ctx, &lease)
}

// await returns when there are news, after a while, or when ctx ends.
func await(ctx context.Context, news <-chan struct{}, longest time.Duration) {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-news:
	case <-timer.C:
	}
}

// renewCertificate gets the next certificate in time.
func (s *session) renewCertificate(ctx context.Context) error {
	log := logr.FromContextOrDiscard(ctx)
	part := 0.20 + 0.05*rand.Float64()
	for ctx.Err() == nil {
		leaf, err := certificate.Of(s.files.get(certificateFile), s.files.get(keyFile))
		if err != nil || !time.Now().Before(leaf.NotAfter) {
			return errRejoin
		}
		if left := time.Until(certificate.RenewalDue(leaf, part)); left > 0 {
			pause(ctx, min(left, s.Periods.Certificate))
			continue
		}
		log.Info("renewing the certificate", "expires", leaf.NotAfter.Format(time.RFC3339))
		err = s.rotate(ctx, leaf.NotAfter)
		if ctx.Err() != nil {
			return nil
		}
		s.reportRotation(ctx, err)
		if errors.Is(err, context.DeadlineExceeded) {
			return errRejoin
		}
		if err != nil {
			log.Error(err, "cannot renew the certificate, trying again")
			pause(ctx, s.Periods.Retry)
		}
	}
	return nil
}

// rotate gets a certificate for a new key, as the agent that it is, before the present one expires.
func (s *session) rotate(ctx context.Context, expires time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, expires)
	defer cancel()
	next := &certificateRequest{hub: s.hub, files: s.files, cluster: s.state.cluster, agent: s.state.agent, seconds: s.CertificateSeconds, periods: s.Periods}
	issued, key, err := next.fetch(ctx)
	if err != nil {
		return err
	}
	err = s.files.put(ctx, map[string][]byte{certificateFile: issued, keyFile: key, pendingKeyFile: nil})
	if err == nil {
		logr.FromContextOrDiscard(ctx).Info("the certificate is renewed")
	}
	return err
}

// reportRotation puts OCM's condition about the renewal on the ManagedCluster, as far as the hub can be reached.
func (s *session) reportRotation(ctx context.Context, err error) {
	condition := metav1.Condition{
		Type: clusterv1.ManagedClusterConditionCertificateRotated, Status: metav1.ConditionTrue,
		Reason: clusterv1.ReasonCertificateUpdated, Message: "client certificate rotated",
	}
	if err != nil {
		condition.Status, condition.Reason = metav1.ConditionFalse, clusterv1.ReasonCertificateUpdateFailed
		condition.Message = err.Error()
	}
	if err := s.patchStatus(ctx, func(cluster *clusterv1.ManagedCluster) {
		meta.SetStatusCondition(&cluster.Status.Conditions, condition)
	}); err != nil {
		logr.FromContextOrDiscard(ctx).Info("cannot tell the hub of the renewal", "why", err.Error())
	}
}
