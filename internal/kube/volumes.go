package kube

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// claims returns what is known of the PersistentVolumes behind all claims, by namespace/name; nothing where no pod has any.
func (c *Cluster) claims(ctx context.Context) (map[string]upgrade.Volume, error) {
	claiming := func(p *corev1.Pod) bool { return len(claimed(p)) > 0 }
	if !slices.ContainsFunc(all(c.listers.pods.List), claiming) {
		return nil, nil
	}
	cached := all(c.listers.claims.List)   // before the volumes: what a claim is bound to was there first
	volumes := map[string]upgrade.Volume{} // by the PersistentVolume's name
	if err := each(ctx, c.client.CoreV1().PersistentVolumes().List, func(o runtime.Object) {
		if pv, ok := o.(*corev1.PersistentVolume); ok {
			volumes[pv.Name] = readVolume(pv)
		}
	}); err != nil {
		return nil, err
	}
	claims := map[string]upgrade.Volume{}
	for _, claim := range cached {
		claims[claim.Namespace+"/"+claim.Name] = readClaim(claim, volumes)
	}
	return claims, nil
}

// claimed are the names of the claims that the pod has mounted. One that is made for one pod and goes with it (ephemeral) is not among them:
// the next pod gets another.
func claimed(p *corev1.Pod) []string {
	var names []string
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		}
	}
	return names
}

// volumes are what pods have mounted of PersistentVolumes, by the pod's UID.
func (l listers) volumes(claims map[string]upgrade.Volume) map[string][]upgrade.Volume {
	read := map[string][]upgrade.Volume{}
	for _, p := range all(l.pods.List) {
		for _, name := range claimed(p) {
			v, ok := claims[p.Namespace+"/"+name]
			if !ok {
				v = upgrade.Volume{Claim: name, Unbound: "there is no such claim"}
			}
			read[string(p.UID)] = append(read[string(p.UID)], v)
		}
	}
	return read
}

func readClaim(claim *corev1.PersistentVolumeClaim, volumes map[string]upgrade.Volume) upgrade.Volume {
	v, ok := volumes[claim.Spec.VolumeName]
	v.Claim = claim.Name
	v.Exclusive, v.Attached = access(claim)
	switch {
	case claim.Spec.VolumeName == "":
		v.Unbound = "the claim is not bound"
	case !ok:
		v.Unbound = "there is no PersistentVolume " + claim.Spec.VolumeName
	case claim.DeletionTimestamp != nil:
		v.Unbound = "the claim is being deleted, and is gone once no pod uses it"
	}
	return v
}

// access tells whether one pod alone can have a claim's volume at a time, and whether the pods of one node alone can.
func access(claim *corev1.PersistentVolumeClaim) (pod, node bool) {
	modes := claim.Spec.AccessModes
	pod = slices.Contains(modes, corev1.ReadWriteOncePod)
	return pod, len(modes) > 0 && !slices.ContainsFunc(modes, func(m corev1.PersistentVolumeAccessMode) bool { return m != corev1.ReadWriteOnce })
}

// disks are the volumes of the pod that no other node can have at the same time.
func (s *snapshot) disks(p *corev1.Pod) []string {
	var disks []string
	for _, name := range claimed(p) {
		claim, ok := get[*corev1.PersistentVolumeClaim](s.caches, claimKind, cache.ObjectName{Namespace: p.Namespace, Name: name})
		if !ok || claim.Spec.VolumeName == "" {
			continue
		}
		if pod, node := access(claim); pod || node {
			disks = append(disks, claim.Spec.VolumeName)
		}
	}
	return disks
}

// zoneLabels are the labels of a PersistentVolume that the scheduler compares with a node's, with what a node calls them today.
var zoneLabels = []struct{ volume, node string }{
	{corev1.LabelFailureDomainBetaZone, corev1.LabelTopologyZone}, {corev1.LabelFailureDomainBetaRegion, corev1.LabelTopologyRegion},
	{corev1.LabelTopologyZone, corev1.LabelTopologyZone}, {corev1.LabelTopologyRegion, corev1.LabelTopologyRegion},
}

// readVolume says where a volume can be mounted. Its labels hold besides its node affinity; several zones are written with two
// underscores between them.
func readVolume(pv *corev1.PersistentVolume) upgrade.Volume {
	v := upgrade.Volume{Local: pv.Spec.Local != nil || pv.Spec.HostPath != nil}
	if a := pv.Spec.NodeAffinity; a != nil && a.Required != nil {
		v.Terms = readNodeTerms(a.Required)
	}
	var zones []upgrade.Requirement
	for _, l := range zoneLabels {
		if value, ok := pv.Labels[l.volume]; ok {
			zones = append(zones, upgrade.Requirement{Key: l.node, Operator: string(corev1.NodeSelectorOpIn), Values: strings.Split(value, "__")})
		}
	}
	for i, t := range v.Terms {
		if len(t.Labels)+len(t.Fields) > 0 { // else no node fulfils it, which more requirements must not change
			v.Terms[i].Labels = slices.Concat(t.Labels, zones)
		}
	}
	if v.Terms == nil && len(zones) > 0 {
		v.Terms = []upgrade.NodeTerm{{Labels: zones}}
	}
	v.Local = v.Local || len(v.Terms) > 0 && !slices.ContainsFunc(v.Terms, func(t upgrade.NodeTerm) bool { return !ofOneNode(t) })
	return v
}

// ofOneNode tells a term that only a node of a certain name fulfils.
func ofOneNode(t upgrade.NodeTerm) bool {
	return slices.ContainsFunc(slices.Concat(t.Labels, t.Fields), func(r upgrade.Requirement) bool {
		return (r.Key == corev1.LabelHostname || r.Key == "metadata.name") && r.Operator == string(corev1.NodeSelectorOpIn) && len(r.Values) == 1
	})
}
