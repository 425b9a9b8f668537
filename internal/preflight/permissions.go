package preflight

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// permissions: what Kubernetes would refuse in the middle of an upgrade.
func permissions() Check {
	return Check{
		Name: "permissions", Severities: []upgrade.Severity{upgrade.Blocker, upgrade.UnknownSeverity},
		Title: "Upshift is not allowed something that an upgrade needs",
		Why:   "Kubernetes would refuse it in the middle of the run, with pods already on their way.",
		find:  findMissingPermissions,
	}
}

func findMissingPermissions(in Input) []upgrade.Finding {
	found := in.unknown("whether Upshift may do what an upgrade needs", upgrade.ReadPermissions)
	type scope struct {
		group, resource, namespace, why string
		only                            upgrade.StepKind
	}
	var order []scope
	verbs := map[scope][]string{}
	for _, p := range in.Inventory.Permissions {
		ofNodes := p.Namespace == "" // what is not about the record
		if p.Allowed || p.Only != "" && !in.has(p.Only) || ofNodes && len(in.changed()) == 0 {
			continue
		}
		s := scope{p.Group, p.Resource, p.Namespace, p.Why, p.Only}
		if verbs[s] == nil {
			order = append(order, s)
		}
		verbs[s] = append(verbs[s], p.Verb)
	}
	user := cmp.Or(in.Inventory.User, "unknown")
	for _, s := range order {
		where := ""
		if s.namespace != "" {
			where = " in namespace " + s.namespace
		}
		resource := strings.TrimSuffix(s.resource+"."+s.group, ".")
		remedy := in.grant(resource, s.namespace, verbs[s])
		if s.only == upgrade.SurgeFirst {
			remedy += " # or have none restarted, with surge-first: none"
		}
		found = append(found, upgrade.Finding{
			Severity: upgrade.Blocker, Object: upgrade.Ref{Kind: "User", Name: user},
			Problem: fmt.Sprintf("may not %s %s%s, which is needed %s", strings.Join(verbs[s], ", "), s.resource, where, s.why),
			Remedy:  remedy,
		})
	}
	return found
}

// grant allows us the verbs. Resource is as kubectl takes it: "leases.coordination.k8s.io".
func (in Input) grant(resource, namespace string, verbs []string) string {
	plain, _, _ := strings.Cut(resource, ".")
	role := "upshift-" + strings.ReplaceAll(plain, "/", "-")
	rules := fmt.Sprintf("--verb %s --resource %s", strings.Join(verbs, ","), resource)
	if namespace == "" {
		return in.grantEverywhere(role, rules)
	}
	user := in.user()
	return fmt.Sprintf("kubectl create role %s -n %s %s && kubectl create rolebinding %s -n %s --role %s --user %s", role, namespace, rules, role, namespace, role, user)
}

// grantEverywhere makes a role of the rules, as kubectl create clusterrole takes them, and gives it to us.
func (in Input) grantEverywhere(role, rules string) string {
	return fmt.Sprintf("kubectl create clusterrole %s %s && kubectl create clusterrolebinding %s --clusterrole %s --user %s", role, rules, role, role, in.user())
}

// user is who the Kubernetes API takes us for, for a command.
func (in Input) user() string {
	return cmp.Or(in.Inventory.User, `"$(kubectl auth whoami -o jsonpath='{.status.userInfo.username}')"`)
}

// readable is the command that lets us read a source, empty where there is none.
func (in Input) readable(s upgrade.Source) string {
	const admission = ".admissionregistration.k8s.io"
	switch s {
	case upgrade.ReadVolumes:
		return in.grantEverywhere("upshift-read-volumes", "--verb list --resource persistentvolumes")
	case upgrade.ReadNamespaces:
		return in.grantEverywhere("upshift-read-namespaces", "--verb list --resource namespaces")
	case upgrade.ReadWebhooks:
		return in.grantEverywhere("upshift-read-webhooks", "--verb list --resource validatingwebhookconfigurations"+admission+",mutatingwebhookconfigurations"+admission)
	case upgrade.ReadLeases:
		return in.grantEverywhere("upshift-read-leases", "--verb list --resource leases.coordination.k8s.io")
	case upgrade.ReadCronJobs:
		return in.grantEverywhere("upshift-read-cronjobs", "--verb list --resource cronjobs.batch")
	case upgrade.ReadAutoscalers:
		return in.grantEverywhere("upshift-read-autoscalers", "--verb list --resource horizontalpodautoscalers.autoscaling")
	case upgrade.ReadAPIMetrics:
		return in.grantEverywhere("upshift-read-metrics", "--verb get --non-resource-url /metrics")
	}
	return ""
}
