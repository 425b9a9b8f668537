package upgrade

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func vote(id string, approved bool, via string) Approval {
	return Approval{By: strings.ToLower(id), ID: id, Approved: approved, Via: via}
}

func TestWhatVotesComeTo(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	may := func(id string) bool { return id != "DAVE" } // the requester would be entitled to others' plans
	for name, test := range map[string]struct {
		votes  []Approval
		quorum int
		past   time.Duration
		want   Decision
	}{
		"none":                                   {want: Open},
		"one of one":                             {votes: []Approval{vote("BOB", true, "+1")}, want: Agreed},
		"one of two":                             {votes: []Approval{vote("BOB", true, "+1")}, quorum: 2, want: Open},
		"two of two":                             {votes: []Approval{vote("BOB", true, "+1"), vote("CAROL", true, "")}, quorum: 2, want: Agreed},
		"one person twice":                       {votes: []Approval{vote("BOB", true, "+1"), vote("BOB", true, "")}, quorum: 2, want: Open},
		"the requester":                          {votes: []Approval{vote("ALICE", true, "+1")}, want: Open},
		"the requester and another":              {votes: []Approval{vote("ALICE", true, "+1"), vote("BOB", true, "")}, quorum: 2, want: Open},
		"nobody in particular":                   {votes: []Approval{vote("DAVE", true, "+1")}, want: Open},
		"a rejection after enough":               {votes: []Approval{vote("BOB", true, "+1"), vote("CAROL", false, "x")}, want: Declined},
		"both of one person":                     {votes: []Approval{vote("BOB", true, "+1"), vote("BOB", false, "x")}, want: Declined},
		"the requester turns it down":            {votes: []Approval{vote("BOB", true, "+1"), vote("ALICE", false, "x")}, want: Declined},
		"nobody in particular turns it down":     {votes: []Approval{vote("BOB", true, "+1"), vote("DAVE", false, "x")}, want: Agreed},
		"too late":                               {votes: []Approval{vote("BOB", true, "+1")}, past: time.Second, want: Expired},
		"at the last moment":                     {votes: []Approval{vote("BOB", true, "+1")}, past: 0, want: Agreed},
		"too late and turned down":               {votes: []Approval{vote("BOB", false, "")}, past: time.Second, want: Declined},
		"a quorum that nobody set is one":        {votes: []Approval{vote("BOB", true, "+1")}, quorum: 0, want: Agreed},
		"a vote without a name is not anybody's": {votes: []Approval{vote("DAVE", true, ""), vote("DAVE", true, "+1")}, quorum: 1, want: Open},
	} {
		t.Run(name, func(t *testing.T) {
			a := Approvals{RequesterID: "ALICE", Expires: now, Votes: test.votes}
			if got := a.Decide(test.quorum, may, now.Add(test.past)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestAReactionThatIsGoneIsWithdrawnAndAButtonIsNot(t *testing.T) {
	a := Approvals{}
	for _, v := range []Approval{vote("BOB", true, "+1"), vote("BOB", true, "+1"), vote("BOB", true, "white_check_mark"), vote("CAROL", true, ""), vote("CAROL", true, "")} {
		a.Add(v)
	}
	if len(a.Votes) != 3 {
		t.Errorf("a vote that was there counts again: %v", a.Votes)
	}
	a.Keep(func(_, reaction string) bool { return reaction == "white_check_mark" })
	if diff := cmp.Diff([]Approval{vote("BOB", true, "white_check_mark"), vote("CAROL", true, "")}, a.Votes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"bob", "carol"}, []string{a.Approving()[0].By, a.Approving()[1].By}); diff != "" {
		t.Error(diff)
	}
}
