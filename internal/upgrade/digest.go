package upgrade

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
)

// digest is "sha256:" and the hash of what a person approves: which cluster, which versions, what is done and with what
// harm. Names of nodes and pods, estimates and times are left out, so that a preempted node or a new replica does not void an
// approval.
func digest(p Plan, s Snapshot) (string, error) {
	type pool struct {
		Name, Action, From, To, NewName string
		Autoscaling                     Autoscaling
		DrainTimeout                    Seconds
		Config                          json.RawMessage
		Upgrade                         *Settings `json:",omitempty"`
	}
	type finding struct {
		Check, Severity, Object string
		Waived                  bool
	}
	content := struct {
		Provider, Project, Location, Name string
		ControlPlane, Target              string
		Hops                              []string `json:",omitempty"`
		Options                           Options
		Pools                             []pool
		Restarts                          []string
		Budgets                           map[string]json.RawMessage
		Consents                          []Consent
		Findings                          []finding
	}{
		Provider: p.Cluster.Provider, Project: p.Cluster.Project, Location: p.Cluster.Location, Name: p.Cluster.Name,
		ControlPlane: p.Cluster.ControlPlaneVersion, Target: p.Target.Version, Options: p.Options,
		Restarts: slices.Sorted(maps.Keys(p.restarted())), Budgets: p.Budgets, Consents: p.Consents,
	}
	if p.ControlPlane != nil {
		content.Hops = p.ControlPlane.Hops
	}
	// What was asked for is resolved: "latest" and the version that it came to are the same plan.
	content.Options.Target = ""
	// So are the numbers of nodes of a rolling upgrade: what counts is in the pools that are.
	content.Options.MaxSurge, content.Options.MaxUnavailable = 0, 0
	// Where a process waits for people changes nothing of what is done.
	content.Options.Wait = ""
	for _, pp := range p.Pools {
		// A pool that is left alone is no part of what is done; the new pool of an interrupted run is one.
		if !pp.Action.Changes() {
			continue
		}
		content.Pools = append(content.Pools, pool{
			Name: pp.Name, Action: string(pp.Action), From: pp.From, To: pp.To, NewName: pp.NewName,
			Autoscaling: pp.Autoscaling, DrainTimeout: p.Options.DrainTimeout, Config: pp.Config, Upgrade: pp.Upgrade,
		})
	}
	owners := map[string]Ref{}
	for _, pod := range s.State.Pods {
		if !pod.Workload.IsZero() {
			owners[pod.UID] = pod.Workload
		}
	}
	for _, f := range p.Findings {
		object := f.Object
		if owner, ok := owners[f.Object.UID]; ok {
			object = owner
		}
		if !f.lasting() {
			continue
		}
		content.Findings = append(content.Findings, finding{f.Check, string(f.Severity), object.String(), f.Waiver != nil})
	}
	slices.SortFunc(content.Findings, func(a, b finding) int {
		return bytes.Compare([]byte(a.Check+a.Object), []byte(b.Check+b.Object))
	})
	data, err := json.Marshal(content)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}
