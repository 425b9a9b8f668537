package slack

import (
	"regexp"
	"slices"
	"strings"

	slackapi "github.com/slack-go/slack"
)

// The actions of buttons. Those of a run are named like the verbs.
const (
	Approve = "approve"
	Reject  = "reject"
)

var idPattern = regexp.MustCompile(`^[A-Z0-9]{1,30}$`)

// Subject is what a button is about: a question or a run, on a cluster.
type Subject struct {
	Cluster, ID string
}

func (s Subject) value() string { return s.Cluster + "/" + s.ID }

// ParseSubject reads the value of a button. Values come back from clients, so they are not trusted to be ours.
func ParseSubject(value string) (Subject, bool) {
	cluster, id, ok := strings.Cut(value, "/")
	return Subject{Cluster: cluster, ID: id}, ok && word.MatchString(cluster) && word.MatchString(id)
}

// runActions are the verbs that buttons under a run have.
var runActions = []Verb{Pause, Resume, Rollback, Cancel}

// IsRunAction tells whether a button's action is one about a run.
func IsRunAction(action string) bool { return slices.Contains(runActions, Verb(action)) }

func approveButton(s Subject) *slackapi.ButtonBlockElement {
	return slackapi.NewButtonBlockElement(Approve, s.value(), plain("Approve")).WithStyle(slackapi.StylePrimary)
}

func rejectButton(s Subject) *slackapi.ButtonBlockElement {
	return slackapi.NewButtonBlockElement(Reject, s.value(), plain("Reject")).WithStyle(slackapi.StyleDanger)
}

func pauseButton(s Subject) *slackapi.ButtonBlockElement {
	return slackapi.NewButtonBlockElement(string(Pause), s.value(), plain("Pause"))
}

func resumeButton(s Subject) *slackapi.ButtonBlockElement {
	return slackapi.NewButtonBlockElement(string(Resume), s.value(), plain("Resume")).WithStyle(slackapi.StylePrimary)
}

func rollbackButton(s Subject) *slackapi.ButtonBlockElement {
	return slackapi.NewButtonBlockElement(string(Rollback), s.value(), plain("Roll back")).WithStyle(slackapi.StyleDanger).
		WithConfirm(slackapi.NewConfirmationBlockObject(plain("Roll back?"),
			plain("The pods move back by the rules of their PDBs, and the new pool is deleted."), plain("Roll back"), plain("No")))
}

func cancelButton(s Subject) *slackapi.ButtonBlockElement {
	return slackapi.NewButtonBlockElement(string(Cancel), s.value(), plain("Cancel")).
		WithConfirm(slackapi.NewConfirmationBlockObject(plain("Cancel the run?"),
			plain("It ends where it is: cordons are undone, both pools stay, and pods run on both."), plain("Cancel the run"), plain("No")))
}
