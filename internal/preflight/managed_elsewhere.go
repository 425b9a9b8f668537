package preflight

import (
	"cmp"
	"fmt"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// managedElsewhere: a tool that will want the old pool back.
func managedElsewhere() Check {
	return Check{
		Name: "managed-elsewhere", Severities: []upgrade.Severity{upgrade.Warning, upgrade.Info},
		Title: "Terraform or Config Connector manages a pool that is to be upgraded, or its cluster",
		Why:   "After a migration the pool of that name is gone, and the tool makes it anew at its next turn, unless it is told of the new one. One that is upgraded in place only has another version.",
		find:  findManagedElsewhere,
	}
}

// remedies say how a tool is told of the new pool.
var remedies = map[string]func(upgrade.Cluster, upgrade.PoolPlan) string{"Terraform": forTerraform, "Config Connector": forConfigConnector}

func findManagedElsewhere(in Input) []upgrade.Finding {
	var found []upgrade.Finding
	for _, p := range in.changed() {
		pool := in.pool(p.Name)
		tool := cmp.Or(pool.ManagedBy, in.Cluster.ManagedBy)
		if tool == "" {
			continue
		}
		is := "is managed by " + tool
		if pool.ManagedBy == "" {
			is = fmt.Sprintf("is in a cluster that %s manages, and may be managed by it too", tool)
		}
		if p.ByProvider() {
			found = append(found, upgrade.Finding{
				Severity: upgrade.Info, Object: nodePool(p.Name), Problem: fmt.Sprintf("%s: its name stays, and its version is another one afterwards", is),
				Advice: fmt.Sprintf("set its version to %s there, or %s tries to put the old one back", p.To, tool),
			})
			continue
		}
		f := upgrade.Finding{
			Severity: upgrade.Warning, Object: nodePool(p.Name),
			Problem: fmt.Sprintf("%s: once %s has taken over, %s would make %s anew", is, p.NewName, tool, p.Name),
		}
		if remedy := remedies[tool]; remedy != nil {
			f.Remedy = remedy(in.Cluster, p)
		}
		found = append(found, f)
	}
	return found
}

// forTerraform gives the new pool to the resource of the old one. The format of the ID is the google provider's for google_container_node_pool.
func forTerraform(c upgrade.Cluster, p upgrade.PoolPlan) string {
	address := "google_container_node_pool." + p.Name
	return fmt.Sprintf("terraform state rm %s && terraform import %s %s/%s/%s/%s # with your own address of the resource, after the upgrade; set its name and version to the new pool's",
		address, address, c.Project, c.Location, c.Name, p.NewName)
}

// forConfigConnector has it let go of the old pool, which it would otherwise delete with the object. A pool that exists is acquired by an object
// that has its name.
func forConfigConnector(_ upgrade.Cluster, p upgrade.PoolPlan) string {
	return fmt.Sprintf("kubectl annotate containernodepool %s cnrm.cloud.google.com/deletion-policy=abandon --overwrite && kubectl delete containernodepool %s # "+
		"in the object's namespace, before the upgrade; apply one named %s after it", p.Name, p.Name, p.NewName)
}
