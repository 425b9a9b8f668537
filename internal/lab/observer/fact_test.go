package observer

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestReadyEndpoints(t *testing.T) {
	endpoint := func(kind string, uid types.UID, ready *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{
			Conditions: discoveryv1.EndpointConditions{Ready: ready},
			TargetRef:  &corev1.ObjectReference{Kind: kind, UID: uid},
		}
	}
	s := slice("web-1", "web")
	s.Endpoints = []discoveryv1.Endpoint{
		endpoint("Pod", "ready", new(true)),
		endpoint("Pod", "unknown means ready", nil),
		endpoint("Pod", "not ready", new(false)),
		endpoint("Node", "no pod", new(true)),
		{Addresses: []string{"10.0.0.1"}},
	}
	want := []types.UID{"ready", "unknown means ready"}
	if diff := cmp.Diff(want, endpointsOf(s).ready); diff != "" {
		t.Errorf("ready (-want +got):\n%s", diff)
	}
}

func TestReplicasDefaultToOne(t *testing.T) {
	got := mustFact(t, &appsv1.Deployment{ObjectMeta: named("web")}).(owner)
	if got.replicas != 1 {
		t.Errorf("replicas = %d, want 1", got.replicas)
	}
}

func TestJobsThatEndTheirOwnPods(t *testing.T) {
	suspended := job("batch")
	suspended.Spec.Suspend = new(true)
	deleted := job("batch")
	deleted.DeletionTimestamp = &metav1.Time{Time: t0}
	open, failing := job("batch"), job("batch", "FailureTarget")
	for name, tt := range map[string]struct {
		obj  any
		want bool
	}{"running": {open, false}, "suspended": {suspended, true}, "deleted": {deleted, true}, "failing": {failing, true}} {
		if got := mustFact(t, tt.obj).(owner).closed; got != tt.want {
			t.Errorf("%s: closed = %v, want %v", name, got, tt.want)
		}
	}
}
