package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	slackapi "github.com/slack-go/slack"
	"sigs.k8s.io/yaml"

	"github.com/upshift-k8s/upshift/internal/lab/slackemu"
)

func manifest(t *testing.T, path string) (m slackapi.Manifest) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(data, &m); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return m
}

// TestTheManifestsHaveWhatTheBotUses: the scenarios run with the emulator's scopes, which refuse everything else.
func TestTheManifestsHaveWhatTheBotUses(t *testing.T) {
	socket := manifest(t, "slack-manifest.yaml")
	overHTTP := manifest(t, "slack-manifest-http.yaml")
	for name, m := range map[string]slackapi.Manifest{"socket": socket, "http": overHTTP} {
		scopes := slices.Sorted(slices.Values(m.OAuthConfig.Scopes.Bot))
		if diff := cmp.Diff(slices.Sorted(slices.Values(slackemu.DefaultScopes())), scopes); diff != "" {
			t.Errorf("%s: scopes: %s", name, diff)
		}
		if diff := cmp.Diff([]string{"reaction_added", "reaction_removed"}, m.Settings.EventSubscriptions.BotEvents); diff != "" {
			t.Errorf("%s: events: %s", name, diff)
		}
		if len(m.Features.SlashCommands) != 1 || m.Features.SlashCommands[0].Command != "/upgrade" || !m.Settings.Interactivity.IsEnabled {
			t.Errorf("%s: the command or the buttons are missing", name)
		}
	}
	if !socket.Settings.SocketModeEnabled || overHTTP.Settings.SocketModeEnabled {
		t.Error("Socket Mode is on in the wrong one")
	}
	for url, path := range map[string]string{
		overHTTP.Features.SlashCommands[0].Url: "/slack/commands", overHTTP.Settings.EventSubscriptions.RequestUrl: "/slack/events",
		overHTTP.Settings.Interactivity.RequestUrl: "/slack/interactions",
	} {
		if !strings.HasSuffix(url, path) {
			t.Errorf("%s does not end in %s", url, path)
		}
	}
}

// TestTheImageIsBuiltFromWhatItCopies: the context leaves everything out but for what is named.
func TestTheImageIsBuiltFromWhatItCopies(t *testing.T) {
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	ignore, err := os.ReadFile("../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	copies := 0
	for line := range strings.Lines(string(dockerfile)) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "COPY" || strings.HasPrefix(words[1], "--from") {
			continue
		}
		for _, source := range words[1 : len(words)-1] {
			copies++
			if !strings.Contains("\n"+string(ignore), "\n!"+source+"\n") {
				t.Errorf("the Dockerfile copies %s, which .dockerignore leaves out", source)
			}
		}
	}
	if copies == 0 {
		t.Error("the Dockerfile copies nothing")
	}
}
