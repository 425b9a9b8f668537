package kube

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// TestAnswersOfTheEvictionAPI has the answers that Kubernetes' own eviction code gives, as the client sees them.
func TestAnswersOfTheEvictionAPI(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	status := func(code int32, reason metav1.StatusReason, message string, retry int32, causes ...metav1.StatusCause) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Code: code, Reason: reason, Message: message, Details: &metav1.StatusDetails{RetryAfterSeconds: retry, Causes: causes},
		}}
	}
	budget := metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: "The disruption budget web needs 2 healthy pods and has 2 currently"}
	for name, test := range map[string]struct {
		err   error
		want  upgrade.AnswerKind
		retry time.Duration
	}{
		"created":                      {nil, upgrade.Accepted, 0},
		"the pod is gone":              {apierrors.NewNotFound(pods, "web"), upgrade.AlreadyGone, 0},
		"another pod has its name":     {apierrors.NewConflict(pods, "web", errors.New("Precondition failed: UID in precondition: a, UID in object meta: b")), upgrade.AlreadyGone, 0},
		"another conflict":             {apierrors.NewConflict(pods, "web", errors.New("the object has been modified")), upgrade.NotNow, 0},
		"the budget is 0":              {status(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "no", 0, budget), upgrade.BudgetSpent, 0},
		"the budget's status lags":     {status(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "no", 10, budget), upgrade.BudgetSpent, 10 * time.Second},
		"priority and fairness":        {status(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "too many", 1), upgrade.NotNow, time.Second},
		"conflict retries ran out":     {status(http.StatusGatewayTimeout, metav1.StatusReasonTimeout, "timeout", 10), upgrade.NotNow, 10 * time.Second},
		"the namespace is terminating": {apierrors.NewForbidden(pods, "web", errors.New("terminating")), upgrade.Refused, 0},
		"two budgets":                  {apierrors.NewInternalError(errors.New("This pod has more than one PodDisruptionBudget")), upgrade.Refused, 0},
		"the API server is away":       {errors.New("dial tcp 127.0.0.1:1: connect: connection refused"), upgrade.NotNow, 0},
		"the call took too long":       {context.DeadlineExceeded, upgrade.NotNow, 0},
		"the service is unavailable":   {apierrors.NewServiceUnavailable("etcd"), upgrade.NotNow, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := classify(test.err)
			if a.Kind != test.want || a.RetryAfter != test.retry {
				t.Errorf("got %s after %s, want %s after %s", a.Kind, a.RetryAfter, test.want, test.retry)
			}
			if test.err != nil && a.Message == "" {
				t.Error("no message")
			}
		})
	}
}
