package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// reviewers is how many permissions are asked about at once.
const reviewers = 8

// Needs is what an upgrade has to be allowed to do besides filling the caches: that it may list and watch what is in them, they show by
// being full. The deletion of a pod is not among it, which is only for pods that a person names.
func Needs() []upgrade.Permission {
	return []upgrade.Permission{
		{Verb: "get", Resource: "nodes", Why: "to cordon nodes"},
		{Verb: "patch", Resource: "nodes", Why: "to cordon nodes"},
		{Verb: "create", Resource: "pods/eviction", Why: "to evict pods"},
		{Verb: "get", Group: "apps", Resource: "deployments", Why: "to restart Deployments before the drains", Only: upgrade.SurgeFirst},
		{Verb: "patch", Group: "apps", Resource: "deployments", Why: "to restart Deployments before the drains", Only: upgrade.SurgeFirst},
	}
}

// permissions asks who we are, and which of the needs we are allowed.
func (c *Cluster) permissions(ctx context.Context, needs []upgrade.Permission) (user string, answered []upgrade.Permission, err error) {
	self, err := c.client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err == nil {
		user = self.Status.UserInfo.Username // without it, nobody is named
	}
	answered = append(answered, needs...)
	var mu sync.Mutex
	var failed error
	workqueue.ParallelizeUntil(ctx, reviewers, len(answered), func(i int) {
		allowed, err := c.allowed(ctx, answered[i])
		mu.Lock()
		defer mu.Unlock()
		answered[i].Allowed = allowed
		if err != nil && failed == nil {
			failed = fmt.Errorf("ask whether %s of %s is allowed: %w", answered[i].Verb, answered[i].Resource, err)
		}
	})
	if failed == nil {
		failed = context.Cause(ctx) // it stops asking then
	}
	if failed != nil {
		return user, nil, failed
	}
	return user, answered, nil
}

func (c *Cluster) allowed(ctx context.Context, p upgrade.Permission) (bool, error) {
	resource, subresource, _ := strings.Cut(p.Resource, "/")
	review, err := c.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: p.Verb, Group: p.Group, Resource: resource, Subresource: subresource, Namespace: p.Namespace,
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	if s := review.Status; !s.Allowed && !s.Denied && s.EvaluationError != "" {
		return false, errors.New(s.EvaluationError) // no answer is not a no
	}
	return review.Status.Allowed, nil
}
