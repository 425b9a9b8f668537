package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/upshift-k8s/upshift/internal/upgrade"
)

// manifest is what action.yml declares.
type manifest struct {
	Inputs map[string]struct {
		Description string `json:"description"`
		Default     string `json:"default"`
		Required    bool   `json:"required"`
	} `json:"inputs"`
	Outputs map[string]struct {
		Description string `json:"description"`
	} `json:"outputs"`
	Runs struct {
		Using string `json:"using"`
		Image string `json:"image"`
		Post  string `json:"post-entrypoint"`
	} `json:"runs"`
}

func readManifest(t *testing.T) (manifest, string) {
	t.Helper()
	data, err := os.ReadFile("../action.yml")
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := yaml.UnmarshalStrict(data, &struct {
		Name        any `json:"name"`
		Description any `json:"description"`
		Author      any `json:"author"`
		Branding    any `json:"branding"`
		*manifest
	}{manifest: &m}); err != nil {
		t.Fatal(err)
	}
	return m, string(data)
}

func TestActionDeclaresExactlyTheInputsThatTheCodeHonours(t *testing.T) {
	m, text := readManifest(t)
	type declared struct {
		Name, Default string
		Required      bool
	}
	var want, got []declared
	for _, in := range inputs() {
		want = append(want, declared{in.name, in.def, strings.HasSuffix(in.usage, "required")})
	}
	// YAML maps have no order; the file has.
	section := text[strings.Index(text, "\ninputs:"):strings.Index(text, "\noutputs:")]
	for _, line := range regexp.MustCompile(`(?m)^  ([a-z-]+):$`).FindAllStringSubmatch(section, -1) {
		in := m.Inputs[line[1]]
		got = append(got, declared{line[1], in.Default, in.Required})
		if in.Description == "" {
			t.Errorf("input %s has no description", line[1])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("code and action.yml differ (-code +action.yml):\n%s", diff)
	}
	if len(got) != len(m.Inputs) {
		t.Errorf("%d inputs in order, %d in all", len(got), len(m.Inputs))
	}
	for _, name := range later {
		if _, ok := m.Inputs[name]; ok {
			t.Errorf("input %s is declared and not supported", name)
		}
	}
	if m.Runs.Using != "docker" || m.Runs.Image != "Dockerfile" {
		t.Errorf("runs: %+v", m.Runs)
	}
}

func TestActionDeclaresExactlyTheOutputsThatTheCodeSets(t *testing.T) {
	m, _ := readManifest(t)
	source, err := os.ReadFile("output.go")
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]bool{}
	for _, call := range regexp.MustCompile(`\bo\.set(?:JSON)?\("([a-z-]+)"`).FindAllSubmatch(source, -1) {
		set[string(call[1])] = true
	}
	var want, got []string
	for name := range set {
		want = append(want, name)
	}
	for name, out := range m.Outputs {
		got = append(got, name)
		if out.Description == "" {
			t.Errorf("output %s has no description", name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("code and action.yml differ (-code +action.yml):\n%s", diff)
	}
}

func TestInputsAreReadAsGitHubsRunnerPassesThem(t *testing.T) {
	c, err := parse(nil, []string{
		"INPUT_COMMAND=upgrade", "INPUT_PROVIDER=gke", "INPUT_CLUSTER=projects/p/locations/europe-west1-b/clusters/c", "INPUT_PROJECT=", "INPUT_LOCATION=",
		"INPUT_TARGET-VERSION= 1.34 ", "INPUT_NODE-POOLS=b,\n a\n", "INPUT_STRATEGY=auto", "INPUT_DRAIN-TIMEOUT=45m", "INPUT_SOAK=0",
		"INPUT_DELETE-OLD-POOLS=end", "INPUT_ALLOW-BARE-PODS=True", "INPUT_ALLOW-EMPTYDIR-LOSS=false", "INPUT_FAIL-ON=", "INPUT_ARGS=",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.command != "upgrade" || c.cluster.Location != "europe-west1-b" || c.options.Target != "1.34" || c.kube != nil || c.failOn != "blocker" {
		t.Errorf("got %+v", c)
	}
	if diff := cmp.Diff([]string{"b", "a"}, c.options.Pools); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]upgrade.Consent{upgrade.AllowBarePods}, c.granted); diff != "" {
		t.Error(diff)
	}
}

func TestTheStepThatCleansUpIsInTheImage(t *testing.T) {
	m, _ := readManifest(t)
	if m.Runs.Post != "/"+cleanUp {
		t.Errorf("post-entrypoint is %q", m.Runs.Post)
	}
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(dockerfile), "ln -s upshift /out/"+cleanUp) {
		t.Error("the Dockerfile does not make it")
	}
}
