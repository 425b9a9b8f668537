package runstore

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

func ask(t *testing.T, s *Store, verb upgrade.Verb) upgrade.Request {
	t.Helper()
	r, err := s.Ask(t.Context(), upgrade.Request{Verb: verb, Run: aRun().ID, By: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestARequestThatNobodyHasReadYetIsGivenTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory().client().store()
		l := acquire(t.Context(), t, s, alice)
		run := aRun()
		save(t, l, run)
		askIn := func(want time.Duration, sequence int64) {
			t.Helper()
			start := time.Now()
			if r := ask(t, s, upgrade.AskPause); r.Sequence != sequence {
				t.Errorf("sequence %d, want %d", r.Sequence, sequence)
			}
			if took := time.Since(start); took < want || took > want+time.Second {
				t.Errorf("asked after %s, want %s", took, want)
			}
		}
		askIn(0, 1)
		askIn(unreadFor, 2) // nobody is there to read it
		read := make(chan struct{})
		time.AfterFunc(2*time.Second, func() {
			defer close(read)
			run.Acknowledge(upgrade.Request{Sequence: 2}, "")
			if err := l.Save(t.Context(), run); err != nil {
				t.Error(err)
			}
		})
		askIn(2*time.Second, 3)
		<-read
		run.Acknowledge(upgrade.Request{Sequence: 3}, "")
		save(t, l, run)
		askIn(0, 4)
		if last, err := s.LastSequence(t.Context()); last != 4 || err != nil {
			t.Errorf("last sequence %d, %v", last, err)
		}
	})
}

func TestARequestForAnotherRunIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory().client().store()
		if last, err := s.LastSequence(t.Context()); last != 0 || err != nil {
			t.Errorf("last sequence %d, %v", last, err)
		}
		ask(t, s, upgrade.AskPause)
		start := time.Now()
		r, err := s.Ask(t.Context(), upgrade.Request{Verb: upgrade.AskCancel, Run: "another"})
		if err != nil || r.Sequence != 2 || time.Since(start) != 0 {
			t.Errorf("got %+v after %s, %v", r, time.Since(start), err)
		}
	})
}

// TestOnlyWhatIsAskedFromNowOnIsSent, also after watches have ended and while the API is away at times.
func TestOnlyWhatIsAskedFromNowOnIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		asking := m.client().store()
		ask(t, asking, upgrade.AskPause)
		following, away := m.cuttable()
		s := following.store()
		after, err := s.LastSequence(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		requests := s.Requests(t.Context(), after)
		none := func() {
			t.Helper()
			select {
			case r := <-requests:
				t.Errorf("sent %+v", r)
			case <-time.After(3 * watchSeconds * time.Second):
			}
		}
		next := func(want int64, limit time.Duration) {
			t.Helper()
			select {
			case r := <-requests:
				if r.Sequence != want {
					t.Errorf("sent %+v, want %d", r, want)
				}
			case <-time.After(limit):
				t.Errorf("request %d is not sent", want)
			}
		}
		none()
		for want := int64(2); want < 5; want++ {
			ask(t, asking, upgrade.AskCancel)
			next(want, 2*retryPause) // between two watches it waits for the next
			none()
		}
		away.Store(true)
		time.Sleep(2 * watchSeconds * time.Second)
		ask(t, asking, upgrade.AskRollback)
		time.Sleep(time.Minute)
		away.Store(false)
		next(5, 2*retryPause)
		none()
	})
}

func TestFollowShowsTheRecordAsItIsAndEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory().client().store()
		l := acquire(t.Context(), t, s, alice) // a claimed record without a run is left out
		runs := s.Follow(t.Context())
		run := aRun()
		for run.NodesDrained = range 3 {
			save(t, l, run)
			select {
			case got := <-runs:
				if got.NodesDrained != run.NodesDrained {
					t.Errorf("got %d, want %d", got.NodesDrained, run.NodesDrained)
				}
			case <-time.After(2 * retryPause):
				t.Fatal("nothing is sent")
			}
		}
		late := s.Follow(t.Context())
		if got := <-late; got.NodesDrained != 2 {
			t.Errorf("who follows later sees %d first", got.NodesDrained)
		}
	})
}

func proposal() upgrade.Proposal {
	expires := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return upgrade.Proposal{
		Plan:      upgrade.Plan{APIVersion: upgrade.APIVersion, Kind: "Plan", Digest: "sha256:1"},
		Approvals: upgrade.Approvals{ID: "q1", Digest: "sha256:1", Requester: "alice", Expires: expires},
	}
}

func digest(want string) func(upgrade.Approvals) bool {
	return func(a upgrade.Approvals) bool { return a.Digest == want }
}

func TestAProposalIsKeptUntilItIsWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory().client().store()
		if p, err := s.Proposal(t.Context()); p != nil || err != nil {
			t.Errorf("got %v, %v", p, err)
		}
		want := proposal()
		for range 2 { // in place of an earlier one
			if err := s.Propose(t.Context(), want); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.Proposal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Error(diff)
		}
		unchanged := func(*upgrade.Approvals) error { return nil }
		if _, err := s.Amend(t.Context(), "q2", unchanged); !errors.As(err, new(*NotPending)) {
			t.Error("a vote for another plan counts")
		}
		if was, err := s.Withdraw(t.Context(), digest("sha256:2")); was || err != nil {
			t.Error(was, err)
		}
		if p, err := s.Proposal(t.Context()); p == nil || err != nil {
			t.Errorf("another plan's end withdrew it: %v, %v", p, err)
		}
		for _, there := range []bool{true, false} {
			if was, err := s.Withdraw(t.Context(), digest("sha256:1")); was != there || err != nil {
				t.Errorf("withdrawn %v, want %v; %v", was, there, err)
			}
		}
		if p, err := s.Proposal(t.Context()); p != nil || err != nil {
			t.Errorf("got %v, %v", p, err)
		}
		if _, err := s.Amend(t.Context(), "q1", unchanged); !errors.As(err, new(*NotPending)) {
			t.Error("a vote for a plan that was withdrawn counts")
		}
	})
}

func TestVotesAtTheSameTimeAllCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		if err := m.client().store().Propose(t.Context(), proposal()); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		var want []string
		for i := range 10 {
			by := fmt.Sprintf("person-%d", i)
			want = append(want, by)
			all.Go(func() {
				c := m.client()
				c.fate = func(string) fate {
					return fate{before: time.Duration(10+i) * time.Millisecond, after: time.Duration(20-i) * time.Millisecond}
				}
				_, err := c.store().Amend(t.Context(), "q1", func(a *upgrade.Approvals) error {
					a.Add(upgrade.Approval{By: by, ID: by, Approved: true})
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		p, err := m.client().store().Proposal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range p.Approvals.Votes {
			got = append(got, v.By)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheLast20FinishedRunsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		l := acquire(t.Context(), t, m.client().store(), alice)
		run := aRun()
		save(t, l, run)
		var want []string
		for range 25 {
			run.ID = upgrade.NewRunID(time.Now())
			want = append(want, runName+"-"+run.ID)
			for range 2 { // an attempt whose answer was lost is made again
				if err := l.Archive(t.Context(), run); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Hour)
		}
		want = append([]string{runName}, want[5:]...)
		var got []string
		for name := range m.maps.objects {
			got = append(got, name)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
