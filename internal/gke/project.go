package gke

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// needs is what an upgrade has to be allowed on the project. That the nodes' service account may be used is not among it: it is granted on
// the account as a rule, and what is asked of the project does not tell that.
func needs() []upgrade.ProviderPermission {
	return []upgrade.ProviderPermission{
		{Name: "container.clusters.get", Why: "to read the cluster and its node pools"},
		{Name: "container.clusters.update", Why: "to upgrade the control plane, to make and delete node pools, and to set their autoscaling"},
		{Name: "container.operations.get", Why: "to wait for what was begun"},
		{Name: "container.operations.list", Why: "to see what else is under way"},
	}
}

// readProject reads what Google's other APIs tell of the project, or why they do not. It never fails: nobody needs these APIs to upgrade.
func (p *Provider) readProject(ctx context.Context, c *upgrade.Cluster) {
	var permissionsErr, quotasErr error
	var both sync.WaitGroup
	both.Go(func() { c.Permissions, permissionsErr = p.permissions(ctx) })
	both.Go(func() { c.Quotas, quotasErr = p.quotas(ctx) })
	both.Wait()
	if permissionsErr != nil {
		c.Unread[upgrade.ReadProviderPermissions] = permissionsErr.Error()
	}
	if quotasErr != nil {
		c.Unread[upgrade.ReadQuotas] = quotasErr.Error()
	}
}

// permissions asks which of the needs are allowed on the project.
func (p *Provider) permissions(ctx context.Context) ([]upgrade.ProviderPermission, error) {
	type list struct {
		Permissions []string `json:"permissions"`
	}
	asked := needs()
	var ask, allowed list
	for _, n := range asked {
		ask.Permissions = append(ask.Permissions, n.Name)
	}
	if err := p.manager.do(ctx, http.MethodPost, "v1/projects/"+p.name.Project+":testIamPermissions", ask, &allowed); err != nil {
		return nil, fmt.Errorf("test the permissions on project %s: %w", p.name.Project, err)
	}
	for i := range asked {
		asked[i].Allowed = slices.Contains(allowed.Permissions, asked[i].Name)
	}
	return asked, nil
}

// quotas reads those of the cluster's region. Compute Engine answers without any where it has none to hand, with a warning.
func (p *Provider) quotas(ctx context.Context) ([]upgrade.Quota, error) {
	var region struct {
		Quotas []struct {
			Metric       string
			Limit, Usage float64
		}
		QuotaStatusWarning struct{ Code, Message string }
	}
	path := fmt.Sprintf("projects/%s/regions/%s?fields=quotas,quotaStatusWarning", p.name.Project, p.name.region())
	err := p.compute.do(ctx, http.MethodGet, path, nil, &region)
	switch warning := region.QuotaStatusWarning; {
	case err != nil:
	case warning.Code != "":
		err = fmt.Errorf("%s: %s", warning.Code, warning.Message)
	case len(region.Quotas) == 0:
		err = errors.New("the answer has none")
	}
	if err != nil {
		return nil, fmt.Errorf("read the quotas of region %s: %w", p.name.region(), err)
	}
	var quotas []upgrade.Quota
	for _, q := range region.Quotas {
		quotas = append(quotas, upgrade.Quota{Metric: q.Metric, Limit: q.Limit, Used: q.Usage})
	}
	return quotas, nil
}

// region is the one that the cluster is in, or its zone.
func (n Name) region() string {
	if n.regional() {
		return n.Location
	}
	return n.Location[:max(0, strings.LastIndex(n.Location, "-"))]
}
