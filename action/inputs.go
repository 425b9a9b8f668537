package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sethvargo/go-githubactions"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/upshift-k8s/upshift/internal/gke"
	"github.com/upshift-k8s/upshift/internal/kube"
	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// config is what the inputs come to.
type config struct {
	command        string
	provider       string
	poolLabel      string
	cluster        gke.Name
	options        upgrade.Options
	granted        []upgrade.Consent
	approvedDigest string
	failOn         string
	// kube reaches the cluster's Kubernetes API, nil for the endpoint that GKE tells.
	kube      *rest.Config
	endpoint  string
	reportDir string
	// namespace is where runs are recorded.
	namespace string
	// timeLimit is for this process, zero for none.
	timeLimit time.Duration
	unblock   upgrade.Unblock
	// apis are where Google's APIs are.
	apis gke.APIs
}

// input is one input of the Action, and a flag of the program.
type input struct {
	name string
	// def is the default, as action.yml has it.
	def   string
	usage string
	// set checks a value and stores it. Its error says what is accepted.
	set func(c *config, value string) error
}

// inputs are all inputs that are honoured, in the order of action.yml.
func inputs() []input {
	return []input{
		{"command", "plan", "what to do: " + strings.Join(commands, ", "), oneOf(func(c *config) *string { return &c.command }, commands)},
		{"provider", "gke", "who runs the cluster: gke, or self-managed (you do)", oneOf(func(c *config) *string { return &c.provider }, []string{upgrade.GKE, upgrade.SelfManaged})},
		{"cluster", "", "the cluster's name, or projects/P/locations/L/clusters/C; of a self-managed one the name that its record has; required", setCluster},
		{"project", "", "the Google Cloud project, for a bare cluster name", func(c *config, v string) error { return part(&c.cluster.Project, v, gke.CheckProject) }},
		{"location", "", "the cluster's region or zone, for a bare cluster name", func(c *config, v string) error { return part(&c.cluster.Location, v, gke.CheckLocation) }},
		{"target-version", "", "the version to go to: " + upgrade.TargetForms + "; required for plan and upgrade", option("target-version")},
		{"scope", "all", "what is upgraded: all (the control plane if it is older than the target, then the nodes), control-plane or nodes", option("scope")},
		{"node-pools", "", "names of node pools, by comma or line, in that order; default: all", option("node-pools")},
		{"pools", "", "YAML, for each pool by its name what it has of its own: " + strings.Join(upgrade.PoolOptionNames, ", "), setPools},
		{"strategy", "auto", "how nodes are upgraded: migrate (to a new pool), rolling (GKE replaces the pool's nodes one after another), blue-green (GKE makes a second set of nodes in the pool), or auto (blue-green for pools that Terraform or Config Connector manages, rolling for patch upgrades, else migrate); self-managed: rolling, or migrate with new-pool", option("strategy")},
		{"max-parallel-drains", "1", "how many nodes are drained at once: a number of nodes (1: one after the other), or auto (all of a pool, while no more than a quarter of all pods concerned are away, which holds with auto alone); PodDisruptionBudgets hold either way, and a workload without one misses a quarter of its pods at most, or one", option("max-parallel-drains")},
		{"max-surge", "1", "rolling: how many nodes GKE may make beyond a pool's size, 0 to 20", option("max-surge")},
		{"max-unavailable", "0", "rolling: how many of a pool's nodes may be away at once, 0 to 20; with max-surge 20 at most", option("max-unavailable")},
		{"new-pool-size", "same", "how large a new pool is made: same (as many nodes in each zone as the fullest zone of the old pool has now) or autoscale (the least that its autoscaler keeps, at least one in each zone; the autoscaler adds nodes as pods come)", option("new-pool-size")},
		{"drain-timeout", "auto", "how long one node may take to drain, or a new one to become Ready once GKE has made it, until the run pauses: a duration such as 45m, or auto (the larger of 30m and the longest grace period + 10m; new nodes 20m)", option("drain-timeout")},
		{"soak", "1h", "time between the last drain and deleting an old pool: a duration such as 1h, or 0", option("soak")},
		{"delete-old-pools", "each", "when old pools are deleted: each (before the next pool), end or never", option("delete-old-pools")},
		{"on-failure", "pause", "what a run does about trouble: pause, or rollback (moves the pods back and deletes the new pool)", option("on-failure")},
		{"jobs", "wait", "what a drain does with running Jobs: wait (until they finish, or drain-timeout pauses the run) or evict (they begin anew elsewhere)", option("jobs")},
		{"surge-first", "singletons", "which Deployments are restarted before the drains, so that their new pods are Ready before the old ones end: singletons (those that an eviction would cut off, and those that their PodDisruptionBudgets never let be evicted), deployments (every one that can be) or none", option("surge-first")},
		{"allow-bare-pods", "false", "consent to lose pods that no controller manages: true or false", consent(upgrade.AllowBarePods)},
		{"allow-control-plane-downtime", "false", "consent to the Kubernetes API being away while its control plane is upgraded: true or false", consent(upgrade.AllowControlPlaneDowntime)},
		{"allow-emptydir-loss", "true", "consent to lose what pods keep in emptyDir volumes: true or false", consent(upgrade.AllowEmptyDirLoss)},
		{"accept", "", "findings that are known and accepted, a line each: " + upgrade.WaiverForm, setAccept},
		{"maintenance", "respect", "what the cluster's maintenance windows and exclusions mean: respect (start only in a window and outside of exclusions, and no node that would not be done before that ends: the run pauses then) or ignore", option("maintenance")},
		{"time-limit", "", "stop between two evictions before this much time has passed, so that the next job can go on: a duration such as 5h45m", setTimeLimit},
		{"approved-digest", "", "run only the plan with this digest", setDigest},
		{"fail-on", "blocker", "which findings make plan exit with 3: blocker, warning or never", oneOf(func(c *config) *string { return &c.failOn }, []string{"blocker", "warning", "never"})},
		{"kubeconfig", "", "path of a kubeconfig; default: $KUBECONFIG, or the endpoint that GKE tells, with application-default credentials", setKubeconfig},
		{"endpoint", "auto", "which of the cluster's endpoints to use without a kubeconfig: auto, dns, private or public", oneOf(func(c *config) *string { return &c.endpoint }, gke.Endpoints)},
		{"pool-label", "", "self-managed: the label of nodes whose value is the name of their pool; required, unless scope is control-plane", setPoolLabel},
		{"new-pool", "", "self-managed: the pool that takes over, to which you add machines", option("new-pool")},
		{"wait", "", "self-managed: what a run does where people have to act: hold (wait, and go on by itself; the default) or exit (end with 4, and go on with the next upgrade)", option("wait")},
		{"unblock", "", "for unblock: " + upgrade.UnblockForms, setUnblock},
		{"namespace", "upshift", "the namespace in the cluster where runs are recorded", setNamespace},
		{"report-dir", "", "where plan.json and run.json go; default: nowhere", func(c *config, v string) error { c.reportDir = v; return nil }},
	}
}

// later are inputs that the design has and the code does not honour yet. Ignoring one could do harm, so it is refused.
var later = []string{
	"approval", "probe",
	"github-token", "comment", "deployment", "slack-bot-token", "slack-channel",
}

// commands are what the program can be told to do.
var commands = []string{"plan", "upgrade", "status", "pause", "resume", "cancel", "rollback", "unblock"}

// reserved are variables that GitHub's runner itself sets for a container action's args and entrypoint.
var reserved = []string{"args", "entrypoint"}

// badInput says everything that is wrong with the inputs, a sentence each.
type badInput struct{ problems []string }

func (b *badInput) Error() string { return strings.Join(b.problems, "\n") }

func (b *badInput) add(format string, args ...any) {
	b.problems = append(b.problems, fmt.Sprintf(format, args...))
}

// errHelp asks for the usage text.
var errHelp = errors.New("help requested")

// parse reads the inputs from flags and, where there is none, from the environment as GitHub's runner sets it. Its error is
// errHelp, or a badInput that names all that is wrong.
func parse(args, environ []string) (config, error) {
	getenv := environment(environ)
	var bad badInput
	flags, err := parseFlags(args, &bad)
	if err != nil {
		return config{}, err
	}
	gha := githubactions.New(githubactions.WithGetenv(getenv))
	var c config
	for _, in := range inputs() {
		value, given := flags[in.name]
		if !given {
			value = gha.GetInput(in.name)
		}
		value = strings.TrimSpace(value)
		if value == "" && in.name == "kubeconfig" {
			value = getenv("KUBECONFIG")
		}
		if value == "" {
			value = in.def
		}
		if value == "" {
			continue
		}
		var several interface{ Unwrap() []error }
		switch err := in.set(&c, value); {
		case err == nil:
		case errors.As(err, &several): // each names what of the value is wrong
			for _, err := range several.Unwrap() {
				bad.add("%s: %s", in.name, err)
			}
		default:
			bad.add("%s: %q: %s", in.name, value, err)
		}
	}
	refuseUnknown(flags, environ, &bad)
	checkRequired(c, &bad)
	apis, wrong := gke.APIsFrom(getenv)
	c.apis = apis
	for _, err := range wrong {
		bad.add("%s", err)
	}
	if len(bad.problems) > 0 {
		return config{}, &bad
	}
	return c, nil
}

func environment(environ []string) func(string) string {
	return func(name string) string {
		for _, e := range environ {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

// parseFlags reads "[COMMAND] --name value …". Flags nobody knows are named in bad, all of them.
func parseFlags(args []string, bad *badInput) (map[string]string, error) {
	given := map[string]string{}
	flags := flag.NewFlagSet("upshift", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	for _, in := range inputs() {
		if in.def == "true" || in.def == "false" {
			flags.BoolFunc(in.name, in.usage, func(v string) error { given[in.name] = v; return nil })
			continue
		}
		flags.Func(in.name, in.usage, func(v string) error { given[in.name] = v; return nil })
	}
	for _, name := range later {
		flags.Func(name, "", func(v string) error { given[name] = v; return nil })
	}
	for len(args) > 0 {
		if !strings.HasPrefix(args[0], "-") {
			if args[0] == "help" {
				return nil, errHelp
			}
			if _, twice := given["command"]; twice {
				bad.add("argument %q: want one command, and flags such as --cluster cluster-1", args[0])
			} else {
				given["command"] = args[0]
			}
			args = args[1:]
			continue
		}
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, errHelp
		} else if err != nil {
			bad.add("%s", strings.TrimPrefix(err.Error(), "flag "))
		}
		if len(flags.Args()) == len(args) {
			break
		}
		args = flags.Args()
	}
	return given, nil
}

// refuseUnknown names inputs that are not supported yet, or that nobody knows: a misspelt consent must not pass in silence.
func refuseUnknown(flags map[string]string, environ []string, bad *badInput) {
	given := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if name, ok := strings.CutPrefix(name, "INPUT_"); ok && strings.TrimSpace(value) != "" {
			given[strings.ToLower(name)] = value
		}
	}
	for name, value := range flags {
		given[name] = value
	}
	var known []string
	for _, in := range inputs() {
		known = append(known, in.name)
	}
	names := make([]string, 0, len(given))
	for name := range given {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case slices.Contains(known, name), slices.Contains(reserved, name):
		case slices.Contains(later, name):
			bad.add("%s: %q: this input is not supported yet", name, given[name])
		default:
			bad.add("%s: %q: there is no such input; the inputs are %s", name, given[name], strings.Join(known, ", "))
		}
	}
}

func checkRequired(c config, bad *badInput) {
	if c.cluster.Cluster == "" && !bad.names("cluster") {
		bad.add("cluster: missing: want a name, or projects/P/locations/L/clusters/C")
	}
	planned := c.command == "plan" || c.command == "upgrade"
	for _, err := range c.options.CheckFor(c.provider, c.poolLabel != "" || !planned) {
		if name, _, _ := strings.Cut(err.Error(), ":"); !bad.names(name) {
			bad.add("%s", err)
		}
	}
	if c.provider == upgrade.SelfManaged {
		c.checkSelfManaged(bad)
	} else if c.poolLabel != "" {
		bad.add("pool-label: %q: only a self-managed cluster takes it", c.poolLabel)
	}
	if c.provider != upgrade.SelfManaged && c.cluster.Cluster != "" {
		if c.cluster.Project == "" && !bad.names("project") {
			bad.add("project: missing: a bare cluster name needs the Google Cloud project, or give cluster as projects/P/locations/L/clusters/C")
		}
		if c.cluster.Location == "" && !bad.names("location") {
			bad.add("location: missing: a bare cluster name needs its region or zone, or give cluster as projects/P/locations/L/clusters/C")
		}
	}
	if c.options.Target == "" && !bad.names("target-version") && (c.command == "plan" || c.command == "upgrade") {
		bad.add("target-version: missing: want %s", upgrade.TargetForms)
	}
	switch given := c.unblock != (upgrade.Unblock{}); {
	case c.command == "unblock" && !given && !bad.names("unblock"):
		bad.add("unblock: missing: want %s", upgrade.UnblockForms)
	case c.command != "unblock" && given:
		bad.add("unblock: only the command unblock takes it, and the command is %s", c.command)
	}
}

// checkSelfManaged looks at what only a cluster that people run themselves needs, or cannot have.
func (c config) checkSelfManaged(bad *badInput) {
	if c.kube == nil && !bad.names("kubeconfig") {
		bad.add("kubeconfig: missing: a self-managed cluster is reached by a kubeconfig alone: want its path, here or in KUBECONFIG")
	}
	for _, in := range []struct{ name, value string }{{"project", c.cluster.Project}, {"location", c.cluster.Location}} {
		if in.value != "" {
			bad.add("%s: %q: a self-managed cluster has none; leave it out", in.name, in.value)
		}
	}
	if c.endpoint != "auto" && !bad.names("endpoint") {
		bad.add("endpoint: %q: a self-managed cluster is reached where its kubeconfig says; leave it out", c.endpoint)
	}
}

// names tells whether an input is said to be bad already.
func (b *badInput) names(input string) bool {
	return slices.ContainsFunc(b.problems, func(p string) bool { return strings.HasPrefix(p, input+": ") })
}

// oneOf accepts the words in accepted.
func oneOf(field func(*config) *string, accepted []string) func(*config, string) error {
	return func(c *config, v string) error {
		if slices.Contains(accepted, v) {
			if field != nil {
				*field(c) = v
			}
			return nil
		}
		return fmt.Errorf("want %s", strings.Join(accepted, ", "))
	}
}

func setCluster(c *config, v string) error {
	if name, ok := gke.ParseName(v); ok {
		c.cluster = name
		return nil
	}
	if err := gke.CheckCluster(v); err != nil {
		return err
	}
	c.cluster.Cluster = v
	return nil
}

// part sets a part of the cluster's name that the cluster's full name may have set already.
func part(field *string, v string, check func(string) error) error {
	if err := check(v); err != nil {
		return err
	}
	if *field != "" && *field != v {
		return fmt.Errorf("cluster says %s", *field)
	}
	*field = v
	return nil
}

// option sets one of the plan's options.
func option(name string) func(*config, string) error {
	return func(c *config, v string) error { return c.options.Set(name, v) }
}

// setPools takes YAML; the options take JSON.
func setPools(c *config, v string) error {
	data, err := yaml.YAMLToJSONStrict([]byte(v))
	if err != nil {
		return fmt.Errorf("want YAML: %s", strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", " "), "yaml: "))
	}
	return c.options.Set("pools", string(data))
}

func setAccept(c *config, v string) error {
	if err := c.options.Set("accept", v); err != nil {
		return err
	}
	return preflight.CheckWaivers(c.options.Accept)
}

func setPoolLabel(c *config, v string) error {
	c.poolLabel = v
	return upgrade.CheckPoolLabel(v)
}

func setNamespace(c *config, v string) error {
	c.namespace = v
	if len(validation.IsDNS1123Label(v)) > 0 {
		return errors.New("want the name of a namespace: lower-case letters, digits and dashes")
	}
	return nil
}

func setTimeLimit(c *config, v string) (err error) {
	if c.timeLimit, err = upgrade.ParseDuration(v); err != nil || c.timeLimit < leastTimeLimit {
		return fmt.Errorf("want a duration of at least %s such as 5h45m", leastTimeLimit)
	}
	return nil
}

func setUnblock(c *config, v string) (err error) {
	c.unblock, err = upgrade.ParseUnblock(v)
	return err
}

func consent(name upgrade.Consent) func(*config, string) error {
	return func(c *config, v string) error {
		switch strings.ToLower(v) {
		case "true":
			c.granted = append(c.granted, name)
			return nil
		case "false":
			return nil
		}
		return errors.New("want true or false")
	}
}

func setKubeconfig(c *config, v string) (err error) {
	c.kube, err = kube.ConfigFromFile(v, userAgent())
	return err
}

func setDigest(c *config, v string) error {
	hex, ok := strings.CutPrefix(v, "sha256:")
	if !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return errors.New("want sha256: and 64 hexadecimal digits, as plan prints it")
	}
	c.approvedDigest = v
	return nil
}
