package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhichPodsCanRunOnNoOtherPool(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{
		label: "old", corev1.LabelHostname: "n1", corev1.LabelTopologyZone: "a", "team": "shop",
	}}}
	selected := func(key, value string) corev1.PodSpec {
		return corev1.PodSpec{NodeSelector: map[string]string{key: value}}
	}
	affine := func(terms ...corev1.NodeSelectorTerm) corev1.PodSpec {
		return corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}}}
	}
	with := func(key string, op corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: op, Values: values}}}
	}
	byName := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"n1"}}}}
	preferred := corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 1, Preference: with(label, corev1.NodeSelectorOpIn, "old")}},
	}}}
	for name, test := range map[string]struct {
		spec   corev1.PodSpec
		pinned bool
		to     []string
	}{
		"nothing":                     {corev1.PodSpec{}, false, nil},
		"a label of people's":         {selected("team", "shop"), false, nil},
		"a zone":                      {selected(corev1.LabelTopologyZone, "a"), false, nil},
		"the pool":                    {selected(label, "old"), true, []string{"old"}},
		"the node":                    {selected(corev1.LabelHostname, "n1"), true, nil},
		"the node, by a field":        {affine(byName), true, nil},
		"one of two pools":            {affine(with(label, corev1.NodeSelectorOpIn, "old", "old-1-34-2")), true, []string{"old", "old-1-34-2"}},
		"the pool, or a team":         {affine(with(label, corev1.NodeSelectorOpIn, "old"), with("team", corev1.NodeSelectorOpIn, "shop")), false, nil},
		"any pool":                    {affine(with(label, corev1.NodeSelectorOpExists)), false, nil},
		"not another pool":            {affine(with(label, corev1.NodeSelectorOpNotIn, "gpu")), false, nil},
		"rather the pool":             {preferred, false, nil},
		"a label that its node lacks": {selected("team", "other"), false, nil}, // it was taken off since
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: named("p"), Spec: test.spec}
			pod.Spec.NodeName = "n1"
			c, _ := start(t, node, pod)
			got := pods(c.State())["p"]
			if diff := cmp.Diff(test.to, got.PinnedTo); got.Pinned != test.pinned || diff != "" {
				t.Errorf("pinned %v, want %v; %s", got.Pinned, test.pinned, diff)
			}
		})
	}
}
