package upgrade

import "time"

// Proposal is a plan that people are asked to approve.
type Proposal struct {
	Plan      Plan
	Approvals Approvals
}

// Approvals is what people said of a plan so far.
type Approvals struct {
	Digest    string     `json:"digest"`
	Requester string     `json:"requester"`
	Expires   time.Time  `json:"expires"`
	Votes     []Approval `json:"votes"`
	// SlackChannel and SlackTimestamp name the message that asks.
	SlackChannel   string `json:"slackChannel,omitempty"`
	SlackTimestamp string `json:"slackTimestamp,omitempty"`
}

// Approval is a person's decision on one digest.
type Approval struct {
	By string `json:"by"`
	// Approved is false for a rejection.
	Approved bool      `json:"approved"`
	At       time.Time `json:"at"`
	// Where it was given: "Slack", or a link.
	Where string `json:"where,omitempty"`
}

// ApprovalsOf returns who approved the digest, nil if the proposal is about another one or is too old.
func (p Proposal) ApprovalsOf(digest string, now time.Time) []Approval {
	if p.Approvals.Digest != digest || now.After(p.Approvals.Expires) {
		return nil
	}
	var approvals []Approval
	for _, v := range p.Approvals.Votes {
		if v.Approved {
			approvals = append(approvals, v)
		}
	}
	return approvals
}
