package main

import (
	"context"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func TestLabSaysHowToReachItAndEndsWhenInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the lab")
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	screen, out := io.Pipe()
	result := make(chan error, 1)
	go func() {
		err := run(ctx, nil, out)
		_ = out.Close() // never fails
		result <- err
	}()

	var shown strings.Builder
	for !strings.Contains(shown.String(), "Ctrl-C") {
		if _, err := io.CopyN(&shown, screen, 1); err != nil {
			t.Fatalf("%v; shown: %s; result: %v", err, &shown, <-result)
		}
	}
	kubeconfig := regexp.MustCompile(`export PATH=\S+ KUBECONFIG=(\S+)`).FindStringSubmatch(shown.String())
	if kubeconfig == nil {
		t.Fatalf("no KUBECONFIG: %s", &shown)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig[1])
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil || len(nodes.Items) != 3 {
		t.Errorf("nodes: %v, %v", nodes, err)
	}
	if version, err := client.Discovery().ServerVersion(); err != nil || version.GitVersion != "v1.34.2-gke.100" {
		t.Errorf("version: %v, %v", version, err)
	}

	interrupt()
	if _, err := io.Copy(io.Discard, screen); err != nil {
		t.Error(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(kubeconfig[1]); !os.IsNotExist(err) {
		t.Errorf("the kubeconfig remains: %v", err)
	}
}
