package runstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

const (
	// gkeTakes is the longest time from sending a change to GKE to its effect; the lease keeps as much free at its end.
	gkeTakes = 5 * time.Second
	// evictionTakes is the longest time from sending an eviction to its effect: the API server gives a request up then.
	evictionTakes = 30 * time.Second
	// scheduleTakes is when the processes of a schedule end.
	scheduleTakes = 6 * time.Minute
)

// TestNoChangeIsMadeByAHolderWhoseLeaseIsAnothers runs schedules in which processes take and lose the lease while they are frozen,
// killed and cut off at the worst times. A change that takes effect when the lease has a later holder is stale.
func TestNoChangeIsMadeByAHolderWhoseLeaseIsAnothers(t *testing.T) {
	total := simulate(t, 10_000, false)
	t.Log(total)
	if total.staleWrites != 0 || total.staleChanges != 0 {
		t.Errorf("stale: %d writes to the record, %d changes to GKE", total.staleWrites, total.staleChanges)
	}
	total.mustTest(t)
}

// TestAHolderWhoseLeaseAPersonFreedIsToldSoWhenItAsks is the same with a person who frees the lease of a holder that is alive. What
// was on its way by then takes effect; what is begun after, is not.
func TestAHolderWhoseLeaseAPersonFreedIsToldSoWhenItAsks(t *testing.T) {
	total := simulate(t, 1_000, true)
	t.Log(total)
	if total.freed < total.schedules/2 {
		t.Errorf("a person freed only %d leases", total.freed)
	}
	if total.staleWrites != 0 || total.begunLate != 0 {
		t.Errorf("%d stale writes to the record, %d changes to GKE were begun after the lease was another's", total.staleWrites, total.begunLate)
	}
	total.mustTest(t)
}

// figures are what schedules came to.
type figures struct {
	schedules, expiries, withExpiry, releases, freed     int
	writes, changes, evictions                           int
	refused, refusedAtSending, withRefusal, givenUp      int
	staleWrites, staleChanges, staleEvictions, begunLate int
	latestEviction                                       time.Duration
}

func (f *figures) add(o figures) {
	f.schedules++
	f.expiries += o.expiries
	if o.expiries > 0 {
		f.withExpiry++
	}
	f.releases += o.releases
	f.freed += o.freed
	f.writes += o.writes
	f.changes += o.changes
	f.evictions += o.evictions
	f.refused += o.refused
	f.refusedAtSending += o.refusedAtSending
	if o.refused+o.refusedAtSending > 0 {
		f.withRefusal++
	}
	f.givenUp += o.givenUp
	f.staleWrites += o.staleWrites
	f.staleChanges += o.staleChanges
	f.staleEvictions += o.staleEvictions
	f.begunLate += o.begunLate
	f.latestEviction = max(f.latestEviction, o.latestEviction)
}

func (f *figures) String() string {
	return fmt.Sprintf("%d schedules: %d leases taken by expiry in %d schedules, %d released, %d freed by a person; "+
		"effects: %d writes, %d changes to GKE, %d evictions; fence: %d calls refused and %d more when they were sent, in %d schedules, %d given up; "+
		"stale: %d writes, %d changes, %d begun late, %d evictions, the latest %s after the later holder took the lease",
		f.schedules, f.expiries, f.withExpiry, f.releases, f.freed, f.writes, f.changes, f.evictions,
		f.refused, f.refusedAtSending, f.withRefusal, f.givenUp, f.staleWrites, f.staleChanges, f.begunLate, f.staleEvictions, f.latestEviction)
}

// mustTest fails if the schedules were too tame to prove anything.
func (f *figures) mustTest(t *testing.T) {
	t.Helper()
	if f.withExpiry < f.schedules/5 || f.withRefusal < f.schedules/10 || f.refusedAtSending == 0 || f.givenUp == 0 || f.staleEvictions == 0 {
		t.Error("the schedules are too tame to prove anything")
	}
	if f.writes < f.schedules || f.changes < f.schedules || f.evictions < f.schedules {
		t.Error("the holders hardly get anything done")
	}
}

// simulate runs schedules, on as many processors as there are.
func simulate(t *testing.T, schedules int, person bool) *figures {
	t.Helper()
	if testing.Short() {
		schedules /= 20
	}
	total := &figures{}
	var mu sync.Mutex
	const shards = 4
	t.Run("shards", func(t *testing.T) {
		for shard := range shards {
			t.Run(strconv.Itoa(shard), func(t *testing.T) {
				t.Parallel()
				for seed := shard; seed < schedules; seed += shards {
					var w *world
					synctest.Test(t, func(*testing.T) { w = schedule(uint64(seed), person) })
					if n := len(w.problems); n > 0 {
						t.Errorf("seed %d: %s (the first of %d problems)", seed, w.problems[0], n)
					}
					mu.Lock()
					total.add(w.figures)
					mu.Unlock()
				}
			})
		}
	})
	return total
}

// world is what the processes of a schedule share, with the truth about it.
type world struct {
	memory *memory
	start  time.Time
	// person tells that somebody frees leases of holders that are alive.
	person bool

	mu sync.Mutex
	figures
	problems []string
	// epoch is the Lease's, and taken when each epoch began. Claimed is the highest epoch that has claimed the record.
	epoch, claimed int64
	taken          map[int64]time.Time
	// expired are the epochs that began when the lease of the one before had expired. The others began after a release.
	expired map[int64]bool
}

func (w *world) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf("%s: ", time.Since(w.start))+fmt.Sprintf(format, args...))
}

// schedule is one run of the world, with everything that happens by chance drawn from the seed. Nearly every seed does the same
// each time: only what happens at the same nanosecond has no order.
func schedule(seed uint64, person bool) *world {
	w := &world{memory: newMemory(), start: time.Now(), person: person, taken: map[int64]time.Time{}, expired: map[int64]bool{}}
	w.memory.leases.saw, w.memory.maps.saw = w.sawLease, w.sawRecord
	chance := rand.New(rand.NewPCG(seed, 1))
	processes := 2
	if chance.IntN(10) < 3 {
		processes = 3
	}
	ctx, cancel := context.WithTimeout(context.Background(), scheduleTakes)
	defer cancel()
	var all sync.WaitGroup
	for i := range processes {
		p := &process{world: w, name: string(rune('a' + i)), chance: rand.New(rand.NewPCG(seed, uint64(i)+2))}
		all.Go(func() { p.live(ctx) })
	}
	if person {
		all.Go(func() { w.free(ctx, chance) })
	}
	all.Wait()
	time.Sleep(10 * time.Minute) // for what is still on its way, or frozen
	return w
}

// free is a person who takes the lease from whoever has it.
func (w *world) free(ctx context.Context, chance *rand.Rand) {
	s := w.memory.client().store()
	for pause(ctx, drawn(chance, 4*time.Minute)) == nil {
		if held, err := s.lease(ctx); err == nil && held != nil && holderOf(held) != "" {
			if ok, err := s.Free(ctx, holderOf(held)); ok && err == nil {
				w.mu.Lock()
				w.freed++
				w.mu.Unlock()
			}
		}
	}
}

func (w *world) sawLease(before, after *coordinationv1.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	epoch := int64(*after.Spec.LeaseTransitions)
	switch {
	case before != nil && holderOf(before) == holderOf(after), holderOf(after) == "":
		if epoch != w.epoch {
			w.problem("the epoch went from %d to %d with no new holder", w.epoch, epoch)
		}
		if before != nil && holderOf(after) == "" {
			w.releases++
		}
		return
	case epoch <= w.epoch:
		w.problem("a new holder has the epoch %d after %d", epoch, w.epoch)
	case before != nil && holderOf(before) != "":
		w.expiries++
		w.expired[epoch] = true
	}
	w.epoch = epoch
	w.taken[epoch] = time.Now()
}

// sawRecord holds every accepted write of the record's data against the epochs that had claimed it.
func (w *world) sawRecord(before, after *corev1.ConfigMap) {
	if after.Name != runName {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if before != nil && after.Data[runKey] != before.Data[runKey] {
		was, _ := readRun(before)
		is, err := readRun(after)
		if err != nil {
			w.problem("%s", err)
			return
		}
		w.writes++
		if writer := is.Holder().Epoch; writer < w.claimed {
			w.staleWrites++
			w.problem("the holder of epoch %d wrote the record after epoch %d had claimed it", writer, w.claimed)
		}
		if was != nil && is.NodesDrained <= was.NodesDrained {
			w.problem("the record went from %d to %d: something that was recorded is forgotten", was.NodesDrained, is.NodesDrained)
		}
	}
	if epoch := epochOf(after); epoch < w.claimed {
		w.problem("the record's epoch fell from %d to %d", w.claimed, epoch)
	} else {
		w.claimed = epoch
	}
}

// process works on the cluster whenever it gets the lease. All of it freezes at once: its calls, and the renewals of its lock.
type process struct {
	*world
	name string

	mu     sync.Mutex
	chance *rand.Rand
	frozen time.Time // until then
	away   time.Time // until then, it cannot reach the Kubernetes API
}

func (p *process) live(ctx context.Context) {
	s := (&client{memory: p.memory, fate: p.fate, stopped: p.stopped}).store()
	for p.nap(ctx, 5*time.Second) {
		life, die := context.WithCancel(ctx)
		lock, err := s.Acquire(life, upgrade.Holder{Who: p.name, Where: "simulation"}, func(string) {})
		if err == nil {
			p.work(life, lock)
		}
		die()
	}
}

// work does things at random until the lock is lost, or until the process dies or is done.
func (p *process) work(ctx context.Context, lock *Lock) {
	p.world.mu.Lock()
	p.claimed = max(p.claimed, lock.Holder().Epoch)
	p.world.mu.Unlock()
	run, err := lock.Run()
	if run == nil {
		run = &upgrade.Run{APIVersion: upgrade.APIVersion, Kind: "Run", ID: "r"}
	}
	run.Holders = []upgrade.Holder{lock.Holder()}
	for n := 1 + p.draw(20); n > 0 && err == nil && p.nap(lock.Context(), 4*time.Second); n-- {
		switch what := p.draw(10); {
		case what < 4:
			run.NodesDrained++
			err = p.save(lock, run)
		case what < 7:
			p.change(lock)
		default:
			var all sync.WaitGroup
			for range 1 + p.draw(3) {
				all.Go(func() { p.evict(lock) })
			}
			all.Wait()
		}
	}
	if errors.As(context.Cause(lock.Context()), new(*upgrade.Halt)) && !p.person && !p.later(lock.Holder().Epoch) {
		p.told("the lock was lost though nobody else took the lease: %s", context.Cause(lock.Context()))
	}
	if p.draw(3) > 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.upTo(10*time.Second))
		defer cancel()
		_ = lock.Release(ctx) // or not: then it expires
	}
}

// save writes the record; now and then it is given up, and what was given up is written with the next.
func (p *process) save(lock *Lock, run *upgrade.Run) error {
	ctx := lock.Context()
	if p.draw(4) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.upTo(5*time.Second))
		defer cancel()
	}
	err := lock.Save(ctx, run)
	var halt *upgrade.Halt
	if errors.As(err, &halt) && strings.Contains(halt.Problem, "the record") && !p.later(lock.Holder().Epoch) {
		p.told("halted though nobody else took the lease: %s", halt)
	}
	if halt == nil && lock.Context().Err() == nil {
		return nil
	}
	return err
}

func (p *process) told(format string, args ...any) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	p.problem(format, args...)
}

// change makes a change to GKE.
func (p *process) change(lock *Lock) {
	epoch := lock.Holder().Epoch
	late := p.later(epoch)
	ctx, giveUp := context.WithCancel(lock.Context())
	defer giveUp()
	held, cancel, err := lock.Confirm(ctx, 0)
	if err == nil {
		defer cancel()
	}
	sent := p.send(lock, held, err, giveUp, gkeTakes, func() {
		p.changes++
		if p.epoch > epoch {
			p.staleChanges++
			if !p.person {
				p.problem("a change to GKE of epoch %d took effect %s after the lease was taken (expired: %t)", epoch, time.Since(p.taken[epoch+1]), p.expired[epoch+1])
			}
		}
	})
	if sent && late {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		p.begunLate++
		p.problem("the holder of epoch %d began a change to GKE after the lease was another's", epoch)
	}
}

// later tells that a holder after epoch has taken the lease.
func (w *world) later(epoch int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.epoch > epoch
}

func (p *process) evict(lock *Lock) {
	epoch := lock.Holder().Epoch
	held, cancel, err := lock.Hold(lock.Context())
	if err == nil {
		defer cancel()
	}
	p.send(lock, held, err, func() {}, evictionTakes, func() {
		p.evictions++
		if p.epoch == epoch {
			return
		}
		late := time.Since(p.taken[epoch+1])
		p.staleEvictions++
		p.latestEviction = max(p.latestEviction, late)
		if late > evictionTakes && !p.person {
			p.problem("an eviction of epoch %d took effect %s after the lease was taken", epoch, late)
		}
	})
}

// send makes a call that the fence allowed, unless its context is over when it is sent. What was sent takes effect within the time,
// whether or not its sender has given it up, which it does when the connection breaks. Between the fence and the call the process may freeze, best until just before the
// call's time is up.
func (p *process) send(lock *Lock, held context.Context, err error, giveUp func(), within time.Duration, effect func()) bool {
	if err != nil {
		if lock.Context().Err() == nil || errors.As(context.Cause(lock.Context()), new(*upgrade.Halt)) {
			p.count(&p.refused)
		}
		return false
	}
	switch deadline, ok := held.Deadline(); p.draw(6) {
	case 0:
		p.freeze(p.length())
	case 1:
		if ok {
			p.freeze(time.Until(deadline) - p.upTo(100*time.Millisecond))
		}
	}
	p.stopped()
	if held.Err() != nil {
		p.count(&p.refusedAtSending)
		return false
	}
	takes := p.upTo(within)
	if p.draw(2) == 0 {
		takes = within - p.upTo(100*time.Millisecond)
	}
	time.AfterFunc(takes, func() {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		effect()
	})
	if p.draw(6) == 0 {
		p.freeze(p.length())
	}
	answer := takes + p.upTo(time.Second)
	breaks := p.draw(10) == 0
	if breaks {
		answer = p.upTo(answer)
	}
	select {
	case <-time.After(answer):
		if breaks {
			giveUp()
		}
	case <-held.Done():
		p.count(&p.givenUp)
	}
	p.stopped()
	return true
}

func (p *process) count(n *int) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	*n++
}

// fate is that of a call to the Kubernetes API: most are answered soon, some late or never.
func (p *process) fate(string) fate {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.After(p.away) && p.chance.IntN(250) == 0 {
		p.away = now.Add(drawn(p.chance, time.Minute))
	}
	if now.Before(p.away) {
		return fate{away: true, breaks: drawn(p.chance, []time.Duration{time.Millisecond, 15 * time.Second}[p.chance.IntN(2)])}
	}
	slow := 20 * time.Millisecond
	switch p.chance.IntN(30) {
	case 0, 1:
		slow = 2 * time.Second
	case 2:
		slow = 15 * time.Second
	}
	f := fate{before: drawn(p.chance, slow), after: drawn(p.chance, slow)}
	if p.chance.IntN(30) == 0 {
		f.breaks = drawn(p.chance, f.before+f.after)
	}
	return f
}

// stopped returns once the process is not frozen. Now and then it freezes here.
func (p *process) stopped() {
	if p.draw(300) == 0 {
		p.freeze(p.length())
	}
	for {
		p.mu.Lock()
		// What froze at once goes on in any order.
		rest := time.Until(p.frozen) + drawn(p.chance, time.Millisecond)
		over := !time.Now().Before(p.frozen)
		p.mu.Unlock()
		if over {
			return
		}
		time.Sleep(rest)
	}
}

func (p *process) freeze(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(d); until.After(p.frozen) {
		p.frozen = until
	}
}

// length is how long the process is frozen.
func (p *process) length() time.Duration {
	return p.upTo([]time.Duration{5 * time.Second, 40 * time.Second, 2 * time.Minute}[p.draw(3)])
}

// nap lets some time pass, and tells whether ctx is still alive.
func (p *process) nap(ctx context.Context, atMost time.Duration) bool {
	_ = pause(ctx, p.upTo(atMost))
	p.stopped()
	return ctx.Err() == nil
}

func (p *process) draw(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.chance.IntN(n)
}

func (p *process) upTo(d time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return drawn(p.chance, d)
}

// drawn is above 0, and at most d.
func drawn(chance *rand.Rand, d time.Duration) time.Duration {
	return 1 + time.Duration(chance.Int64N(int64(d)))
}
