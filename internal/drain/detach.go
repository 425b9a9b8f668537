package drain

import (
	"fmt"
	"slices"
	"time"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// detachTime is how long a volume may take to be detached from the node of a pod that is gone, before that is told as a trouble: the drivers
// of clouds take seconds.
const detachTime = time.Minute

// detaching is a pod that is gone, since when.
type detaching struct {
	pod   upgrade.Pod
	since time.Time
}

// detach says which volumes of pods that are gone are still attached to the nodes that they left: until they are not, no other node can have
// them, and a node that goes away with one keeps it for minutes. A volume that another pod on the node has mounted stays for that one.
func (t *tracker) detach(d *decision, v view) []upgrade.Waiting {
	if len(t.detaching) == 0 {
		return nil
	}
	type place struct{ node, volume string }
	mounted := map[place]bool{}
	for i := range v.Pods {
		for _, volume := range v.Pods[i].Disks {
			// What has ended has nothing mounted, though it may be there a moment longer: a pod that is deleted ends like that.
			mounted[place{v.Pods[i].Node, volume}] = mounted[place{v.Pods[i].Node, volume}] || !v.Pods[i].Finished
		}
	}
	var waiting []upgrade.Waiting
	t.detaching = slices.DeleteFunc(t.detaching, func(gone detaching) bool {
		node, free := gone.pod.Node, true
		for _, a := range v.Attachments {
			if a.Node != node || !slices.Contains(gone.pod.Disks, a.Volume) || mounted[place{node, a.Volume}] {
				continue
			}
			free = false
			v.attached[gone.pod.Workload.UID] = fmt.Sprintf("volume %s is still attached to node %s", a.Volume, node)
			w := upgrade.Waiting{Object: upgrade.Ref{Kind: "VolumeAttachment", Name: a.Name}, Node: node, Passing: true}
			w.Reason = fmt.Sprintf("volume %s of %s is still attached to node %s", a.Volume, gone.pod.Ref(), node)
			if late := gone.since.Add(detachTime); v.now.Before(late) {
				d.wakeAt(late)
			} else {
				w.Reason += fmt.Sprintf(", though the pod has been gone since %s", clock(gone.since))
				w.Passing = false
			}
			waiting = append(waiting, w)
		}
		return free
	})
	return waiting
}

// stateful tells that the pod keeps data that only one node can have at a time, or is one of a StatefulSet: such pods know each other, and
// what one of them holds is nowhere else while it moves.
func stateful(p *upgrade.Pod) bool { return p.Workload.Kind == "StatefulSet" || len(p.Disks) > 0 }
