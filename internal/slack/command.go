package slack

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Verb is what a slash command asks for.
type Verb string

// The verbs of /upgrade.
const (
	Upgrade  Verb = "upgrade" // the verb that is not typed
	Plan     Verb = "plan"
	Status   Verb = "status"
	Pause    Verb = "pause"
	Resume   Verb = "resume"
	Cancel   Verb = "cancel"
	Rollback Verb = "rollback"
	Clusters Verb = "clusters"
	Help     Verb = "help"
)

// Verbs are all verbs, in the order in which help tells them.
var Verbs = []Verb{Upgrade, Plan, Status, Pause, Resume, Cancel, Rollback, Clusters, Help}

// later are verbs that the design has and the code does not honour yet.
var later = []string{"retry", "skip", "surge", "force"}

// Request is a slash command that was understood.
type Request struct {
	Verb    Verb
	Cluster string
	// Options are what was chosen for a plan, by the names of the Action's inputs, in the order in which they were typed.
	Options []Option
}

// Option is one choice about a plan.
type Option struct{ Name, Value string }

// typed are the options that can be typed, with the inputs that they stand for.
var typed = []struct{ word, input string }{
	{"strategy", "strategy"}, {"pools", "node-pools"}, {"parallel", "max-parallel-drains"}, {"soak", "soak"},
}

// Forms are the accepted forms of the command, a line each.
var Forms = []string{
	"/upgrade CLUSTER [to VERSION] [strategy=auto|migrate|rolling|blue-green] [pools=A,B] [parallel=N|auto] [soak=1h]: makes a plan and asks for approval",
	"/upgrade plan CLUSTER [to VERSION] […]: shows the plan to you alone, with nothing to approve",
	"/upgrade status CLUSTER: what is going on, to you alone",
	"/upgrade pause CLUSTER: stops the run before the next eviction; nothing is undone",
	"/upgrade resume CLUSTER: goes on with it (an approver)",
	"/upgrade cancel CLUSTER: ends the run where it is and keeps both pools (the requester or an approver)",
	"/upgrade rollback CLUSTER: moves the pods back and deletes the new pool (the requester or an approver)",
	"/upgrade clusters: the clusters of this channel",
	"/upgrade help: this text",
}

// word is what a cluster's name, an option's name or its value may consist of.
var word = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._,-]*$`)

// maxText bounds what is looked at: Slack itself takes messages of up to 40,000 characters.
const maxText = 1000

// Parse reads the text behind /upgrade. Its error says what is wrong and what is accepted.
func Parse(text string) (Request, error) {
	if n := utf8.RuneCountInString(text); n > maxText {
		return Request{}, fmt.Errorf("the command has %d characters, and %d are read", n, maxText)
	}
	words := strings.Fields(text)
	if len(words) == 0 {
		return Request{Verb: Help}, nil
	}
	first := strings.ToLower(words[0])
	r := Request{Verb: Upgrade}
	switch {
	case slices.Contains(later, first):
		return r, fmt.Errorf("%s is not supported yet; want CLUSTER, or one of %s", first, verbList())
	case first != string(Upgrade) && slices.Contains(Verbs, Verb(first)):
		r.Verb, words = Verb(first), words[1:]
	}
	if r.Verb == Help || r.Verb == Clusters {
		if len(words) > 0 {
			return r, fmt.Errorf("%s takes nothing more, and got %s", r.Verb, quote(words[0]))
		}
		return r, nil
	}
	if len(words) == 0 {
		return r, fmt.Errorf("%s: the cluster is missing; want /upgrade %s CLUSTER", r.Verb, r.Verb)
	}
	r.Cluster, words = words[0], words[1:]
	if !word.MatchString(r.Cluster) {
		return r, fmt.Errorf("%s is neither a cluster's name nor one of %s", quote(r.Cluster), verbList())
	}
	if r.Verb != Upgrade && r.Verb != Plan {
		if len(words) > 0 {
			return r, fmt.Errorf("%s takes a cluster and nothing more, and got %s", r.Verb, quote(words[0]))
		}
		return r, nil
	}
	return r, r.parseOptions(words)
}

// parseOptions reads "[to VERSION] [NAME=VALUE …]"; all that is wrong is named at once.
func (r *Request) parseOptions(words []string) error {
	var problems []error
	add := func(name, value string) {
		if slices.ContainsFunc(r.Options, func(o Option) bool { return o.Name == name }) {
			problems = append(problems, fmt.Errorf("%s is there twice", quote(value)))
			return
		}
		r.Options = append(r.Options, Option{name, value})
	}
	for i := 0; i < len(words); i++ {
		name, value, isOption := strings.Cut(words[i], "=")
		at := slices.IndexFunc(typed, func(t struct{ word, input string }) bool { return t.word == strings.ToLower(name) })
		switch {
		case strings.EqualFold(words[i], "to") && i+1 == len(words):
			problems = append(problems, errors.New("to: the version is missing"))
		case strings.EqualFold(words[i], "to"):
			if i++; !word.MatchString(words[i]) {
				problems = append(problems, fmt.Errorf("to %s: that is not a version", quote(words[i])))
				continue
			}
			add("target-version", words[i])
		case !isOption || at < 0:
			problems = append(problems, fmt.Errorf("%s: want to VERSION, strategy=…, pools=…, parallel=… or soak=…", quote(words[i])))
		case !word.MatchString(value):
			problems = append(problems, fmt.Errorf("%s: the value is missing or is not one word", quote(words[i])))
		default:
			add(typed[at].input, value)
		}
	}
	return errors.Join(problems...)
}

func verbList() string {
	names := make([]string, 0, len(Verbs)-1)
	for _, v := range Verbs[1:] {
		names = append(names, string(v))
	}
	return strings.Join(names, ", ")
}

// quote shows what somebody typed, cut to a readable length.
func quote(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return "“" + text + "”"
}
