package kube

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const label = "cloud.google.com/gke-nodepool"

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(time.Now().Add(-time.Hour))}
}

func controlled(name, kind, version, by string) metav1.ObjectMeta {
	m := named(name)
	yes := true
	m.OwnerReferences = []metav1.OwnerReference{{APIVersion: version, Kind: kind, Name: by, UID: types.UID("uid-" + by), Controller: &yes}}
	return m
}

// start watches a cluster with the objects in it; the API server behind it is client-go's fake one.
func start(t *testing.T, objects ...runtime.Object) (*Cluster, *fake.Clientset) {
	t.Helper()
	client := fake.NewClientset(objects...)
	c, err := Follow(t.Context(), client, Pools{Label: label})
	if err != nil {
		t.Fatal(err)
	}
	return c, client
}

func pods(s upgrade.State) map[string]upgrade.Pod {
	byName := map[string]upgrade.Pod{}
	for _, p := range s.Pods {
		byName[p.Name] = p
	}
	return byName
}

func TestPodsBelongToTheControllerThatMakesThemAgain(t *testing.T) {
	three := int32(3)
	young := controlled("young", "ReplicaSet", "apps/v1", "unseen")
	young.CreationTimestamp = metav1.Now()
	mirror, odd := named("mirror"), named("odd-mirror")
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	odd.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: ""} // a kubelet asks only whether it is there
	c, _ := start(t,
		&appsv1.Deployment{ObjectMeta: named("web"), Spec: appsv1.DeploymentSpec{Replicas: &three, MinReadySeconds: 7}},
		&appsv1.ReplicaSet{ObjectMeta: controlled("web-rs", "Deployment", "apps/v1", "web")},
		&appsv1.ReplicaSet{ObjectMeta: named("alone")},
		&appsv1.ReplicaSet{ObjectMeta: controlled("rollout-rs", "Rollout", "argoproj.io/v1alpha1", "rollout")},
		&batchv1.Job{ObjectMeta: named("job")},
		&corev1.Pod{ObjectMeta: controlled("of-deployment", "ReplicaSet", "apps/v1", "web-rs")},
		&corev1.Pod{ObjectMeta: controlled("of-replicaset", "ReplicaSet", "apps/v1", "alone")},
		&corev1.Pod{ObjectMeta: controlled("of-rollout", "ReplicaSet", "apps/v1", "rollout-rs")},
		&corev1.Pod{ObjectMeta: controlled("of-job", "Job", "batch/v1", "job")},
		&corev1.Pod{ObjectMeta: controlled("of-other", "CloneSet", "apps.kruise.io/v1alpha1", "clones")},
		&corev1.Pod{ObjectMeta: controlled("orphan", "ReplicaSet", "apps/v1", "deleted")},
		&corev1.Pod{ObjectMeta: young},
		&corev1.Pod{ObjectMeta: named("bare")},
		&corev1.Pod{ObjectMeta: mirror},
		&corev1.Pod{ObjectMeta: odd},
	)
	s := c.State()
	got := map[string][2]string{}
	for name, p := range pods(s) {
		got[name] = [2]string{p.Workload.String(), string(p.Disposition())}
	}
	want := map[string][2]string{
		"of-deployment": {"Deployment ns/web", "move"},
		"of-replicaset": {"ReplicaSet ns/alone", "move"},
		"of-rollout":    {"Rollout ns/rollout", "move"},
		"of-job":        {"Job ns/job", "await"},
		"of-other":      {"CloneSet ns/clones", "move"},
		"orphan":        {" ", "lose"},
		"young":         {"ReplicaSet ns/unseen", "move"}, // its ReplicaSet may just not be in the cache yet
		"bare":          {" ", "lose"},
		"mirror":        {" ", "stay"},
		"odd-mirror":    {" ", "stay"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if orphan := pods(s)["orphan"].Orphan.String(); orphan != "ReplicaSet ns/deleted" {
		t.Errorf("the orphan's controller is %q", orphan)
	}
	if w := s.Workloads["uid-web"]; w.Wanted != 3 || w.MinReady != 7*time.Second {
		t.Errorf("web: %+v", w)
	}
	if _, ok := s.Workloads["uid-alone"]; !ok {
		t.Error("a workload is listed by its pods alone")
	}
}

func TestPodsAreReadWithTheirBudgetsServicesAndTroubles(t *testing.T) {
	yes, no, grace := true, false, int64(45)
	web := map[string]string{"app": "web"}
	pod := func(name string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: named(name), Spec: corev1.PodSpec{NodeName: "n1", TerminationGracePeriodSeconds: &grace}}
		p.Labels = web
		return p
	}
	serving, away, sick, pending := pod("serving"), pod("away"), pod("sick"), pod("pending")
	serving.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Unix(100, 0))}}
	serving.Spec.Volumes = []corev1.Volume{{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	sick.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
	pending.Spec.NodeName = ""
	pending.Status.Phase = corev1.PodPending
	pending.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available"}}
	endpoint := func(p *corev1.Pod, ready *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{TargetRef: &corev1.ObjectReference{UID: p.UID}, Conditions: discoveryv1.EndpointConditions{Ready: ready}}
	}
	slice := named("web-1")
	slice.Labels = map[string]string{"kubernetes.io/service-name": "web"}
	two := intstr.FromInt32(2)
	always := policyv1.AlwaysAllow
	c, _ := start(t, serving, away, sick, pending,
		&corev1.Service{ObjectMeta: named("web"), Spec: corev1.ServiceSpec{Selector: web}},
		&corev1.Service{ObjectMeta: named("external"), Spec: corev1.ServiceSpec{Selector: web, Type: corev1.ServiceTypeExternalName}},
		&corev1.Service{ObjectMeta: named("by-hand")},
		&discoveryv1.EndpointSlice{ObjectMeta: slice, Endpoints: []discoveryv1.Endpoint{endpoint(serving, nil), endpoint(away, &no), endpoint(sick, &yes)}},
		&policyv1.PodDisruptionBudget{
			ObjectMeta: named("web"),
			Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &two, Selector: &metav1.LabelSelector{MatchLabels: web}, UnhealthyPodEvictionPolicy: &always},
			Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 1, CurrentHealthy: 3, DesiredHealthy: 2, ExpectedPods: 4},
		},
		&policyv1.PodDisruptionBudget{ObjectMeta: named("everything"), Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{}}},
		&policyv1.PodDisruptionBudget{ObjectMeta: named("nothing")},
	)
	s := c.State()
	p := pods(s)
	if got := p["serving"]; !got.Ready || !got.ReadySince.Equal(time.Unix(100, 0)) || got.Grace != 45*time.Second || len(got.Unserved) != 0 || got.EmptyDirs[0] != "cache" {
		t.Errorf("serving: %+v", got)
	}
	if diff := cmp.Diff([]string{"ns/everything", "ns/web"}, p["serving"].Budgets); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"ns/web"}, p["away"].Unserved); diff != "" {
		t.Error(diff)
	}
	if got := p["sick"].Trouble; got != "container app: CrashLoopBackOff" {
		t.Errorf("trouble %q", got)
	}
	if got := p["pending"]; !got.Pending || got.Unschedulable != "0/3 nodes are available" {
		t.Errorf("pending: %+v", got)
	}
	if b := s.Budgets["ns/web"]; b.Why() != "minAvailable 2: 3 of 4 healthy, 2 needed" || !b.FreesUnready || !b.Current || b.Allowed != 1 {
		t.Errorf("budget: %+v", b)
	}
}

func TestAWorkloadWithoutPodsExists(t *testing.T) {
	c, _ := start(t, &appsv1.StatefulSet{ObjectMeta: named("db")})
	if w, ok := c.State().Workloads["uid-db"]; !ok || w.Wanted != 1 {
		t.Errorf("got %+v, %t: a gate would take it for gone", w, ok)
	}
}

// TestAChangeThatWaitsForPodsToBeDeleted of a StatefulSet: an eviction would roll it out.
func TestAChangeThatWaitsForPodsToBeDeleted(t *testing.T) {
	set := func(strategy appsv1.StatefulSetUpdateStrategyType, current string, updated int32) *appsv1.StatefulSet {
		return &appsv1.StatefulSet{
			ObjectMeta: named("db"), Spec: appsv1.StatefulSetSpec{UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: strategy}},
			Status: appsv1.StatefulSetStatus{Replicas: 3, UpdatedReplicas: updated, CurrentRevision: current, UpdateRevision: "db-2"},
		}
	}
	for name, test := range map[string]struct {
		set  *appsv1.StatefulSet
		want int
	}{
		"two pods are as before":                      {set("OnDelete", "db-1", 1), 2},
		"all pods are changed":                        {set("OnDelete", "db-1", 3), 0},
		"nothing was changed":                         {set("OnDelete", "db-2", 0), 0},
		"a change that the controller is rolling out": {set("RollingUpdate", "db-1", 1), 0},
	} {
		c, _ := start(t, test.set)
		if w := c.State().Workloads["uid-db"]; w.HeldBack != test.want {
			t.Errorf("%s: %d pods are held back, want %d", name, w.HeldBack, test.want)
		}
	}
}

func node(name, pool string, unschedulable bool, by string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{label: pool}}, Spec: corev1.NodeSpec{Unschedulable: unschedulable}}
	if by != "" {
		n.Annotations = map[string]string{cordonedBy: by}
	}
	return n
}

func TestCordonsAreOwned(t *testing.T) {
	for name, test := range map[string]struct {
		node     *corev1.Node
		uncordon bool
		want     string // "unschedulable by", or empty for schedulable and nobody's
	}{
		"a schedulable node is cordoned":               {node("n", "p", false, ""), false, "true run-1"},
		"a person's cordon is left as it is":           {node("n", "p", true, ""), false, "true "},
		"an earlier run's cordon becomes ours":         {node("n", "p", true, "run-0"), false, "true run-1"},
		"our cordon stays ours":                        {node("n", "p", true, "run-1"), false, "true run-1"},
		"our cordon is undone":                         {node("n", "p", true, "run-1"), true, "false "},
		"a person's cordon is not undone":              {node("n", "p", true, ""), true, "true "},
		"an earlier run's cordon is undone":            {node("n", "p", true, "run-0"), true, "false "},
		"what is not cordoned is not to be uncordoned": {node("n", "p", false, ""), true, "false "},
	} {
		t.Run(name, func(t *testing.T) {
			c, client := start(t, test.node)
			var err error
			if test.uncordon {
				err = c.Uncordon(t.Context(), "n")
			} else {
				err = c.Cordon(t.Context(), "n", "run-1")
			}
			if err != nil {
				t.Fatal(err)
			}
			n, err := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got := "false "
			if n.Spec.Unschedulable {
				got = "true "
			}
			if got += n.Annotations[cordonedBy]; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	c, _ := start(t)
	if err := c.Cordon(t.Context(), "gone", "run-1"); err != nil {
		t.Errorf("a node that is gone: %v", err)
	}
}

func TestOccupantsAreReadFromTheAPI(t *testing.T) {
	on := func(name, node string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: named(name), Spec: corev1.PodSpec{NodeName: node}}
	}
	c, _ := start(t, node("n1", "p", true, ""), node("n2", "other", false, ""), on("a", "n1"),
		&storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "va1"}, Spec: storagev1.VolumeAttachmentSpec{NodeName: "n1"}},
		&storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "va2"}, Spec: storagev1.VolumeAttachmentSpec{NodeName: "n2"}},
	)
	there, err := c.Occupants(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	if len(there.Nodes) != 1 || there.Nodes[0].Name != "n1" || len(there.Pods) != 1 || there.Pods[0].Name != "a" {
		t.Errorf("got %+v", there)
	}
	if diff := cmp.Diff([]upgrade.Attachment{{Name: "va1", Node: "n1"}}, there.Volumes); diff != "" {
		t.Error(diff)
	}
}

func TestAChangeWakesWhoeverWaits(t *testing.T) {
	c, client := start(t)
	changed := c.Changed()
	if _, err := client.CoreV1().Nodes().Create(t.Context(), node("n", "p", false, ""), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was woken")
	}
	if nodes := c.State().PoolNodes("p"); len(nodes) != 1 {
		t.Errorf("%d nodes, want 1", len(nodes))
	}
}

func TestStartUpIsFromBindingToReady(t *testing.T) {
	bound := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pod := func(name string, restarts int32, conditions ...corev1.PodCondition) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: named(name), Status: corev1.PodStatus{Conditions: conditions, ContainerStatuses: []corev1.ContainerStatus{{RestartCount: restarts}}}}
	}
	at := func(kind corev1.PodConditionType, after time.Duration) corev1.PodCondition {
		return corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(bound.Add(after))}
	}
	c, _ := start(t,
		pod("up", 0, at(corev1.PodScheduled, 0), at(corev1.PodReady, 42*time.Second)),
		pod("restarted", 1, at(corev1.PodScheduled, 0), at(corev1.PodReady, time.Hour)),
		pod("starting", 0, at(corev1.PodScheduled, 0)),
		pod("odd", 0, at(corev1.PodReady, time.Hour)),
	)
	got := map[string]time.Duration{}
	for name, p := range pods(c.State()) {
		got[name] = p.StartUp
	}
	if diff := cmp.Diff(map[string]time.Duration{"up": 42 * time.Second, "restarted": 0, "starting": 0, "odd": 0}, got); diff != "" {
		t.Error(diff)
	}
}
