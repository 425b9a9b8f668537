package preflight

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// webhooks: admission that an upgrade depends on.
func webhooks() Check {
	return Check{
		Name: "webhooks", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.UnknownSeverity, upgrade.Warning, upgrade.Info},
		Title: "A fail-closed admission webhook sees what an upgrade does, and nothing answers it, or what answers moves",
		Why:   "While it does not answer, pods are neither evicted nor made, its own among them, and nodes do not join.",
		find:  findWebhooks,
	}
}

// longTimeout is above what the API server's own leader election waits for: a webhook that hangs for so long costs leases.
const longTimeout = 10 * time.Second

func findWebhooks(in Input) []upgrade.Finding {
	found := in.unknown("whether admission lets an upgrade pass", upgrade.ReadWebhooks)
	if in.Inventory.Unread[upgrade.ReadWebhooks] == "" && len(in.Inventory.Webhooks) > 0 {
		found = append(found, in.unknown("which namespaces admission webhooks are asked about", upgrade.ReadNamespaces)...)
	}
	concerned := in.concerned()
	pods, leaving := in.podsByUID(), in.leaving()
	for _, w := range in.Inventory.Webhooks {
		// What is reached by a URL is somebody else's, the provider's own among it: nothing is known of what answers.
		sees := concerned.sees(w)
		if !w.FailsClosed || w.Service == "" || len(sees) == 0 {
			continue
		}
		f := upgrade.Finding{Object: w.Configuration, Evidence: []string{"webhook " + w.Name, "asked about: " + strings.Join(sees, ", ")}}
		if in.judge(&f, w, sees, pods, leaving) {
			found = append(found, f)
		}
	}
	return found
}

// concern is the namespaces in which an upgrade makes or evicts pods.
type concern map[string]bool

func (in Input) concerned() concern {
	namespaces := concern{}
	for _, p := range in.Moving {
		namespaces[p.Namespace] = true
	}
	if slices.ContainsFunc(in.Pools, func(p upgrade.PoolPlan) bool { return p.Action.Changes() }) {
		for _, d := range in.Inventory.Daemons {
			namespaces[d.Ref.Namespace] = true // whose pods are made on the new nodes
		}
	}
	return namespaces
}

// sees are the requests that the webhook is asked about and that this upgrade makes.
func (c concern) sees(w upgrade.Webhook) []string {
	here := slices.ContainsFunc(w.Namespaces, func(n string) bool { return c[n] })
	var sees []string
	for _, s := range w.Sees {
		if len(c) > 0 && (here || !strings.Contains(s, "pods")) {
			sees = append(sees, s)
		}
	}
	return sees
}

// judge fills in what is to be said of a fail-closed webhook, and tells whether there is anything.
func (in Input) judge(f *upgrade.Finding, w upgrade.Webhook, sees []string, pods map[string]upgrade.Pod, leaving map[string]bool) bool {
	asked := strings.Join(sees, ", ")
	if w.Missing || len(w.Ready) == 0 {
		lack := "has no ready endpoint"
		if w.Missing {
			lack = "does not exist"
		}
		f.Severity = upgrade.Blocker
		f.Problem = fmt.Sprintf("is fail-closed, and the Service %s of its webhook %s %s: %s fails", w.Service, w.Name, lack, asked)
		if w.Conditional {
			f.Severity = upgrade.Warning
			f.Problem += ", where its conditions hold"
		}
		namespace, name, _ := strings.Cut(w.Service, "/")
		f.Remedy = fmt.Sprintf("kubectl get endpointslices -n %s -l kubernetes.io/service-name=%s # and start what is behind it; or, if it is not needed any more: kubectl delete %s",
			namespace, name, on(w.Configuration))
		return true
	}
	var ready []upgrade.Pod
	for _, uid := range w.Ready {
		if p, ok := pods[uid]; ok && leaving[p.Node] && in.moves(p) {
			ready = append(ready, p)
		}
	}
	together := len(ready) == len(w.Ready) && !slices.ContainsFunc(ready, func(p upgrade.Pod) bool { return p.Node != ready[0].Node })
	switch {
	case together && slices.Contains(sees, "create pods"):
		f.Severity, f.Momentary = upgrade.Warning, true
		f.Evidence = append(f.Evidence, keys(ready)...)
		f.Remedy, f.Advice = in.scale(ready[0].Workload, ready)
		f.Problem = fmt.Sprintf("is fail-closed, and all %d ready pods of its webhook %s are on one node that is drained: if all are away, no pod can be made", len(ready), w.Name)
		if len(ready) == 1 {
			f.Problem = fmt.Sprintf("is fail-closed, and its webhook %s has one ready pod, which moves: until its replacement is Ready, no pod can be made", w.Name)
		} else {
			f.Advice = ""
			f.Remedy = edit(ready[0].Workload, "spread its pods with topologySpreadConstraints over kubernetes.io/hostname")
		}
		if slices.Contains(w.Namespaces, ready[0].Namespace) {
			f.Problem += ", that replacement perhaps included"
		}
		return true
	case w.Timeout > longTimeout && w.KubeSystem && (slices.Contains(sees, "create pods") || slices.Contains(sees, "update leases")):
		f.Severity = upgrade.Info
		f.Problem = fmt.Sprintf("is fail-closed, sees kube-system, and its webhook %s may take %s to answer: if it hangs, so does the control plane's own work", w.Name, w.Timeout)
		f.Remedy = "kubectl edit " + on(w.Configuration) + " # exclude kube-system or lower timeoutSeconds"
		return true
	}
	return false
}
