package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/upshift-k8s/upshift/internal/gke"
	"github.com/upshift-k8s/upshift/internal/kube"
	"github.com/upshift-k8s/upshift/internal/preflight"
	"github.com/upshift-k8s/upshift/internal/slack"
	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// fileConfig is the configuration file, in which clusters take what they do not say from the top.
type fileConfig struct {
	Listen    string `json:"listen"`
	Transport string `json:"transport"`
	Executor  string `json:"executor"`
	rules
	Clusters []fileCluster `json:"clusters"`
	// BreakGlass is part of the design and not built yet.
	BreakGlass any `json:"break-glass,omitempty"`
}

// rules are who may do what, where.
type rules struct {
	Channels  []string  `json:"channels,omitempty"`
	Approvers people    `json:"approvers,omitzero"`
	Quorum    *int      `json:"quorum,omitempty"`
	Expiry    string    `json:"expiry,omitempty"`
	Defaults  *settings `json:"defaults,omitempty"`
}

// people are users and user groups, by Slack's IDs.
type people struct {
	Users  []string `json:"users,omitempty"`
	Groups []string `json:"groups,omitempty"`
}

type fileCluster struct {
	Name       string `json:"name"`
	Provider   string `json:"provider"`
	Project    string `json:"project"`
	Location   string `json:"location"`
	Kubeconfig string `json:"kubeconfig"`
	PoolLabel  string `json:"pool-label"`
	Endpoint   string `json:"endpoint"`
	Namespace  string `json:"namespace"`
	rules
}

// settings are the options of plans, by the names of the Action's inputs.
type settings map[string]any

// config is what the file and the environment come to.
type config struct {
	listen    string
	transport string
	tokens    slack.Tokens
	// signingSecret is only needed for HTTP.
	signingSecret string
	slackAPI      string
	apis          gke.APIs
	clusters      []clusterConfig
}

// The transports.
const (
	bySocket = "socket"
	byHTTP   = "http"
)

// clusterConfig is one cluster, and who may do what with it.
type clusterConfig struct {
	provider  string
	poolLabel string
	name      gke.Name
	kube      *rest.Config
	endpoint  string
	namespace string
	channels  []string
	approvers people
	quorum    int
	expiry    time.Duration
	options   upgrade.Options
}

const (
	defaultListen = ":8080"
	defaultExpiry = time.Hour
)

// problems collects everything that is wrong with a configuration, a sentence each.
type problems []error

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }

// readConfig reads the file, and the secrets from the environment. Its error names all that is wrong, a line each.
func readConfig(path string, getenv func(string) string) (config, error) {
	if path == "" {
		return config{}, errors.New("there is none: want --config FILE, or UPSHIFT_CONFIG=FILE in the environment")
	}
	data, err := os.ReadFile(path) //nolint:gosec // the operator names it
	if err != nil {
		return config{}, err
	}
	f := fileConfig{Listen: defaultListen, Transport: bySocket, Executor: "bot"}
	if err := yaml.UnmarshalStrict(data, &f); err != nil {
		return config{}, fmt.Errorf("%s: %s", path, strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", " "), "error unmarshaling JSON: while decoding JSON: "))
	}
	var bad problems
	c := config{
		listen: f.Listen, transport: f.Transport, slackAPI: getenv(slack.EndpointVariable),
		tokens: slack.Tokens{Bot: getenv("SLACK_BOT_TOKEN"), App: getenv("SLACK_APP_TOKEN")}, signingSecret: getenv("SLACK_SIGNING_SECRET"),
	}
	c.check(f, &bad)
	apis, wrong := gke.APIsFrom(getenv)
	c.apis = apis
	bad = append(bad, wrong...)
	if len(f.Clusters) == 0 {
		bad.add("clusters: there are none")
	}
	for i, fc := range f.Clusters {
		where := fmt.Sprintf("clusters[%d]", i)
		if fc.Name != "" {
			where = "cluster " + fc.Name
		}
		cluster := newCluster(f.rules, fc, where, &bad)
		if slices.ContainsFunc(c.clusters, func(o clusterConfig) bool { return o.name.Cluster == cluster.name.Cluster }) {
			bad.add("%s: there are two of that name", where)
		}
		c.clusters = append(c.clusters, cluster)
	}
	return c, errors.Join(bad...)
}

// check looks at what is not about one cluster.
func (c *config) check(f fileConfig, bad *problems) {
	if _, _, err := net.SplitHostPort(c.listen); err != nil {
		bad.add("listen: %q: want HOST:PORT or :PORT", c.listen)
	}
	if f.Executor != "bot" {
		bad.add("executor: %q: not supported yet; want bot", f.Executor)
	}
	if f.BreakGlass != nil {
		bad.add("break-glass: not supported yet")
	}
	token := func(name, value, prefix, use string) {
		if !strings.HasPrefix(value, prefix) {
			bad.add("%s: want %s in the environment, %s…", name, use, prefix) // never the value
		}
	}
	token("SLACK_BOT_TOKEN", c.tokens.Bot, "xoxb-", "the bot's token")
	switch c.transport {
	case bySocket:
		token("SLACK_APP_TOKEN", c.tokens.App, "xapp-", "the app-level token of Socket Mode")
	case byHTTP:
		if c.signingSecret == "" {
			bad.add("SLACK_SIGNING_SECRET: want the app's signing secret in the environment: without it anybody could give orders")
		}
	default:
		bad.add("transport: %q: want %s or %s", c.transport, bySocket, byHTTP)
	}
	if err := slack.CheckEndpoint(c.slackAPI); err != nil {
		bad.add("%w", err)
	}
}

var (
	userPattern    = regexp.MustCompile(`^[UW][A-Z0-9]{2,20}$`)
	groupPattern   = regexp.MustCompile(`^S[A-Z0-9]{2,20}$`)
	channelPattern = regexp.MustCompile(`^[CG][A-Z0-9]{2,20}$`)
	namePattern    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
)

// newCluster completes a cluster from the top of the file.
func newCluster(top rules, f fileCluster, where string, bad *problems) clusterConfig {
	c := clusterConfig{
		provider: cmp.Or(f.Provider, upgrade.GKE), poolLabel: f.PoolLabel,
		name: gke.Name{Project: f.Project, Location: f.Location, Cluster: f.Name}, endpoint: f.Endpoint, namespace: f.Namespace,
		channels: f.Channels, approvers: f.Approvers, quorum: 1, expiry: defaultExpiry,
	}
	switch {
	case !namePattern.MatchString(f.Name):
		bad.add("%s: name: %q: want the cluster's name", where, f.Name)
	case slices.Contains(slack.Verbs, slack.Verb(f.Name)):
		bad.add("%s: name: %q is a word of the command /upgrade", where, f.Name)
	}
	c.checkProvider(f, where, bad)
	if c.endpoint == "" {
		c.endpoint = "auto"
	}
	if !slices.Contains(gke.Endpoints, c.endpoint) {
		bad.add("%s: endpoint: %q: want %s", where, c.endpoint, strings.Join(gke.Endpoints, ", "))
	}
	if c.namespace == "" {
		c.namespace = "upshift"
	}
	if f.Kubeconfig != "" {
		var err error
		if c.kube, err = kube.ConfigFromFile(f.Kubeconfig, userAgent()); err != nil {
			bad.add("%s: kubeconfig: %q: %w", where, f.Kubeconfig, err)
		}
	}
	c.setRules(top, f.rules, where, bad)
	c.setOptions(top.Defaults, f.Defaults, where, bad)
	for _, err := range c.options.CheckFor(c.provider, c.poolLabel != "") {
		bad.add("%s: defaults: %w", where, err)
	}
	return c
}

// checkProvider looks at what depends on who runs the cluster.
func (c *clusterConfig) checkProvider(f fileCluster, where string, bad *problems) {
	switch c.provider {
	case upgrade.GKE:
		if f.Project == "" || f.Location == "" {
			bad.add("%s: project, location: want the Google Cloud project, and the cluster's region or zone", where)
		}
		if f.PoolLabel != "" {
			bad.add("%s: pool-label: %q: only a self-managed cluster takes it", where, f.PoolLabel)
		}
	case upgrade.SelfManaged:
		if f.Project != "" || f.Location != "" {
			bad.add("%s: project, location: a self-managed cluster has none; leave them out", where)
		}
		if f.Kubeconfig == "" {
			bad.add("%s: kubeconfig: missing: a self-managed cluster is reached by a kubeconfig alone", where)
		}
		if err := upgrade.CheckPoolLabel(f.PoolLabel); f.PoolLabel != "" && err != nil {
			bad.add("%s: pool-label: %q: %w", where, f.PoolLabel, err)
		}
	default:
		bad.add("%s: provider: %q: want %s, %s", where, c.provider, upgrade.GKE, upgrade.SelfManaged)
	}
}

func userAgent() string { return "upshift-bot/" + version }

// setRules takes who may do what from the cluster, or from the top.
func (c *clusterConfig) setRules(top, own rules, where string, bad *problems) {
	if len(c.channels) == 0 {
		c.channels = top.Channels
	}
	if len(c.approvers.Users)+len(c.approvers.Groups) == 0 {
		c.approvers = top.Approvers
	}
	c.approvers.Users, c.approvers.Groups = unique(c.approvers.Users), unique(c.approvers.Groups)
	check := func(name, what string, pattern *regexp.Regexp, ids []string) {
		for _, id := range ids {
			if !pattern.MatchString(id) {
				bad.add("%s: %s: %q: want Slack's ID of a %s", where, name, id, what)
			}
		}
	}
	check("channels", "channel, such as C0123456789", channelPattern, c.channels)
	check("approvers.users", "user, such as U0123456789", userPattern, c.approvers.Users)
	check("approvers.groups", "user group, such as S0123456789", groupPattern, c.approvers.Groups)
	if len(c.channels) == 0 {
		bad.add("%s: channels: want the channels in which it may be worked on", where)
	}
	for _, q := range []*int{top.Quorum, own.Quorum} {
		if q != nil {
			c.quorum = *q
		}
	}
	switch users := len(c.approvers.Users); {
	case users+len(c.approvers.Groups) == 0:
		bad.add("%s: approvers: want users or groups: without any nobody can approve", where)
	case c.quorum < 1, len(c.approvers.Groups) == 0 && c.quorum > users:
		bad.add("%s: quorum: %d: want at least 1, and not more than there are approvers", where, c.quorum)
	}
	for _, text := range []string{top.Expiry, own.Expiry} {
		if text == "" {
			continue
		}
		d, err := upgrade.ParseDuration(text)
		if err != nil || d < time.Second {
			bad.add("%s: expiry: %q: want a duration such as 30m or 4h", where, text)
			continue
		}
		c.expiry = d
	}
}

// unique drops what is there twice: one person does not make a quorum of two.
func unique(ids []string) []string {
	var once []string
	for _, id := range ids {
		if !slices.Contains(once, id) {
			once = append(once, id)
		}
	}
	return once
}

// standard are the options' defaults, those of the Action.
var standard = []slack.Option{
	{Name: "target-version", Value: "default"}, {Name: "scope", Value: "all"}, {Name: "strategy", Value: "auto"}, {Name: "max-parallel-drains", Value: "1"},
	{Name: "max-surge", Value: "1"}, {Name: "max-unavailable", Value: "0"},
	{Name: "drain-timeout", Value: "auto"}, {Name: "soak", Value: "1h"}, {Name: "delete-old-pools", Value: "each"}, {Name: "on-failure", Value: "pause"}, {Name: "jobs", Value: "wait"},
	{Name: "surge-first", Value: "singletons"}, {Name: "new-pool-size", Value: "same"}, {Name: "maintenance", Value: "respect"},
}

// setOptions sets the options of plans: the standard ones, then those of the top, then the cluster's own.
func (c *clusterConfig) setOptions(top, own *settings, where string, bad *problems) {
	for _, o := range standard {
		if o.Name == "target-version" && c.provider == upgrade.SelfManaged {
			o.Value = "control-plane" // nobody offers versions there
		}
		if err := c.options.Set(o.Name, o.Value); err != nil {
			bad.add("%s: defaults: %s: %w", where, o.Name, err)
		}
	}
	for _, s := range []*settings{top, own} {
		if s == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(*s)) {
			value := (*s)[name]
			text := fmt.Sprint(value)
			if _, number := value.(float64); number && name == "target-version" {
				bad.add("%s: defaults: %s: want it in quotes: %s is a number, in which 1.30 is 1.3", where, name, text)
				continue
			}
			switch v := value.(type) {
			case []any:
				text = lines(v)
			case map[string]any:
				data, _ := json.Marshal(v) // it was read from as much
				text = string(data)
			}
			if err := c.options.Set(name, text); err != nil {
				bad.add("%s: defaults: %s: %q: %w", where, name, text, err)
			}
		}
	}
	if c.options.Wait == upgrade.WaitExit {
		bad.add("%s: defaults: wait: %q: the bot waits for people by itself; want hold", where, c.options.Wait)
	}
	if err := preflight.CheckWaivers(c.options.Accept); err != nil {
		bad.add("%s: defaults: accept: %w", where, err)
	}
}

// lines is a list as the options take one: a line each.
func lines(list []any) string {
	text := make([]string, len(list))
	for i, v := range list {
		text[i] = fmt.Sprint(v)
	}
	return strings.Join(text, "\n")
}
