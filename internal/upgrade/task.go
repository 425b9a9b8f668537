package upgrade

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
)

// Task is something that people have to do, exactly.
type Task struct {
	// Step is the ID of the step that waits for it, and Node the node that it is about, empty for none.
	Step string `json:"step"`
	Node string `json:"node,omitempty"`
	// What is one sentence, without a full stop. Commands are an example of how, in their order, with a "#" before what is no command.
	What     string   `json:"what"`
	Commands []string `json:"commands"`
	// Since is when the run began to wait for it.
	Since time.Time `json:"since,omitzero"`
}

// InPlaceTask is to upgrade a node of the pool. First tells that it is the first of a control plane that gets the version.
func InPlaceTask(step Step, pool PoolPlan, poolLabel string, first bool) Task {
	t := Task{Step: step.ID, Node: step.Node}
	if pool.Name == ControlPlanePool {
		t.What = fmt.Sprintf("upgrade control-plane node %s to %s: its API server and its kubelet", step.Node, pool.To)
		how := "sudo kubeadm upgrade node"
		if first {
			how = fmt.Sprintf("sudo kubeadm upgrade plan v%[1]s && sudo kubeadm upgrade apply -y v%[1]s", plain(pool.To))
		}
		t.Commands = onNode(step.Node, pool.To, how)
		return t
	}
	t.What = fmt.Sprintf("upgrade node %s of pool %s to %s, or replace it by a new machine at %[3]s in the same pool", step.Node, pool.Name, pool.To)
	t.Commands = append(onNode(step.Node, pool.To, "sudo kubeadm upgrade node"),
		fmt.Sprintf("# or, to replace it: kubectl delete node %s, and once a new machine has joined: kubectl label node NEW-NODE %s=%s", step.Node, poolLabel, pool.Name))
	return t
}

// onNode are the commands that upgrade a node, with kubeadm and apt as the example.
func onNode(node, version, how string) []string {
	v := plain(version)
	return []string{
		"ssh " + node,
		repository(v),
		fmt.Sprintf("sudo apt-get update && sudo apt-get install -y --allow-change-held-packages kubeadm='%s-*'", v),
		how,
		fmt.Sprintf("sudo apt-get install -y --allow-change-held-packages kubelet='%[1]s-*' kubectl='%[1]s-*'", v),
		"sudo systemctl daemon-reload && sudo systemctl restart kubelet",
	}
}

// repository has apt take packages of the version's minor: each minor has a repository of its own.
func repository(version string) string {
	return fmt.Sprintf(`sudo sed -i -E 's#/v1\.[0-9]+/#/v%s/#' /etc/apt/sources.list.d/kubernetes.list`, minorOf(version))
}

// JoinTask is to add machines to the pool that takes over; more is how many are missing. They need the labels and taints that the old ones had when the
// plan was made.
func JoinTask(step Step, pool PoolPlan, poolLabel string, more int) Task {
	var old Marks
	_ = json.Unmarshal(pool.Config, &old) // else they are told without
	v := plain(pool.To)
	labels := []string{poolLabel + "=" + pool.NewName}
	for _, key := range slices.Sorted(maps.Keys(old.Labels)) {
		labels = append(labels, key+"="+old.Labels[key])
	}
	t := Task{Step: step.ID, What: fmt.Sprintf("add machines at %s to pool %s: %d are missing of %d", pool.To, pool.NewName, more, pool.NewNodes()), Commands: []string{
		"# on each new machine, prepared as in https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/",
		repository(v),
		fmt.Sprintf("sudo apt-get update && sudo apt-get install -y --allow-change-held-packages kubeadm='%[1]s-*' kubelet='%[1]s-*'", v),
		"# on a node of the control plane, and what it prints on each new machine:",
		"sudo kubeadm token create --print-join-command",
		"kubectl label node NEW-NODE " + strings.Join(labels, " "),
	}}
	for _, taint := range old.Taints {
		t.Commands = append(t.Commands, fmt.Sprintf("kubectl taint node NEW-NODE %s=%s:%s", taint.Key, taint.Value, taint.Effect))
	}
	return t
}

// RemoveTask is to take away the machines of a pool that nothing runs on any more.
func RemoveTask(step Step, nodes []string) Task {
	t := Task{Step: step.ID, What: fmt.Sprintf("remove the machines of pool %s: they are empty and cordoned, and nothing needs them any more", step.Pool), Commands: []string{}}
	for _, n := range nodes {
		t.Commands = append(t.Commands, "kubectl delete node "+n)
	}
	if len(nodes) > 0 {
		t.Commands = append(t.Commands, "# and then the machines themselves: "+strings.Join(nodes, ", "))
	}
	return t
}

// plain is a version without what a distribution of Kubernetes adds to it.
func plain(version string) string {
	v, _, _ := strings.Cut(version, "+")
	return v
}

// nextMinor returns "1.34" of "1.33.5".
func nextMinor(version string) string {
	v, err := semver.NewVersion(version)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d.%d", v.Major(), v.Minor()+1)
}
