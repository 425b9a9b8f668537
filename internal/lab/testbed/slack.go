package testbed

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/upshift-k8s/upshift/internal/lab/slackemu"
)

// Workloads are manifests of what runs on the demo's cluster: Deployments with PDBs, a StatefulSet, a DaemonSet, a single replica, a Job.
//
//go:embed workloads.yaml
var Workloads string

// The workspace of the bot's demo and tests. Alice asks, Bob is an approver, Carol is one as a member of the group SRE, Dave is nobody
// in particular, Gina is a guest, and Eve is of another workspace.
const (
	Alice  = "U0ALICE"
	Bob    = "U0BOB"
	Carol  = "U0CAROL"
	Dave   = "U0DAVE"
	Gina   = "U0GINA"
	Eve    = "U0EVE"
	Robot  = "U0ROBOT"
	Gone   = "U0GONE"
	Ops    = "C0OPS"
	Random = "C0RANDOM"
	Shared = "C0SHARED"
	SRE    = "S0SRE"
)

// Workspace are the options of a Slack with these people in it.
func Workspace() slackemu.Options {
	return slackemu.Options{
		Users: []slackemu.User{
			{ID: Alice, Name: "alice", RealName: "Alice"}, {ID: Bob, Name: "bob", RealName: "Bob"}, {ID: Carol, Name: "carol", RealName: "Carol"},
			{ID: Dave, Name: "dave", RealName: "Dave"}, {ID: Gina, Name: "gina", RealName: "Gina", Restricted: true},
			{ID: Eve, Name: "eve", RealName: "Eve", Team: "T0OTHER", Stranger: true}, {ID: Robot, Name: "robot", Bot: true}, {ID: Gone, Name: "gone", Deleted: true},
		},
		Channels: []slackemu.Channel{{ID: Ops, Name: "ops"}, {ID: Random, Name: "random"}, {ID: Shared, Name: "shared", ExtShared: true}},
		Groups:   []slackemu.Group{{ID: SRE, Handle: "sre", Users: []string{Carol}}},
	}
}

// BotConfig is a configuration of the bot for the testbed's cluster; lines are put at its top level.
func BotConfig(lines ...string) string {
	return fmt.Sprintf(`listen: 127.0.0.1:0
channels: [%s]
approvers:
  users: [%s]
  groups: [%s]
%s
clusters:
- name: %s
  project: %s
  location: %s
`, Ops, Bob, SRE, strings.Join(lines, "\n"), Name, Project, Location)
}
