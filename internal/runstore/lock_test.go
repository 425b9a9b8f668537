package runstore

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

var (
	alice = upgrade.Holder{Who: "alice", Where: "GitHub Actions, o/r, run 1", Link: "https://github.com/o/r/actions/runs/1"}
	bob   = upgrade.Holder{Who: "bob", Where: "laptop, process 7"}
)

func quietly(string) {}

func acquire(ctx context.Context, t *testing.T, s *Store, who upgrade.Holder) *Lock {
	t.Helper()
	l, err := s.Acquire(ctx, who, quietly)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// dead is a lock whose process is no more, without a word.
func dead(t *testing.T, s *Store, who upgrade.Holder) *Lock {
	t.Helper()
	ctx, die := context.WithCancel(t.Context())
	l := acquire(ctx, t, s, who)
	time.Sleep(5 * time.Second)
	die()
	<-l.stopped
	return l
}

// cuttable is a client that can be cut off.
func (m *memory) cuttable() (*client, *atomic.Bool) {
	c, away := m.client(), new(atomic.Bool)
	c.fate = func(string) fate { return fate{away: away.Load()} }
	return c, away
}

func wantHalt(t *testing.T, err error, text string) {
	t.Helper()
	var halt *upgrade.Halt
	if !errors.As(err, &halt) || !strings.Contains(err.Error(), text) {
		t.Errorf("got the error %v, want a Halt about %q", err, text)
	}
}

func aRun() *upgrade.Run {
	return upgrade.NewRun("20260102-030405-abcdef", upgrade.Plan{Digest: "sha256:1"}, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
}

func save(t *testing.T, l *Lock, run *upgrade.Run) {
	t.Helper()
	if err := l.Save(t.Context(), run); err != nil {
		t.Fatal(err)
	}
}

func TestWhoComesSecondIsToldWhoIsAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory().client().store()
		acquire(t.Context(), t, s, alice)
		time.Sleep(time.Minute)
		start := time.Now()
		var told []string
		_, err := s.Acquire(t.Context(), bob, func(text string) { told = append(told, text) })
		var held *Held
		if !errors.As(err, &held) {
			t.Fatalf("got %v, want Held", err)
		}
		if took := time.Since(start); took > usual.renew*3/2 {
			t.Errorf("it took %s to see a holder that renews every %s", took, usual.renew)
		}
		want := "alice (GitHub Actions, o/r, run 1) since 2000-01-01T00:00:00Z, https://github.com/o/r/actions/runs/1 works on this cluster, and was last seen at 2000-01-01T00:01:0"
		if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got  %s\nwant %s…", err, want)
		}
		if held.Holder.Epoch != 1 || len(told) != 1 || !strings.Contains(told[0], "alice") {
			t.Errorf("epoch %d, told %q", held.Holder.Epoch, told)
		}
		now, err := s.Holding(t.Context())
		if err != nil || now == nil || now.Holder.Who != "alice" {
			t.Errorf("holding: %v, %v", now, err)
		}
	})
}

func TestALeaseWhoseHolderDiedIsTakenAfterItsDurationAndNotBefore(t *testing.T) {
	for name, wrong := range map[string]time.Duration{
		"its clock was right": 0, "its clock was five hours fast": 5 * time.Hour, "its clock was five hours slow": -5 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				s := m.client().store()
				dead(t, s, alice)
				edit(&m.leases, leaseName, func(l *coordinationv1.Lease) {
					for _, at := range []*metav1.MicroTime{l.Spec.RenewTime, l.Spec.AcquireTime} {
						at.Time = at.Add(wrong)
					}
				})
				time.Sleep(10 * time.Second) // how long it has been dead does not count: nobody has looked
				start := time.Now()
				var told []string
				l, err := s.Acquire(t.Context(), bob, func(text string) { told = append(told, text) })
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took < usual.duration || took > usual.duration+usual.renew {
					t.Errorf("taken after %s, want %s", took, usual.duration)
				}
				if l.Holder().Epoch != 2 || len(told) != 1 || !strings.Contains(told[0], "waiting up to 30s") {
					t.Errorf("epoch %d, told %q", l.Holder().Epoch, told)
				}
			})
		})
	}
}

// TestWhileTheAPIIsAwayNobodyIsTakenForDead: what could not be renewed says nothing about its holder, and the one who waits sees no more of the API.
func TestWhileTheAPIIsAwayNobodyIsTakenForDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		holder, away := m.cuttable()
		l := acquire(t.Context(), t, holder.store(), alice)
		away.Store(true)
		start := time.Now()
		other := m.client()
		other.fate = func(string) fate { // it answers for a second now and then
			return fate{away: time.Since(start) < time.Minute && time.Since(start)%(9*time.Second) >= time.Second}
		}
		time.AfterFunc(time.Minute, func() { away.Store(false) })
		_, err := other.store().Acquire(t.Context(), bob, quietly)
		if !errors.As(err, new(*Held)) || l.Context().Err() != nil {
			t.Errorf("after %s: %v; the holder: %v", time.Since(start), err, context.Cause(l.Context()))
		}
	})
}

func TestAReleasedLeaseIsTakenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory().client().store()
		l := acquire(t.Context(), t, s, alice)
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if held, err := s.Holding(t.Context()); held != nil || err != nil {
			t.Errorf("holding: %v, %v", held, err)
		}
		if l.Context().Err() == nil {
			t.Error("the lock's context is alive")
		}
		start := time.Now()
		next := acquire(t.Context(), t, s, bob)
		if took := time.Since(start); took != 0 || next.Holder().Epoch != 2 {
			t.Errorf("took %s, epoch %d", took, next.Holder().Epoch)
		}
	})
}

func TestDeletingTheLeaseDoesNotLetTheEpochFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		s := m.client().store()
		for epoch := int64(1); epoch < 4; epoch++ {
			l := dead(t, s, alice)
			if l.Holder().Epoch != epoch {
				t.Errorf("epoch %d, want %d", l.Holder().Epoch, epoch)
			}
			drop(&m.leases, leaseName)
		}
	})
}

func TestALostLeaseHaltsItsHolder(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(t *testing.T, m *memory, l *Lock)
		want string
	}{
		"taken": {func(_ *testing.T, m *memory, _ *Lock) {
			edit(&m.leases, leaseName, func(l *coordinationv1.Lease) {
				*l.Spec.HolderIdentity = "bob, laptop"
				l.Annotations[holderAnnotation] = `{"who":"bob","where":"laptop","epoch":2}`
			})
		}, "the lease is somebody else's by now: bob (laptop)"},
		"released": {func(t *testing.T, m *memory, l *Lock) {
			if ok, err := m.client().store().Free(t.Context(), l.Name()); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}, "the lease upshift/upshift was released by somebody else"},
		"deleted": {func(_ *testing.T, m *memory, _ *Lock) { drop(&m.leases, leaseName) }, "the lease upshift/upshift was deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				l := acquire(t.Context(), t, m.client().store(), alice)
				time.Sleep(time.Minute + time.Second)
				c.lose(t, m, l)
				version := m.now()
				select {
				case <-l.Context().Done():
				case <-time.After(usual.renew + time.Second):
					t.Fatal("nothing happened")
				}
				wantHalt(t, context.Cause(l.Context()), c.want)
				_, _, err := l.Hold(t.Context())
				wantHalt(t, err, c.want)
				_, _, err = l.Confirm(t.Context(), 0)
				wantHalt(t, err, c.want)
				if err := l.Release(t.Context()); err != nil {
					t.Error(err)
				}
				if m.now() != version {
					t.Error("somebody else's lease was changed")
				}
			})
		})
	}
}

// TestHoldTrustsTheClockAndConfirmAsks has a lease that a person freed, and that another has taken since the last renewal.
func TestHoldTrustsTheClockAndConfirmAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory().client().store()
		l := acquire(t.Context(), t, s, alice)
		time.Sleep(time.Second)
		if ok, err := s.Free(t.Context(), l.Name()); !ok || err != nil {
			t.Fatal(ok, err)
		}
		acquire(t.Context(), t, s, bob)
		held, cancel, err := l.Hold(t.Context())
		if err != nil || held.Err() != nil {
			t.Fatal(err)
		}
		cancel()
		_, _, err = l.Confirm(t.Context(), 0)
		wantHalt(t, err, "somebody else's by now: bob")
	})
}

// TestALeaseIsRenewedNoOftenerThanNeeded, since each renewal is a write that every API server's store keeps.
func TestALeaseIsRenewedNoOftenerThanNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		l := acquire(t.Context(), t, m.client().store(), alice)
		confirm := func(within time.Duration) {
			t.Helper()
			_, cancel, err := l.Confirm(t.Context(), within)
			if err != nil {
				t.Fatal(err)
			}
			cancel()
		}
		start, before := time.Now(), m.now()
		for range 100 {
			confirm(time.Second)
			time.Sleep(5 * time.Millisecond)
		}
		if writes := m.now() - before; writes != 0 {
			t.Errorf("%d renewals for changes right after it was taken, want none", writes)
		}
		confirm(0)
		if writes := m.now() - before; writes != 1 {
			t.Errorf("%d renewals for a change that asks, want 1", writes)
		}
		time.Sleep(usual.renew - time.Second)
		confirm(time.Second)
		time.Sleep(usual.renew - time.Second) // the renewal that was due in between has been made by that
		if writes := m.now() - before; writes != 2 {
			t.Errorf("%d renewals in %s, want 2", writes, time.Since(start))
		}
		time.Sleep(time.Minute)
		if writes := m.now() - before; writes != 2+12 {
			t.Errorf("%d renewals in the minute after, want 12", writes-2)
		}
	})
}

func TestAnAPIThatIsAwayIsToldOnceAndNothingIsChangedOnceTheLeaseMayBeAnothers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, away := newMemory().cuttable()
		l := acquire(t.Context(), t, c.store(), alice)
		time.Sleep(10*time.Second + 500*time.Millisecond)
		away.Store(true)
		cut := time.Now()
		lastRenewal := cut.Add(-500 * time.Millisecond)

		told := <-l.Outages()
		if took := time.Since(cut); told.Over || told.Err == nil || took < usual.outage || took > usual.outage+2*usual.renew {
			t.Errorf("told %+v after %s", told, took)
		}
		if told.Since.Before(cut) || told.Since.After(cut.Add(usual.renew)) {
			t.Errorf("away since %s, told since %s", cut, told.Since)
		}
		held, cancel, err := l.Hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
		select {
		case <-held.Done():
		case <-time.After(time.Hour):
		}
		if end := lastRenewal.Add(usual.duration - usual.margin); time.Now().After(end) {
			t.Errorf("a change was allowed until %s after the last renewal", time.Since(lastRenewal))
		}
		if _, _, err := l.Hold(t.Context()); err == nil || !strings.Contains(err.Error(), "has not been renewed since 00:00:15 UTC") {
			t.Errorf("after the expiry: %v", err)
		}
		time.Sleep(time.Minute)
		if len(l.Outages()) != 0 || l.Context().Err() != nil {
			t.Errorf("told %+v; %v", <-l.Outages(), context.Cause(l.Context()))
		}
		away.Store(false)
		if told := <-l.Outages(); !told.Over {
			t.Errorf("told %+v", told)
		}
		if _, cancel, err := l.Hold(t.Context()); err != nil {
			t.Error(err)
		} else {
			cancel()
		}
		time.Sleep(time.Minute)
		if len(l.Outages()) != 0 {
			t.Errorf("told %+v", <-l.Outages())
		}
	})
}

// TestARecordThatIsWrittenShowsThatTheAPIIsBack, so that it is told before a run ends that ends right then.
func TestARecordThatIsWrittenShowsThatTheAPIIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, away := newMemory().cuttable()
		l := acquire(t.Context(), t, c.store(), alice)
		away.Store(true)
		if told := <-l.Outages(); told.Over {
			t.Fatalf("told %+v", told)
		}
		away.Store(false)
		save(t, l, aRun())
		select {
		case told := <-l.Outages():
			if !told.Over {
				t.Errorf("told %+v", told)
			}
		default:
			t.Error("it is not told that the API is back")
		}
	})
}

func TestConfirmWaitsWhileTheAPIIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, away := newMemory().cuttable()
		l := acquire(t.Context(), t, c.store(), alice)
		away.Store(true)
		time.AfterFunc(3*time.Minute, func() { away.Store(false) })
		start := time.Now()
		held, cancel, err := l.Confirm(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
		if took := time.Since(start); took < 3*time.Minute || held.Err() != nil {
			t.Errorf("after %s: %v", took, held.Err())
		}
	})
}

// TestConfirmEndsWithItsContext while a renewal hangs: who is interrupted has seconds.
func TestConfirmEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemory().client()
		hangs := new(atomic.Bool)
		c.fate = func(string) fate {
			if hangs.Load() {
				return fate{away: true, breaks: time.Hour}
			}
			return fate{}
		}
		l := acquire(t.Context(), t, c.store(), alice)
		hangs.Store(true)
		time.Sleep(usual.renew + time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, _, err := l.Confirm(ctx, 0); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func TestALeaseIsFreedOnlyOnceAGivenUpChangeCanTakeEffectNoMore(t *testing.T) {
	for name, c := range map[string]struct {
		giveUp  bool
		patient time.Duration
		want    time.Duration
		freed   bool
	}{
		"answered":                         {false, time.Second, 0, true},
		"given up":                         {true, time.Minute, usual.margin, true},
		"given up, and no time is left":    {true, time.Second, time.Second, false},
		"given up, and then long at work":  {true, -usual.margin, 0, true},
		"answered, and then long at work":  {false, -usual.margin, 0, true},
		"answered, with hardly any time":   {false, time.Millisecond, 0, true},
		"given up, with just enough time ": {true, usual.margin + 1, usual.margin, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newMemory().client().store()
				l := acquire(t.Context(), t, s, alice)
				ctx, giveUp := context.WithCancel(t.Context())
				defer giveUp()
				_, cancel, err := l.Confirm(ctx, 0)
				if err != nil {
					t.Fatal(err)
				}
				if c.giveUp {
					giveUp()
				}
				cancel()
				if c.patient < 0 {
					time.Sleep(-c.patient)
					c.patient = time.Second
				}
				start := time.Now()
				releasing, cancel := context.WithTimeout(t.Context(), c.patient)
				defer cancel()
				err = l.Release(releasing)
				if took := time.Since(start); took != c.want || (err == nil) != c.freed {
					t.Errorf("after %s: %v", took, err)
				}
				if held, err := s.Holding(t.Context()); err != nil || (held == nil) != c.freed {
					t.Errorf("holding: %v, %v", held, err)
				}
			})
		})
	}
}

func TestAClusterWithoutTheNamespaceSaysHowToMakeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.absent = true
		_, err := m.client().store().Acquire(t.Context(), alice, quietly)
		var absent *NoNamespace
		if !errors.As(err, &absent) || !strings.Contains(err.Error(), "kubectl create namespace upshift") {
			t.Errorf("got %v", err)
		}
	})
}

func TestACleanUpFreesTheLeaseOfItsOwnHolderOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory().client().store()
		free := func(name string, want bool) {
			t.Helper()
			if ok, err := s.Free(t.Context(), name); ok != want || err != nil {
				t.Errorf("freed: %t, %v", ok, err)
			}
		}
		free("nobody", false)
		first := dead(t, s, alice)
		free("alice, elsewhere", false)
		free(first.Name(), true)
		free(first.Name(), false)
		second := acquire(t.Context(), t, s, alice)
		free(first.Name(), false)
		time.Sleep(time.Minute)
		if second.Context().Err() != nil {
			t.Error(context.Cause(second.Context()))
		}
	})
}

func TestTheNextHolderFindsTheRunThatTheLastOneSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory().client().store()
		l := acquire(t.Context(), t, s, alice)
		if run, err := l.Run(); run != nil || err != nil {
			t.Errorf("a run of nobody's: %v, %v", run, err)
		}
		run := aRun()
		run.NodesDrained = 7
		save(t, l, run)
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := acquire(t.Context(), t, s, bob).Run()
		if err != nil || got.ID != run.ID || got.NodesDrained != 7 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// TestAWriteWhoseAnswerWasLostIsKnownAsOurOwn, whether the connection breaks before it takes effect or after.
func TestAWriteWhoseAnswerWasLostIsKnownAsOurOwn(t *testing.T) {
	for name, lost := range map[string]fate{
		"broken after its effect":  {before: time.Millisecond, after: time.Second, breaks: 2 * time.Millisecond},
		"broken before its effect": {before: 20 * time.Millisecond, breaks: time.Millisecond},
		"in effect much later":     {before: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				c := m.client()
				breaks := new(atomic.Bool)
				c.fate = func(call string) fate {
					if call == "update configmaps" && breaks.CompareAndSwap(true, false) {
						return lost
					}
					return fate{}
				}
				l := acquire(t.Context(), t, c.store(), alice)
				breaks.Store(true)
				run := aRun()
				for run.NodesDrained = range 3 {
					save(t, l, run)
				}
				time.Sleep(time.Minute)
				run.NodesDrained++
				save(t, l, run)
				got, err := readRun(peek(&m.maps, runName))
				if err != nil || got.NodesDrained != 3 {
					t.Errorf("got %+v, %v", got, err)
				}
			})
		})
	}
}

func TestAWriteThatWasGivenUpIsKnownAsOurOwnWhenTheNextIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c, slow := m.client(), new(atomic.Bool)
		c.fate = func(call string) fate {
			if call == "update configmaps" && slow.CompareAndSwap(true, false) {
				return fate{before: 2 * time.Second}
			}
			return fate{}
		}
		l := acquire(t.Context(), t, c.store(), alice)
		run := aRun()
		save(t, l, run)
		slow.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		run.NodesDrained = 1
		if err := l.Save(ctx, run); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		time.Sleep(2 * time.Second)
		run.NodesDrained = 2
		save(t, l, run)
		if got, err := readRun(peek(&m.maps, runName)); err != nil || got.NodesDrained != 2 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestARecordThatSomebodyElseChangedHaltsTheRun(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *memory)
		want   string
	}{
		"its run": {func(m *memory) {
			edit(&m.maps, runName, func(m *corev1.ConfigMap) { m.Data[runKey] = strings.Replace(m.Data[runKey], "running", "paused", 1) })
		}, "was changed by somebody else"},
		"its epoch": {func(m *memory) {
			edit(&m.maps, runName, func(m *corev1.ConfigMap) { m.Annotations[epochAnnotation] = "2" })
		}, "was claimed by another holder, of epoch 2; this one's is 1"},
		"deleted": {func(m *memory) { drop(&m.maps, runName) }, "was deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				l := acquire(t.Context(), t, m.client().store(), alice)
				run := aRun()
				save(t, l, run)
				c.change(m)
				version := m.now()
				run.NodesDrained++
				wantHalt(t, l.Save(t.Context(), run), c.want)
				if m.now() != version {
					t.Error("it was written all the same")
				}
			})
		})
	}
}

func TestAnAnnotationThatAPersonAddsStaysAndHaltsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		l := acquire(t.Context(), t, m.client().store(), alice)
		run := aRun()
		save(t, l, run)
		edit(&m.maps, runName, func(m *corev1.ConfigMap) { m.Annotations["note"] = "do not touch" })
		run.NodesDrained++
		save(t, l, run)
		m1 := peek(&m.maps, runName)
		if got, err := readRun(m1); err != nil || got.NodesDrained != 1 || m1.Annotations["note"] == "" {
			t.Errorf("got %v, %v", m1, err)
		}
	})
}

func TestAWriteWaitsWhileTheAPIIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, away := newMemory().cuttable()
		l := acquire(t.Context(), t, c.store(), alice)
		away.Store(true)
		time.AfterFunc(10*time.Minute, func() { away.Store(false) })
		start := time.Now()
		save(t, l, aRun())
		if took := time.Since(start); took < 10*time.Minute || took > 10*time.Minute+2*retryPause {
			t.Errorf("written after %s", took)
		}
		away.Store(true)
		stop := errors.New("a signal")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(stop) })
		if err := l.Save(ctx, aRun()); !errors.Is(err, stop) {
			t.Errorf("got %v, want what ended the context", err)
		}
	})
}

func TestAHolderThatWasCutOffAndReplacedWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.client()
		away, leasesAway := new(atomic.Bool), new(atomic.Bool)
		c.fate = func(call string) fate {
			return fate{away: away.Load() || leasesAway.Load() && strings.HasSuffix(call, "leases")}
		}
		old := acquire(t.Context(), t, c.store(), alice)
		run := aRun()
		save(t, old, run)
		away.Store(true)
		next := acquire(t.Context(), t, m.client().store(), bob)
		if next.Holder().Epoch != 2 {
			t.Errorf("epoch %d", next.Holder().Epoch)
		}
		before := peek(&m.maps, runName).ResourceVersion
		// Its renewals are still away when its write gets through: the record itself has to refuse it.
		leasesAway.Store(true)
		away.Store(false)
		run.NodesDrained++
		wantHalt(t, old.Save(t.Context(), run), "claimed by another holder, of epoch 2; this one's is 1")
		if after := peek(&m.maps, runName).ResourceVersion; after != before {
			t.Error("it was written all the same")
		}
		if _, _, err := old.Hold(t.Context()); err == nil {
			t.Error("it may evict")
		}
	})
}

func TestALeaseThatFellFreeDuringItsClaimIsNotClaimedOverALaterHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := m.client()
		var later *Lock
		c.fate = func(call string) fate {
			if call == "create configmaps" && later == nil {
				// The process is frozen between taking the lease and claiming the record.
				later = acquire(t.Context(), t, m.client().store(), bob)
			}
			return fate{}
		}
		_, err := c.store().Acquire(t.Context(), alice, quietly)
		wantHalt(t, err, "claimed by a later holder, of epoch 2")
		run := aRun()
		save(t, later, run)
		if got := epochOf(peek(&m.maps, runName)); got != 2 {
			t.Errorf("the record's epoch is %d", got)
		}
		time.Sleep(time.Minute)
		if later.Context().Err() != nil {
			t.Error(context.Cause(later.Context()))
		}
	})
}
