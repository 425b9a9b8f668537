package oracle

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	kubectl "k8s.io/kubectl/pkg/drain"

	"github.com/upshift-k8s/upshift/internal/drain"
	"github.com/upshift-k8s/upshift/internal/kube"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// fate is what a drain does with a pod.
type fate string

const (
	evicted fate = "evicted"
	stays   fate = "stays"
	refused fate = "refused" // without a consent that is lacking
	awaited fate = "awaited" // until it ends by itself; kubectl never does that
)

// consents are those of Upshift, and the flags of kubectl drain that mean the same.
type consents struct {
	bare      bool // allow-bare-pods, --force
	emptyDirs bool // allow-emptydir-loss, --delete-emptydir-data
}

// owner is what an owner reference of a pod says, and what there is of it.
type owner struct {
	version, kind, name string
	// loose tells that the owner does not control the pod.
	loose bool
	// missing tells that there is no such object: none of its name, or one with another UID.
	missing bool
}

const (
	there   = "there"
	gone    = "gone"
	remade  = "remade" // deleted, and another one made with its name
	ofOwner = "of-"    // begins the name of an object that is controlled itself
)

// kinds are Kubernetes' own controllers of pods.
var kinds = []owner{
	{version: "apps/v1", kind: "ReplicaSet"}, {version: "apps/v1", kind: "StatefulSet"}, {version: "apps/v1", kind: "DaemonSet"},
	{version: "v1", kind: "ReplicationController"}, {version: "batch/v1", kind: "Job"},
}

// owners are all that a pod can belong to, the zero owner being nothing.
func owners() []owner {
	all := []owner{
		{}, {version: "apps/v1", kind: "ReplicaSet", name: there, loose: true},
		{version: "apps/v1", kind: "ReplicaSet", name: ofOwner + "deployment"}, {version: "apps/v1", kind: "ReplicaSet", name: ofOwner + "deleted-deployment"},
		{version: "apps/v1", kind: "ReplicaSet", name: ofOwner + "rollout"}, {version: "batch/v1", kind: "Job", name: ofOwner + "cronjob"},
		{version: "apps.kruise.io/v1alpha1", kind: "CloneSet", name: there}, {version: "apps.kruise.io/v1beta1", kind: "StatefulSet", name: there},
		{version: "apps.kruise.io/v1alpha1", kind: "DaemonSet", name: there}, {version: "batch.volcano.sh/v1alpha1", kind: "Job", name: there},
	}
	for _, kind := range kinds {
		for _, name := range []string{there, gone, remade} {
			kind.name, kind.missing = name, name != there
			all = append(all, kind)
		}
	}
	return all
}

func (o owner) uid() types.UID {
	if o.name == remade {
		return types.UID("former " + o.kind)
	}
	return types.UID(o.version + " " + o.kind + " " + o.name)
}

func (o owner) reference() metav1.OwnerReference {
	controls := !o.loose
	return metav1.OwnerReference{APIVersion: o.version, Kind: o.kind, Name: o.name, UID: o.uid(), Controller: &controls}
}

// controllers are the objects behind the owners that there are.
func controllers() []runtime.Object {
	meta := func(version, kind, name string, by ...owner) metav1.ObjectMeta {
		m := metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(version + " " + kind + " " + name)}
		for _, o := range by {
			m.OwnerReferences = append(m.OwnerReferences, o.reference())
		}
		return m
	}
	deployment := owner{version: "apps/v1", kind: "Deployment", name: there}
	all := []runtime.Object{
		&appsv1.Deployment{ObjectMeta: meta("apps/v1", "Deployment", there)},
		&appsv1.ReplicaSet{ObjectMeta: meta("apps/v1", "ReplicaSet", ofOwner+"deployment", deployment)},
		&appsv1.ReplicaSet{ObjectMeta: meta("apps/v1", "ReplicaSet", ofOwner+"deleted-deployment", owner{version: "apps/v1", kind: "Deployment", name: gone})},
		&appsv1.ReplicaSet{ObjectMeta: meta("apps/v1", "ReplicaSet", ofOwner+"rollout", owner{version: "argoproj.io/v1alpha1", kind: "Rollout", name: there})},
		&batchv1.Job{ObjectMeta: meta("batch/v1", "Job", ofOwner+"cronjob", owner{version: "batch/v1", kind: "CronJob", name: there})},
	}
	for _, name := range []string{there, remade} {
		all = append(all,
			&appsv1.ReplicaSet{ObjectMeta: meta("apps/v1", "ReplicaSet", name)}, &appsv1.StatefulSet{ObjectMeta: meta("apps/v1", "StatefulSet", name)},
			&appsv1.DaemonSet{ObjectMeta: meta("apps/v1", "DaemonSet", name)}, &corev1.ReplicationController{ObjectMeta: meta("v1", "ReplicationController", name)},
			&batchv1.Job{ObjectMeta: meta("batch/v1", "Job", name)})
	}
	return all
}

// storage are the volumes that a pod can have, by a word for them.
var storage = map[string][]corev1.VolumeSource{
	"none":     nil,
	"emptyDir": {{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	"memory":   {{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
	"hostPath": {{HostPath: &corev1.HostPathVolumeSource{Path: "/var/lib/data"}}},
	"local":    {{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "local"}}},
	"others": {{Projected: &corev1.ProjectedVolumeSource{}}, {ConfigMap: &corev1.ConfigMapVolumeSource{}},
		{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{}}}},
	"all of them": {{Projected: &corev1.ProjectedVolumeSource{}}, {HostPath: &corev1.HostPathVolumeSource{Path: "/"}},
		{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "local"}}, {EmptyDir: &corev1.EmptyDirVolumeSource{}}},
}

// subject is a pod by what a drain can look at.
type subject struct {
	owner  owner
	mirror string // the annotation of a static pod's mirror: "no", "yes", or "empty"
	phase  corev1.PodPhase
	// ends is when its grace period is over, zero for a pod that is not being deleted.
	ends    time.Time
	young   bool // made a moment ago
	storage string
}

func (s subject) String() string {
	return fmt.Sprintf("a pod of %+v, mirror %s, %s, ends %d, young %t, volumes %s", s.owner, s.mirror, s.phase, s.ends.Year(), s.young, s.storage)
}

func (s subject) finished() bool {
	return s.phase == corev1.PodSucceeded || s.phase == corev1.PodFailed
}

func (s subject) isMirror() bool { return s.mirror != "no" }

// daemon tells that Kubernetes' DaemonSet controller is said to have made it.
func (s subject) daemon() bool { return s.owner.kind == "DaemonSet" && s.owner.version == "apps/v1" }

// orphan tells that it points to a controller that does not exist, and for so long that this is not the cache's delay.
func (s subject) orphan() bool { return s.owner.missing && !s.young }

// drained tells that it does not simply leave with its node, and running that nobody has deleted it besides.
func (s subject) drained() bool {
	return !s.finished() && !s.isMirror() && (s.owner.kind != "DaemonSet" || s.orphan())
}

func (s subject) running() bool { return s.drained() && s.ends.IsZero() }

// keeps tells that it has data that is lost with it, and that this is not allowed.
func (s subject) keeps(c consents) bool {
	return !c.emptyDirs && slices.ContainsFunc(storage[s.storage], func(v corev1.VolumeSource) bool { return v.EmptyDir != nil })
}

// subjects are pods of every kind: all that can be combined is.
func subjects() []subject {
	var all []subject
	for _, o := range owners() {
		for _, mirror := range []string{"no", "yes", "empty"} {
			for _, phase := range []corev1.PodPhase{corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown} {
				for _, ends := range []time.Time{{}, time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)} {
					for _, young := range []bool{false, true} {
						for _, volumes := range slices.Sorted(maps.Keys(storage)) {
							all = append(all, subject{owner: o, mirror: mirror, phase: phase, ends: ends, young: young, storage: volumes})
						}
					}
				}
			}
		}
	}
	return all
}

func (s subject) pod(name string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(time.Now().Add(-time.Hour))},
		Spec:       corev1.PodSpec{NodeName: "node"},
		Status:     corev1.PodStatus{Phase: s.phase},
	}
	if s.young {
		p.CreationTimestamp = metav1.NewTime(time.Now().Add(time.Hour)) // the test may take a while
	}
	switch s.mirror {
	case "yes":
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "hash"}
	case "empty":
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: ""}
	}
	if s.owner != (owner{}) {
		p.OwnerReferences = []metav1.OwnerReference{s.owner.reference()}
	}
	if !s.ends.IsZero() {
		p.DeletionTimestamp, p.Finalizers = &metav1.Time{Time: s.ends}, []string{"example.com/wait"}
	}
	for i, source := range storage[s.storage] {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: fmt.Sprint("v", i), VolumeSource: source})
	}
	return p
}

// difference is one that is wanted: these pods meet another fate than with kubectl, always the same.
type difference struct {
	reason string
	ours   fate
	of     func(subject, consents) bool
}

var differences = []difference{
	{"a finished pod has nothing to be evicted, and leaves with its node; kubectl deletes it, and its logs", stays,
		func(s subject, _ consents) bool { return s.finished() && !s.isMirror() }},
	{"a static pod leaves with its node, whatever it says of an owner; kubectl misses its DaemonSet first", stays,
		func(s subject, c consents) bool {
			return s.isMirror() && !s.finished() && s.daemon() && s.owner.name == gone && !c.bare
		}},
	{"a pod that is being deleted needs no eviction, and no consent; kubectl asks for both again", awaited,
		func(s subject, _ consents) bool { return s.drained() && !s.ends.IsZero() }},
	{"a running Job is left to finish, since an eviction can count as a failure; kubectl ends it", awaited,
		func(s subject, _ consents) bool { return s.running() && s.owner.kind == "Job" && !s.orphan() }},
	{"nobody makes a pod again whose controller does not exist; kubectl looks only for DaemonSets", refused,
		func(s subject, c consents) bool {
			return s.running() && s.orphan() && !s.daemon() && !c.bare && !s.keeps(c)
		}},
	{"a DaemonSet that was made again with its name will not have the pod; kubectl looks at the name alone", refused,
		func(s subject, c consents) bool {
			return s.running() && s.orphan() && s.daemon() && s.owner.name == remade && (!c.bare || s.keeps(c))
		}},
	{"the same, with the consents", evicted,
		func(s subject, c consents) bool {
			return s.running() && s.orphan() && s.daemon() && s.owner.name == remade && c.bare && !s.keeps(c)
		}},
	{"a DaemonSet that is missed may just not be in the cache while its pod is young; kubectl asks the API", stays,
		func(s subject, _ consents) bool {
			return !s.finished() && !s.isMirror() && s.daemon() && s.owner.name == gone && s.young
		}},
	{"a DaemonSet of OpenKruise is one, too: it makes its pods again on cordoned nodes; kubectl knows Kubernetes' own", stays,
		func(s subject, _ consents) bool {
			return !s.finished() && !s.isMirror() && s.owner.kind == "DaemonSet" && !s.daemon()
		}},
}

// TestPodsAsKubectlDrains: of every kind of pod, and with every consent, a drain evicts what kubectl drain evicts, leaves what it leaves and
// refuses what it refuses, but for the differences that are wanted, each of which turns up.
func TestPodsAsKubectlDrains(t *testing.T) {
	objects, all := controllers(), map[string]subject{}
	for i, s := range subjects() {
		name := fmt.Sprint("pod-", i)
		all[name] = s
		objects = append(objects, s.pod(name))
	}
	client := fake.NewClientset(objects...)
	state := readState(t, client)
	if len(state.Pods) != len(all) {
		t.Fatalf("%d pods were read, want %d", len(state.Pods), len(all))
	}
	fates, turnedUp, unexpected := map[fate]int{}, map[string]int{}, 0
	for _, c := range []consents{{}, {bare: true}, {emptyDirs: true}, {bare: true, emptyDirs: true}} {
		theirs := kubectlDrains(t, client, c)
		for _, p := range state.Pods {
			s, ours := all[p.Name], upshiftDrains(t, state, p, c)
			fates[ours]++
			why, wanted := "", theirs[p.Name]
			for _, d := range differences {
				if d.of(s, c) {
					why, wanted = d.reason, d.ours
					turnedUp[why]++
				}
			}
			if ours == wanted && (why != "") == (ours != theirs[p.Name]) {
				continue
			}
			if unexpected++; unexpected > 20 {
				t.Fatal("and so on")
			}
			t.Errorf("%s, with %+v, is %s, and with kubectl %s; wanted: %q", s, c, ours, theirs[p.Name], why)
		}
	}
	t.Logf("%d pods with 4 sets of consents: %v", len(all), fates)
	for _, d := range differences {
		t.Logf("%6d times: %s", turnedUp[d.reason], d.reason)
		if turnedUp[d.reason] == 0 {
			t.Errorf("%q does not turn up", d.reason)
		}
	}
}

func readState(t *testing.T, client kubernetes.Interface) upgrade.State {
	t.Helper()
	watched, err := kube.Follow(t.Context(), client, kube.Pools{Label: "pool"})
	if err != nil {
		t.Fatal(err)
	}
	return watched.State()
}

// kubectlDrains returns what kubectl drain does with all pods, by name. Its --ignore-daemonsets is always on, as it were, with Upshift.
func kubectlDrains(t *testing.T, client kubernetes.Interface, c consents) map[string]fate {
	t.Helper()
	helper := kubectl.Helper{Ctx: t.Context(), Client: client, IgnoreAllDaemonSets: true, Force: c.bare, DeleteEmptyDirData: c.emptyDirs}
	list, errs := helper.GetPodsForDeletion("node")
	if list == nil {
		t.Fatal(errs)
	}
	pods, err := client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	fates := map[string]fate{}
	for _, p := range pods.Items {
		fates[p.Name] = stays
	}
	for _, p := range list.Pods() {
		fates[p.Name] = evicted
	}
	for _, err := range errs { // each ends in ": ns/pod-1, ns/pod-2"
		text := err.Error()
		for _, key := range strings.Split(text[strings.LastIndex(text, ": ")+2:], ", ") {
			_, name, _ := strings.Cut(key, "/")
			if fates[name] != stays {
				t.Fatalf("pod %q is both %s and refused: %.200s", name, fates[name], text)
			}
			fates[name] = refused
		}
	}
	return fates
}

// upshiftDrains returns what a drain of a node with this pod alone does with it.
func upshiftDrains(t *testing.T, state upgrade.State, p upgrade.Pod, c consents) fate {
	t.Helper()
	state.Pods = []upgrade.Pod{p}
	cluster := &still{state: state}
	var err error
	synctest.Test(t, func(t *testing.T) {
		cluster.changed = make(chan struct{})
		_, err = drain.Nodes(t.Context(), cluster, []drain.Node{{Name: p.Node}}, drain.Options{
			Timeout: time.Second, LoseBarePods: c.bare, LoseEmptyDirs: c.emptyDirs, Notify: func(string, upgrade.Event) {},
		})
	})
	blocked := drain.AsBlocked(err)
	switch {
	case cluster.evicted:
		return evicted
	case err == nil:
		return stays
	case blocked == nil:
		t.Fatal(err)
	}
	for _, consent := range []upgrade.Consent{upgrade.AllowBarePods, upgrade.AllowEmptyDirLoss} {
		if strings.Contains(err.Error(), string(consent)+" was not given") {
			return refused
		}
	}
	return awaited
}

// still is a cluster in which nothing happens.
type still struct {
	state   upgrade.State
	changed chan struct{}
	evicted bool
}

func (s *still) State() upgrade.State     { return s.state }
func (s *still) Changed() <-chan struct{} { return s.changed }

func (s *still) Evict(context.Context, upgrade.Pod) upgrade.Answer {
	s.evicted = true
	return upgrade.Answer{Kind: upgrade.Accepted}
}

func (s *still) Delete(context.Context, upgrade.Pod, bool) upgrade.Answer {
	panic("nobody forces a pod")
}
