package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

func environment(more ...string) func(string) string {
	env := map[string]string{"SLACK_BOT_TOKEN": "xoxb-canary-1", "SLACK_APP_TOKEN": "xapp-canary-2", "SLACK_SIGNING_SECRET": "canary-3"}
	for i := 0; i+1 < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	return func(name string) string { return env[name] }
}

func read(t *testing.T, text string, getenv func(string) string) (config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bot.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return readConfig(path, getenv)
}

func TestTheExampleConfiguration(t *testing.T) {
	c, err := readConfig("upshift-bot.yaml", environment())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.clusters) != 2 {
		t.Errorf("%d clusters, want 2", len(c.clusters))
	}
}

func TestAClusterTakesFromTheTopWhatItDoesNotSay(t *testing.T) {
	c, err := read(t, `
channels: [C0OPS]
approvers: {users: [U0BOB, U0CAROL], groups: [S0SRE]}
quorum: 2
expiry: 30m
defaults: {soak: 2h, node-pools: [a, b], on-failure: rollback}
clusters:
- {name: one, project: p, location: europe-west1}
- name: two
  project: p
  location: europe-west1-b
  namespace: elsewhere
  endpoint: dns
  channels: [C0TWO]
  approvers: {users: [U0DAVE]}
  quorum: 1
  expiry: 4h
  defaults: {soak: 10m, target-version: "1.34", surge-first: deployments, pools: {a: {soak: 0s, max-parallel-drains: 2}}}
`, environment())
	if err != nil {
		t.Fatal(err)
	}
	common := upgrade.Options{
		Target: "default", Scope: upgrade.ScopeAll, Pools: []string{"a", "b"}, Strategy: "auto", Parallel: 1, MaxSurge: 1, Soak: upgrade.Seconds(2 * time.Hour), Delete: upgrade.DeleteEach, OnFailure: upgrade.RollbackOnFailure, Jobs: upgrade.WaitForJobs,
		SurgeFirst: upgrade.SurgeSingletons, Size: upgrade.SizeSame, Maintenance: upgrade.RespectMaintenance,
	}
	own := common
	own.PerPool = map[string]map[string]string{"a": {"soak": "0s", "max-parallel-drains": "2"}}
	own.Soak, own.Target, own.SurgeFirst = upgrade.Seconds(10*time.Minute), "1.34", upgrade.SurgeDeployments
	one, two := c.clusters[0], c.clusters[1]
	if diff := cmp.Diff([]any{common, []string{"C0OPS"}, 2, 30 * time.Minute, "upshift", "auto"}, []any{one.options, one.channels, one.quorum, one.expiry, one.namespace, one.endpoint}); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]any{own, []string{"C0TWO"}, []string{"U0DAVE"}, 1, 4 * time.Hour, "elsewhere", "dns"},
		[]any{two.options, two.channels, two.approvers.Users, two.quorum, two.expiry, two.namespace, two.endpoint}); diff != "" {
		t.Error(diff)
	}
}

// TestABadConfigurationNamesAllThatIsWrong: each line what, where and what is accepted; never a secret.
func TestABadConfigurationNamesAllThatIsWrong(t *testing.T) {
	const good = "channels: [C0OPS]\napprovers: {users: [U0BOB]}\nclusters:\n- {name: c, project: p, location: l}\n"
	for name, test := range map[string]struct {
		text string
		env  []string
		want string
	}{
		"unknown field":  {text: good + "aprovers: {}\n", want: `unknown field "aprovers"`},
		"nothing":        {text: "{}", want: "clusters: there are none"},
		"no approvers":   {text: strings.Replace(good, "approvers: {users: [U0BOB]}\n", "", 1), want: "cluster c: approvers: want users or groups: without any nobody can approve"},
		"no channels":    {text: strings.Replace(good, "channels: [C0OPS]\n", "", 1), want: "cluster c: channels: want the channels in which it may be worked on"},
		"names":          {text: strings.Replace(good, "C0OPS", "'#ops'", 1), want: `cluster c: channels: "#ops": want Slack's ID of a channel, such as C0123456789`},
		"users":          {text: strings.Replace(good, "U0BOB", "bob", 1), want: `cluster c: approvers.users: "bob": want Slack's ID of a user, such as U0123456789`},
		"quorum":         {text: good + "quorum: 2\n", want: "cluster c: quorum: 2: want at least 1, and not more than there are approvers"},
		"zero quorum":    {text: good + "quorum: 0\n", want: "cluster c: quorum: 0: want at least 1"},
		"expiry":         {text: good + "expiry: soon\n", want: `cluster c: expiry: "soon": want a duration such as 30m or 4h`},
		"option":         {text: good + "defaults: {soak: long}\n", want: `cluster c: defaults: soak: "long": want a duration such as 90s, 45m or 1h30m`},
		"unknown option": {text: good + "defaults: {soaking: 1h}\n", want: `cluster c: defaults: soaking: "1h": there is no such option; want target-version, `},
		"waivers":        {text: good + "defaults: {accept: [no-pdb a/b until=2026-12-31 reason=x, nope c/d until=2026-12-31 reason=y]}\n", want: "cluster c: defaults: accept: there is no check nope; want one of "},
		"provider":       {text: strings.Replace(good, "name: c,", "name: c, provider: eks,", 1), want: `cluster c: provider: "eks": want gke, self-managed`},
		"self-managed":   {text: strings.Replace(good, "name: c,", "name: c, provider: self-managed,", 1), want: `cluster c: kubeconfig: missing: a self-managed cluster is reached by a kubeconfig alone`},
		"verb":           {text: strings.Replace(good, "name: c,", "name: plan,", 1), want: `cluster plan: name: "plan" is a word of the command /upgrade`},
		"twice":          {text: good + "- {name: c, project: p, location: l}\n", want: "cluster c: there are two of that name"},
		"location":       {text: strings.Replace(good, ", location: l", "", 1), want: "cluster c: project, location: want the Google Cloud project"},
		"endpoint":       {text: strings.Replace(good, "name: c,", "name: c, endpoint: vpn,", 1), want: `cluster c: endpoint: "vpn": want auto, dns, private, public`},
		"kubeconfig":     {text: strings.Replace(good, "name: c,", "name: c, kubeconfig: /nowhere,", 1), want: `cluster c: kubeconfig: "/nowhere": read kubeconfig`},
		"listen":         {text: good + "listen: everywhere\n", want: `listen: "everywhere": want HOST:PORT or :PORT`},
		"transport":      {text: good + "transport: pigeon\n", want: `transport: "pigeon": want socket or http`},
		"executor":       {text: good + "executor: github\n", want: `executor: "github": not supported yet; want bot`},
		"break-glass":    {text: good + "break-glass: {users: [U0BOB]}\n", want: "break-glass: not supported yet"},
		"no bot token":   {text: good, env: []string{"SLACK_BOT_TOKEN", ""}, want: "SLACK_BOT_TOKEN: want the bot's token in the environment, xoxb-…"},
		"wrong token":    {text: good, env: []string{"SLACK_BOT_TOKEN", "xapp-canary-2"}, want: "SLACK_BOT_TOKEN: want the bot's token in the environment, xoxb-…"},
		"no app token":   {text: good, env: []string{"SLACK_APP_TOKEN", ""}, want: "SLACK_APP_TOKEN: want the app-level token"},
		"no secret":      {text: good + "transport: http\n", env: []string{"SLACK_SIGNING_SECRET", ""}, want: "SLACK_SIGNING_SECRET: want the app's signing secret"},
		"API":            {text: good, env: []string{"SLACK_API_URL", "http://example.com/api/"}, want: `SLACK_API_URL="http://example.com/api/": want https://HOST/api/, or http://HOST:PORT/api/ on loopback`},
		"Google's APIs": {
			text: good, env: []string{"CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER", "http://example.com/"},
			want: `CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER="http://example.com/": want https://HOST[:PORT]/, or http://HOST:PORT/ on loopback`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(t, test.text, environment(test.env...))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("a secret is told: %v", err)
			}
		})
	}
	_, err := read(t, "listen: x\ntransport: y\nclusters:\n- {name: c}\n", environment("SLACK_BOT_TOKEN", ""))
	if err == nil || strings.Count(err.Error(), "\n") < 4 {
		t.Errorf("not all is named at once: %v", err)
	}
	if _, err := readConfig("", environment()); err == nil || !strings.Contains(err.Error(), "--config FILE, or UPSHIFT_CONFIG=FILE") {
		t.Errorf("no configuration: %v", err)
	}
}

// TestAClusterThatPeopleRun is reached by its kubeconfig, and goes to its control plane's version unless something else is said.
func TestAClusterThatPeopleRun(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(`{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}], contexts: [{name: c, context: {cluster: c}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("channels: [C0OPS]\napprovers: {users: [U0BOB]}\nclusters:\n- {name: own, provider: self-managed, kubeconfig: %q, pool-label: example.com/pool}\n", kubeconfig)
	c, err := read(t, text, environment())
	if err != nil {
		t.Fatal(err)
	}
	if own := c.clusters[0]; own.provider != upgrade.SelfManaged || own.poolLabel != "example.com/pool" || own.options.Target != "control-plane" || own.kube == nil {
		t.Errorf("%+v", own)
	}
	for change, want := range map[string]string{
		"defaults: {wait: exit}":             `cluster own: defaults: wait: "exit": the bot waits for people by itself; want hold`,
		"defaults: {strategy: migrate}":      `cluster own: defaults: strategy: "migrate": needs new-pool`,
		"project: p, location: l":            "cluster own: project, location: a self-managed cluster has none; leave them out",
		"defaults: {new-pool: a b}":          `cluster own: defaults: new-pool: "a b": want the name of a pool`,
		"defaults: {target-version: latest}": `cluster own: defaults: target-version: "latest": a self-managed cluster has nobody who offers versions`,
	} {
		if _, err := read(t, strings.Replace(text, "pool}", "pool, "+change+"}", 1), environment()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", change, err, want)
		}
	}
}
