package drain

import (
	"fmt"
	"strings"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// unschedulableReason begins the reason of a replacement that finds no node.
const unschedulableReason = "finds no node"

// gate says what the workloads that lost a pod here still lack: each must have as many Ready pods as when the drain began (or
// as it wants now, if that is fewer), for its minReadySeconds, listed in the EndpointSlices of the Services that select them,
// and no replacement may be unschedulable. A workload that is gone passes.
func (t *tracker) gate(d *decision, v view) []upgrade.Waiting {
	var waiting []upgrade.Waiting
	for _, uid := range t.losers() {
		w, exists := t.workload(v.State, uid)
		if !exists {
			continue
		}
		available, reasons, stuck := 0, []upgrade.Waiting{}, false
		for _, p := range v.of[uid] {
			if t.isLeaving(p) || p.Finished {
				continue
			}
			reason, mature := t.notAvailable(p, w, v.now)
			if reason == "" {
				available++
				continue
			}
			if !mature.IsZero() {
				d.wakeAt(mature)
			}
			stuck = stuck || p.Unschedulable != "" && !t.homeless[p.UID]
			reasons = append(reasons, upgrade.Waiting{Object: p.Ref(), Reason: reason, Passing: t.passes(p)})
		}
		wanted := t.wanted(v.State, uid)
		if available >= wanted && !stuck {
			continue
		}
		v.missing[uid] = max(1, wanted-available)
		v.short[uid] = fmt.Sprintf("%d of %d are available", available, wanted)
		if len(reasons) == 0 {
			reasons = []upgrade.Waiting{{
				Object: w.Ref, Reason: fmt.Sprintf("%d of %d pods are Ready, and no replacement is there yet", available, wanted), Passing: true,
			}}
		}
		for i := range reasons {
			lost := t.notReplaced(v, uid)
			reasons[i].Node = lost[0].node
			for _, l := range lost[1:] {
				d.concerns(reasons[i].Object, l.node)
			}
		}
		waiting = append(waiting, reasons...)
	}
	return waiting
}

// wanted is how many pods of the workload have to be available for the gate to open.
func (t *tracker) wanted(s upgrade.State, uid string) int {
	w, ok := t.workload(s, uid)
	switch {
	case !ok || w.Wanted == upgrade.Unknown:
		return t.before[uid]
	case t.options.Resumed:
		return w.Wanted
	}
	return min(t.before[uid], w.Wanted)
}

// workload returns a workload as it is now. One of a kind that State does not list by itself is taken to exist for as long as the
// drain lasts: that no pod of it is there does not mean that it is gone.
func (t *tracker) workload(s upgrade.State, uid string) (upgrade.Workload, bool) {
	if w, ok := s.Workloads[uid]; ok {
		return w, true
	}
	w, ok := t.foreign[uid]
	return w, ok
}

// isLeaving tells that the pod is on its way out, also if the cache does not show it yet.
func (t *tracker) isLeaving(p *upgrade.Pod) bool {
	_, leaving := t.leaving[p.UID]
	return leaving || p.Terminating()
}

// notAvailable says why a pod does not count as available, and when it will by itself.
func (t *tracker) notAvailable(p *upgrade.Pod, w upgrade.Workload, now time.Time) (string, time.Time) {
	switch {
	case p.Unschedulable != "" && t.options.Growing != "":
		return fmt.Sprintf("%s yet, for which the autoscaler of %s has to add one: %s", unschedulableReason, t.options.Growing, p.Unschedulable), time.Time{}
	case p.Unschedulable != "":
		return unschedulableReason + ": " + p.Unschedulable, time.Time{}
	case p.Node == "":
		return "is not scheduled yet", time.Time{}
	case !p.Ready && p.Trouble != "":
		return "is not Ready: " + p.Trouble, time.Time{}
	case !p.Ready:
		return "is not Ready yet", time.Time{}
	}
	if mature := p.ReadySince.Add(w.MinReady); now.Before(mature) {
		return fmt.Sprintf("has to be Ready for %s (minReadySeconds)", w.MinReady), mature
	}
	for _, service := range p.Unserved {
		if !t.unserved[p.Workload.UID+"/"+service] {
			return "is Ready, and not yet an endpoint of Service " + service, time.Time{}
		}
	}
	return "", time.Time{}
}

// passes tells that what keeps a new pod from being available ends by itself when all is well: an autoscaler that adds nodes does so for pods that
// find none.
func (t *tracker) passes(p *upgrade.Pod) bool {
	return (p.Unschedulable == "" || t.options.Growing != "") && p.Trouble == ""
}

// unschedulable returns why no more pods should be evicted now: a replacement that finds no node, empty for none.
func (t *tracker) unschedulable(waiting []upgrade.Waiting) string {
	for _, w := range waiting {
		if strings.HasPrefix(w.Reason, unschedulableReason) && !t.homeless[w.Object.UID] {
			return w.Object.String() + " " + w.Reason
		}
	}
	return ""
}

// readyPods counts the pods that are Ready and stay.
func (t *tracker) readyPods(pods []*upgrade.Pod) int {
	n := 0
	for _, p := range pods {
		if p.Ready && !t.isLeaving(p) {
			n++
		}
	}
	return n
}
