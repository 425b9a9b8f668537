package observer

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// Each watch is late in its own way: what counts is the order in etcd.
func TestEventsAreJudgedInTheOrderOfTheirVersions(t *testing.T) {
	scaled, ended := deployment("web", 1), newPod("web-0", "node-0", terminating)
	for _, tt := range []struct {
		name            string
		scaled, deleted uint64
		want            int
	}{
		{"scaled down first, seen last", 101, 102, 0},
		{"deleted first", 102, 101, 1},
		{"deleted before the observation", 101, 100, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := &journal{}
			for _, obj := range with(web(2), newPDB("web", maxUnavailable("0"))) {
				j.add(t0, version{rv: 50, fact: mustFact(t, obj)})
			}
			j.baseline(100)
			j.baseline(80)
			j.begin(t0)
			j.add(moment(1), version{rv: tt.deleted, fact: mustFact(t, ended)})
			j.add(moment(2), version{rv: tt.scaled, fact: mustFact(t, scaled)})
			if got := j.report(moment(3)); len(got.Violations) != tt.want {
				t.Errorf("violations = %v, want %d", got.Violations, tt.want)
			}
		})
	}
}

func TestAPDBThatWasGoneBeforeIsNotReported(t *testing.T) {
	j := &journal{}
	j.add(t0, version{rv: 50, fact: mustFact(t, newPDB("web", minAvailable("1")))})
	j.baseline(60)
	j.add(moment(1), version{rv: 55, fact: mustFact(t, newPDB("web", minAvailable("1"))), gone: true})
	j.begin(t0)
	if got := j.report(moment(2)).PDBs; len(got) > 0 {
		t.Errorf("PDBs = %v, want none", got)
	}
}

func TestALostWatchLeavesAGap(t *testing.T) {
	j := &journal{}
	f := newFeeds(fake.NewClientset(), j)[0]
	stamped := func(rv int, name string) any {
		p := newPod(name, "node-0", bare)
		p.ResourceVersion = strconv.Itoa(rv)
		return p
	}
	replace(t, f, "10", stamped(1, "stays"), stamped(2, "goes"))
	j.begin(time.Now())
	if got := j.report(time.Now()).Gaps; len(got) > 0 {
		t.Errorf("after the first list: gaps %q, want none", got)
	}
	replace(t, f, "20", stamped(1, "stays"), stamped(15, "came"))
	got := j.report(time.Now())
	if diff := cmp.Diff([]string{"default/goes"}, got.BarePodsLost); diff != "" {
		t.Errorf("bare pods lost (-want +got):\n%s", diff)
	}
	want := []string{"the watch of Pods was lost: what happened before they were listed again may be missing"}
	if diff := cmp.Diff(want, got.Gaps); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
}

func TestAnUnreadableEventLeavesAGap(t *testing.T) {
	for name, obj := range map[string]any{
		"no version":    newPod("web-0", "node-0"),
		"no such kind":  &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "1"}},
		"not an object": "web-0",
	} {
		t.Run(name, func(t *testing.T) {
			j := &journal{}
			f := newFeeds(fake.NewClientset(), j)[0]
			if err := f.Add(obj); err == nil {
				t.Error("Add() returned no error")
			}
			if got := j.report(t0).Gaps; len(got) != 1 {
				t.Errorf("gaps = %q, want one", got)
			}
		})
	}
}

func replace(t *testing.T, f *feed, rv string, objs ...any) {
	t.Helper()
	if err := f.Replace(objs, rv); err != nil {
		t.Fatal(err)
	}
}
