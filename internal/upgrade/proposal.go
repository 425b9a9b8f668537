package upgrade

import (
	"crypto/rand"
	"slices"
	"strings"
	"time"
)

// Proposal is a plan that people are asked to approve.
type Proposal struct {
	Plan      Plan
	Approvals Approvals
}

// Approvals is what people said of a plan so far.
type Approvals struct {
	// ID names the question: a plan that is asked about anew, be it the same, is another question.
	ID     string `json:"id,omitempty"`
	Digest string `json:"digest"`
	// Requester is who asked for the plan, and RequesterID the same in Slack's terms.
	Requester   string     `json:"requester"`
	RequesterID string     `json:"requesterID,omitempty"`
	AskedAt     time.Time  `json:"askedAt,omitzero"`
	Expires     time.Time  `json:"expires"`
	Votes       []Approval `json:"votes"`
	// SlackChannel and SlackTimestamp name the message that asks. Without a timestamp it has not been posted, as far as is known.
	SlackChannel   string `json:"slackChannel,omitempty"`
	SlackTimestamp string `json:"slackTimestamp,omitempty"`
	// Differences say what has changed since the plan whose place this one takes, if it takes one's.
	Differences []string `json:"differences,omitempty"`
}

// Approval is a person's decision on one digest.
type Approval struct {
	By string `json:"by"`
	// ID is the person's in Slack.
	ID string `json:"id,omitempty"`
	// Approved is false for a rejection.
	Approved bool      `json:"approved"`
	At       time.Time `json:"at"`
	// Where it was given: "Slack, button, https://…".
	Where string `json:"where,omitempty"`
	// Via is the reaction by which it was given, and by whose removal it is withdrawn; empty for a button, which is final.
	Via string `json:"via,omitempty"`
}

// NewQuestion makes the ID of a proposal by chance.
func NewQuestion() string { return strings.ToLower(rand.Text()[:16]) }

// Decision is what the votes on a proposal come to.
type Decision string

// The decisions on a proposal.
const (
	// Open: more votes are needed.
	Open Decision = "open"
	// Agreed: as many as are needed approve, and nobody rejects.
	Agreed Decision = "agreed"
	// Declined: somebody rejects.
	Declined Decision = "declined"
	// Expired: its time was up before it was agreed on.
	Expired Decision = "expired"
)

// Decide counts the votes: one for each person, however often they voted. A rejection ends it. Votes of the requester count only
// against the plan. Entitled tells whether a person may vote now.
func (a Approvals) Decide(quorum int, entitled func(id string) bool, now time.Time) Decision {
	for _, v := range a.Votes {
		if !v.Approved && (v.ID == a.RequesterID || entitled(v.ID)) {
			return Declined
		}
	}
	if now.After(a.Expires) {
		return Expired
	}
	voters := map[string]bool{}
	for _, v := range a.Votes {
		if v.Approved && v.ID != a.RequesterID && entitled(v.ID) {
			voters[v.ID] = true
		}
	}
	if len(voters) >= max(1, quorum) {
		return Agreed
	}
	return Open
}

// Add adds a vote, once for each person and way of voting.
func (a *Approvals) Add(vote Approval) {
	for _, v := range a.Votes {
		if v.ID == vote.ID && v.Via == vote.Via && v.Approved == vote.Approved {
			return
		}
	}
	a.Votes = append(a.Votes, vote)
}

// Keep leaves only the votes by reaction that are still there, and all others. There tells whether the person's reaction stands.
func (a *Approvals) Keep(there func(id, reaction string) bool) {
	a.Votes = slices.DeleteFunc(a.Votes, func(v Approval) bool { return v.Via != "" && !there(v.ID, v.Via) })
}

// ApprovalsOf returns who approved the digest, nil if the proposal is about another one or is too old.
func (p Proposal) ApprovalsOf(digest string, now time.Time) []Approval {
	if p.Approvals.Digest != digest || now.After(p.Approvals.Expires) {
		return nil
	}
	return p.Approvals.Approving()
}

// Approving are the approvals among the votes, one for each person.
func (a Approvals) Approving() []Approval {
	var approvals []Approval
	for _, v := range a.Votes {
		same := func(other Approval) bool { return other.ID == v.ID && other.By == v.By }
		if v.Approved && !slices.ContainsFunc(approvals, same) {
			approvals = append(approvals, v)
		}
	}
	return approvals
}

// Posted is a message that was posted, or was about to be.
type Posted struct {
	Channel string `json:"channel"`
	// Timestamp is Slack's, empty if it is not known whether the message was posted.
	Timestamp string `json:"timestamp,omitempty"`
	// Since is when posting it began.
	Since time.Time `json:"since"`
	// Final tells that the message says its last word: it is not edited any more.
	Final bool `json:"final,omitempty"`
}
