package review

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	musterv1alpha1 "github.com/muster-io/muster/api/muster/v1alpha1"
	"github.com/muster-io/muster/internal/githost"
	"github.com/muster-io/muster/internal/githubapp"
	"github.com/muster-io/muster/internal/source"
)

// specError is a mistake in spec.review or its Secret: a person has to correct it.
type specError struct{ error }

func (e *specError) Unwrap() error { return e.error }

func wrong(format string, args ...any) error { return &specError{fmt.Errorf(format, args...)} }

// connect gives the client of the repository's host, and the name that the host knows us by.
func (t *task) connect(ctx context.Context) error {
	s := t.state
	if s.host != nil {
		return nil
	}
	credentials, err := t.Repositories.Credentials(ctx, t.repo)
	if err != nil {
		return err
	}
	spec := t.repo.Spec.Review
	if strings.HasPrefix(spec.Host, musterv1alpha1.HostBitbucket) && len(spec.Approvers.Teams) > 0 {
		return wrong("spec.review.approvers.teams: Bitbucket tells nobody who is in a group: name users")
	}
	o := githost.Options{
		Kind: spec.Host, Token: credentials.Token(), Username: credentials.Username(), App: credentials.App(),
		Roots: credentials.Roots(), Proxy: credentials.Proxy(), UserAgent: t.UserAgent,
	}
	if spec.SecretRef != nil {
		if err := t.secret(ctx, spec, &o); err != nil {
			return err
		}
	}
	if o.API, o.Repository, err = githost.Locate(spec.Host, spec.APIURL, spec.Repository, t.repo.Spec.URL); err != nil {
		return &specError{err}
	}
	host, err := githost.New(o)
	if err != nil {
		return &specError{err}
	}
	self, err := host.Self(ctx)
	if err != nil {
		return err
	}
	s.host, s.self = host, self
	return nil
}

// secret reads the Secret of spec.review. An error names a key and never its value.
func (t *task) secret(ctx context.Context, spec *musterv1alpha1.ReviewSpec, o *githost.Options) error {
	var secret corev1.Secret
	key := types.NamespacedName{Namespace: t.repo.Namespace, Name: spec.SecretRef.Name}
	if err := t.Client.Get(ctx, key, &secret); err != nil {
		return fmt.Errorf("read Secret %s, which spec.review.secretRef names: %w", key, err)
	}
	text := func(name string) string { return source.TrimLine(secret.Data[name]) }
	if pem := secret.Data["caFile"]; len(pem) > 0 {
		var ok bool
		if o.Roots, ok = source.RootsWith(pem); !ok {
			return wrong("Secret %s: key caFile holds no certificate: it wants PEM", key)
		}
	}
	o.Token, o.Username, o.App = text("token"), text("username"), nil
	if o.Token != "" {
		return nil
	}
	if text(githubapp.KeyID) == "" {
		return wrong("Secret %s needs the key token, or %s, %s and %s of a GitHub App", key, githubapp.KeyID, githubapp.KeyInstallation, githubapp.KeyPrivateKey)
	}
	app, err := githubapp.IdentityOf(text(githubapp.KeyID), text(githubapp.KeyInstallation), text(githubapp.KeyPrivateKey))
	if err != nil {
		return wrong("Secret %s: %w", key, err)
	}
	o.App = app
	return nil
}
