package slack

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestACommandIsReadAsItIsMeant(t *testing.T) {
	for text, want := range map[string]Request{
		"":             {Verb: Help},
		" \t\n":        {Verb: Help},
		"help":         {Verb: Help},
		"clusters":     {Verb: Clusters},
		"cluster-1":    {Verb: Upgrade, Cluster: "cluster-1"},
		"Cluster_1.eu": {Verb: Upgrade, Cluster: "Cluster_1.eu"},
		// The verb that is not typed is no verb: there may be a cluster of that name.
		"upgrade":                     {Verb: Upgrade, Cluster: "upgrade"},
		"to to 1.34":                  {Verb: Upgrade, Cluster: "to", Options: []Option{{"target-version", "1.34"}}},
		"status cluster-1":            {Verb: Status, Cluster: "cluster-1"},
		"pause cluster-1":             {Verb: Pause, Cluster: "cluster-1"},
		"resume cluster-1":            {Verb: Resume, Cluster: "cluster-1"},
		"cancel cluster-1":            {Verb: Cancel, Cluster: "cluster-1"},
		"rollback cluster-1":          {Verb: Rollback, Cluster: "cluster-1"},
		"ROLLBACK Cluster-1":          {Verb: Rollback, Cluster: "Cluster-1"},
		"Plan cluster-1":              {Verb: Plan, Cluster: "cluster-1"},
		"plan status":                 {Verb: Plan, Cluster: "status"},
		"status  \u00a0\u2003 prod-1": {Verb: Status, Cluster: "prod-1"},
		"cluster-1 to latest":         {Verb: Upgrade, Cluster: "cluster-1", Options: []Option{{"target-version", "latest"}}},
		"cluster-1 to to":             {Verb: Upgrade, Cluster: "cluster-1", Options: []Option{{"target-version", "to"}}},
		"cluster-1 parallel=auto":     {Verb: Upgrade, Cluster: "cluster-1", Options: []Option{{"max-parallel-drains", "auto"}}},
		"plan cluster-1 SOAK=1h30m TO 1.34.2-gke.100 pools=a,b_2 strategy=Migrate parallel=4": {Verb: Plan, Cluster: "cluster-1", Options: []Option{
			{"soak", "1h30m"}, {"target-version", "1.34.2-gke.100"}, {"node-pools", "a,b_2"}, {"strategy", "Migrate"}, {"max-parallel-drains", "4"},
		}},
		// As many characters as are read, though more bytes.
		"cluster-1 " + strings.Repeat("\u2003", maxText-len("cluster-1 ")): {Verb: Upgrade, Cluster: "cluster-1"},
	} {
		got, err := Parse(text)
		if err != nil {
			t.Errorf("%.80q: %v", text, err)
		} else if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%.80q: %s", text, diff)
		}
	}
}

func TestACommandThatCannotBeObeyedIsAnsweredWithWhatIsWanted(t *testing.T) {
	const verbs = "plan, status, pause, resume, cancel, rollback, clusters, help"
	const options = "want to VERSION, strategy=…, pools=…, parallel=… or soak=…"
	for text, want := range map[string]string{
		"status":                    "status: the cluster is missing; want /upgrade status CLUSTER",
		"PLAN":                      "plan: the cluster is missing; want /upgrade plan CLUSTER",
		"rollback \t":               "rollback: the cluster is missing; want /upgrade rollback CLUSTER",
		"help me":                   "help takes nothing more, and got “me”",
		"clusters all of them":      "clusters takes nothing more, and got “all”",
		"status cluster-1 now":      "status takes a cluster and nothing more, and got “now”",
		"cancel a b c":              "cancel takes a cluster and nothing more, and got “b”",
		"resume cluster-1 to 1":     "resume takes a cluster and nothing more, and got “to”",
		"retry cluster-1":           "retry is not supported yet; want CLUSTER, or one of " + verbs,
		"retry":                     "retry is not supported yet; want CLUSTER, or one of " + verbs,
		"SKIP cluster-1 n1":         "skip is not supported yet; want CLUSTER, or one of " + verbs,
		"surge cluster-1":           "surge is not supported yet; want CLUSTER, or one of " + verbs,
		"force cluster-1 a/b":       "force is not supported yet; want CLUSTER, or one of " + verbs,
		"-cluster":                  "“-cluster” is neither a cluster's name nor one of " + verbs,
		"status ../../x":            "“../../x” is neither a cluster's name nor one of " + verbs,
		"to=1.34":                   "“to=1.34” is neither a cluster's name nor one of " + verbs,
		"größe":                     "“größe” is neither a cluster's name nor one of " + verbs,
		"сluster-1":                 "“сluster-1” is neither a cluster's name nor one of " + verbs, // its first letter is Cyrillic
		"<!channel>":                "“<!channel>” is neither a cluster's name nor one of " + verbs,
		"`cluster-1`":               "“`cluster-1`” is neither a cluster's name nor one of " + verbs,
		"pause <@U123|bob>":         "“<@U123|bob>” is neither a cluster's name nor one of " + verbs,
		"\u202ecluster-1":           "“\u202ecluster-1” is neither a cluster's name nor one of " + verbs,
		"cluster\x00-1":             "“cluster\x00-1” is neither a cluster's name nor one of " + verbs,
		"cluster-1 to":              "to: the version is missing",
		"cluster-1 soak=1h TO":      "to: the version is missing",
		"cluster-1 to <!here>":      "to “<!here>”: that is not a version",
		"cluster-1 to soak=1h":      "to “soak=1h”: that is not a version",
		"cluster-1 1.34":            "“1.34”: " + options,
		"cluster-1 cluster-2":       "“cluster-2”: " + options,
		"cluster-1 canary=yes":      "“canary=yes”: " + options,
		"cluster-1 soak":            "“soak”: " + options,
		"cluster-1 =1h":             "“=1h”: " + options,
		"plan cluster-1 soak=":      "“soak=”: the value is missing or is not one word",
		"cluster-1 soak==1h":        "“soak==1h”: the value is missing or is not one word",
		"cluster-1 pools=a;rm":      "“pools=a;rm”: the value is missing or is not one word",
		"cluster-1 pools=`a`":       "“pools=`a`”: the value is missing or is not one word",
		"cluster-1 soak=1h\u202e":   "“soak=1h\u202e”: the value is missing or is not one word",
		"cluster-1 soak=1h Soak=2h": "“2h” is there twice",
		"cluster-1 to 1.34 to 1.35": "“1.35” is there twice",
		"plan cluster-1 canary=yes to <!here> soak=1h soak=2h parallel= pools= to": "“canary=yes”: " + options + "\n" +
			"to “<!here>”: that is not a version\n" +
			"“2h” is there twice\n" +
			"“parallel=”: the value is missing or is not one word\n" +
			"“pools=”: the value is missing or is not one word\n" +
			"to: the version is missing",
		"cluster-1 " + strings.Repeat("ü", 100):                      "“" + strings.Repeat("ü", 60) + "…”: " + options,
		"cluster-1 " + strings.Repeat("x", maxText):                  "the command has 1010 characters, and 1000 are read",
		"cluster-1 " + strings.Repeat("語", maxText):                  "the command has 1010 characters, and 1000 are read",
		"cluster-1" + strings.Repeat(" ", maxText) + "and a comment": "the command has 1022 characters, and 1000 are read",
	} {
		got, err := Parse(text)
		if err == nil {
			t.Errorf("%.80q is accepted as %+v", text, got)
		} else if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Errorf("%.80q: %s", text, diff)
		}
	}
}

// TestEveryVerbIsInTheHelp, and every line of the help is accepted once its brackets are gone.
func TestEveryVerbIsInTheHelp(t *testing.T) {
	if len(Forms) != len(Verbs) {
		t.Errorf("%d forms of %d verbs", len(Forms), len(Verbs))
	}
	for i, form := range Forms {
		text, _, _ := strings.Cut(form, ":")
		text = strings.NewReplacer(" […]", "", "[", "", "]", "", "auto|migrate|rolling|blue-green", "auto", "N|auto", "4").Replace(strings.TrimPrefix(text, "/upgrade"))
		if got, err := Parse(text); err != nil || got.Verb != Verbs[i] {
			t.Errorf("%q: %s, %v, want %s", text, got.Verb, err, Verbs[i])
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range append([]string{
		"", "cluster-1", "plan cluster-1 to 1.34 soak=1h pools=a,b strategy=auto parallel=auto", "STATUS x", "retry x", "x to", "x to <!channel>", "x soak==", "\x00\xff", "größe to ü",
	}, Forms...) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a word")
			}
			return
		}
		switch r.Verb {
		case Help, Clusters:
			if r.Cluster != "" || len(r.Options) > 0 {
				t.Errorf("%q: %+v", text, r)
			}
		default:
			if !word.MatchString(r.Cluster) {
				t.Errorf("%q: cluster %q", text, r.Cluster)
			}
		}
		names := map[string]bool{}
		for _, o := range r.Options {
			if names[o.Name] || !word.MatchString(o.Value) || r.Verb != Upgrade && r.Verb != Plan {
				t.Errorf("%q: %s with option %+v", text, r.Verb, o)
			}
			names[o.Name] = true
		}
	})
}
